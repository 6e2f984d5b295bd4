"""Oracles: parameter counts and keys of the public CIFAR checkpoints; the libraries' own evaluation transforms."""

from __future__ import annotations

import builtins
import sys
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from robench.cli.entry import run_cli
from robench.errors import CheckpointError
from robench.models import ARCHITECTURES, Preprocessing, architecture_names
from robench.models.architectures import cifar_resnet, timm, torchvision
from robench.models.architectures.cifar_resnet import ZOO, CifarResNet
from robench.suites.geometry import INTERPOLATIONS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_cifar_resnets_have_the_published_size(depth: int, parameters: int) -> None:
    module, preprocessing = cifar_resnet.build(f"cifar_resnet{depth}")
    assert sum(value.numel() for value in module.parameters()) == parameters
    assert preprocessing == Preprocessing(32, 32, "bilinear", MEAN, STD)


@pytest.mark.parametrize("name", list(ZOO))
def test_zoo_names_say_the_depth(name: str) -> None:
    module, _ = cifar_resnet.build(name, 7)
    layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in module.modules())
    assert name == f"cifar_resnet{layers}"
    assert module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_option_a_takes_every_second_pixel_and_pads_both_sides() -> None:
    module = CifarResNet(depth=8).eval()
    block = module.layer2[0]
    assert isinstance(block, nn.Module)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    out: Tensor = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_a_depth_must_be_6n_plus_2() -> None:
    with pytest.raises(ValueError, match="6n"):
        CifarResNet(depth=9)


def test_zoo_nets_trace_whole() -> None:
    module = CifarResNet(depth=8).eval()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    traced = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(x), module(x))


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v2", "efficientnet_b1", "vit_h_14"])
def test_torchvision_preprocessing_is_that_of_the_weights(name: str) -> None:
    weights = get_model_weights(name)
    first = weights["IMAGENET1K_V1"] if "IMAGENET1K_V1" in weights.__members__ else weights.DEFAULT
    transforms = first.transforms()
    with torch.device("meta"):
        _, found = torchvision.build(name)
    assert ([found.resize], [found.crop]) == (transforms.resize_size, transforms.crop_size)
    assert found.interpolation == transforms.interpolation.value
    assert (list(found.mean), list(found.std)) == (transforms.mean, transforms.std)


def test_torchvision_names_are_classifiers_with_known_preprocessing() -> None:
    names = torchvision.names()
    assert {"resnet50", "squeezenet1_0", "vit_b_16"} <= set(names)
    assert not [name for name in names if "rcnn" in name or "r3d" in name or "fcn" in name]
    for name in names:
        assert torchvision._preprocessing(torchvision._first_weights(name)).interpolation in INTERPOLATIONS


def test_torchvision_without_published_weights_is_imagenets() -> None:
    assert torchvision._preprocessing(None) == Preprocessing(256, 224, "bilinear", MEAN, STD)


@pytest.mark.parametrize(("name", "auxiliary"), [("googlenet", "aux1."), ("inception_v3", "AuxLogits.")])
def test_auxiliary_heads_are_there_and_silent(name: str, auxiliary: str) -> None:
    module, preprocessing = torchvision.build(name, 5)
    assert any(key.startswith(auxiliary) for key in module.state_dict())
    assert getattr(module, "transform_input") is True  # noqa: B009  mypy knows no such attribute of a Module
    out = module.eval()(torch.zeros(1, 3, *preprocessing.shape))
    assert isinstance(out, Tensor)
    assert out.shape == (1, 5)


def test_timm_preprocessing_is_that_of_its_config() -> None:
    module, found = timm.build("test_resnet", 4)
    assert found == Preprocessing(168, 160, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert module.eval()(torch.zeros(1, 3, 160, 160)).shape == (1, 4)


def test_a_timm_tag_chooses_the_preprocessing() -> None:
    with torch.device("meta"):
        assert timm.build("resnet18.tv_in1k")[1].resize == 256
        assert timm.build("resnet18.a1_in1k")[1].resize == 235


def test_a_timm_network_may_take_rectangles() -> None:
    with torch.device("meta"):
        found = timm.build("vit_base_patch16_sapiens2")[1]
    assert (found.resize, found.crop) == ((1024, 768), (1024, 768))


def test_a_timm_network_may_pad_its_input() -> None:
    with torch.device("meta"):
        found = timm.build("volo_d4_448")[1]
    assert (found.resize, found.crop) == (int(448 / 1.15), 448)


@pytest.mark.parametrize(
    ("family", "name", "near", "words"),
    [
        ("zoo", "cifar_resnet21", "cifar_resnet20", "zoo cifar"),
        ("torchvision", "resnet5", "resnet50", "torchvision resnet5"),
        ("timm", "resnett", "resnet", "timm resnet"),
        ("timm", "qqqq", "", "timm"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(family: str, name: str, near: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=f"architecture '{name}'.*{near}") as building:
        ARCHITECTURES[family].build(name, None)
    with pytest.raises(CheckpointError) as loading:
        ARCHITECTURES[family].pretrained(name)
    assert str(building.value) == str(loading.value)
    assert building.value.hint.endswith(f"ee `robench list models {words}`")
    assert run_cli(["list", "models", *words.split()]) == 0
    assert len(str(building.value)) < 200


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "someone/resnet18"])
def test_timm_names_never_fetch_from_elsewhere(name: str) -> None:
    with pytest.raises(CheckpointError, match="unknown timm"):
        timm.build(name)


def test_a_wrong_timm_tag_is_the_users_mistake() -> None:
    with pytest.raises(CheckpointError, match="Invalid pretrained tag"):
        timm.build("resnet18.nope")


def test_unknown_torchvision_weights_list_the_known() -> None:
    with pytest.raises(CheckpointError, match=r"choose one of IMAGENET1K_V1, IMAGENET1K_V2"):
        torchvision.pretrained("resnet50@best")
    with pytest.raises(CheckpointError, match=r"'IMAGENET1K_V3' of .*; did you mean 'IMAGENET1K_V2'"):
        torchvision.pretrained("resnet50@IMAGENET1K_V3")


def test_the_zoo_publishes_no_weights() -> None:
    with pytest.raises(CheckpointError, match="--arch zoo:cifar_resnet20"):
        cifar_resnet.pretrained("cifar_resnet20")


@pytest.mark.parametrize(("family", "name"), [("torchvision", "resnet18"), ("timm", "test_resnet")])
def test_without_network_the_way_out_is_named(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def unplugged(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    empty = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(empty))
    monkeypatch.setattr(torch.hub, "urlopen", unplugged)
    monkeypatch.setattr("timm.create_model", unplugged)
    way_out = {
        "torchvision": f"no network.*--arch {family}:{name}",
        "timm": f"hf download timm/{name}|no network.*{name}",
    }
    with pytest.raises(CheckpointError, match=way_out[family]):
        ARCHITECTURES[family].pretrained(name)


@pytest.mark.parametrize(("library", "command"), [("timm", "pip install timm"), ("torchvision", "pip install torch")])
def test_a_missing_library_says_how_to_get_it(library: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(f"No module named {library!r}")
        return real(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CheckpointError, match=command):
        ARCHITECTURES[library].names()


def test_names_of_every_family() -> None:
    assert architecture_names("zoo") == list(ZOO)
    assert "resnet50" in architecture_names("torchvision")
    assert "resnet50" in architecture_names("timm")
    with pytest.raises(CheckpointError, match="torchvision"):
        architecture_names("torchvison")
