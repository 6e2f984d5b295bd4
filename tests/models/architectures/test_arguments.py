"""Arguments of library architectures, and timm's own translation of names; oracle: the libraries, called directly."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from robench.errors import CheckpointError
from robench.models import ARCHITECTURES, load_classifier
from robench.models.architectures.arguments import label_of, split_arguments
from tests.builders import each


def _saved(folder: Path, make: Callable[..., nn.Module], **arguments: Any) -> tuple[Path, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make(num_classes=7, **arguments).eval()
    torch.save({"model": module.state_dict()}, folder / "w.pth")
    return folder / "w.pth", module


def _refusal(path: Path, arch: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_classifier(path, arch, "cpu")
    return str(caught.value)


def test_arguments_are_read_as_for_factories() -> None:
    name, arguments = split_arguments("test_vit?img_size=384&global_pool=avg&class_token=False&size=(1, 2)")
    assert (name, arguments) == (
        "test_vit",
        {"img_size": 384, "global_pool": "avg", "class_token": False, "size": (1, 2)},
    )
    assert label_of("timm:test_vit?img_size=384&file=/a/b") == "test_vit-img_size=384-b"


@each(
    "arch, crop",
    [
        ("timm:test_vit?global_pool=avg", 160),
        ("timm:test_vit?img_size=224&reg_tokens=4", 224),
        ("timm:test_vit?num_classes=7", 160),
        ("timm:test_resnet?act_layer=silu", 160),
        ("torchvision:mobilenet_v2?width_mult=0.25", 224),
    ],
)
def test_a_variant_is_the_librarys_own(tmp_path: Path, arch: str, crop: int) -> None:
    family, _, rest = arch.partition(":")
    name, arguments = split_arguments(rest)
    arguments.pop("num_classes", None)
    create: Callable[..., nn.Module] = timm.create_model if family == "timm" else torchvision.models.get_model
    path, module = _saved(tmp_path, partial(create, name), **arguments)
    found = load_classifier(path, arch, "cpu")
    assert (found.arch, found.classes, found.preprocessing.crop) == (arch, 7, crop)
    values = torch.randn(1, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(found.module(values), module(values), atol=1e-5)


def test_the_size_of_a_torchvision_network_becomes_its_input_size() -> None:
    with torch.device("meta"):
        preprocessing = ARCHITECTURES["torchvision"].build("vit_b_16", 7, image_size=384)[1]
    assert (preprocessing.resize, preprocessing.crop) == (439, 384)  # the ratio of 256 to 224


def test_average_pooling_follows_the_names_of_a_fine_tuned_vit(tmp_path: Path) -> None:
    """As MAE's fine-tuning stores them. Oracle: timm's own network with global_pool=avg."""
    arch = "timm:vit_tiny_patch16_224?depth=1"
    path, module = _saved(tmp_path, partial(timm.create_model, "vit_tiny_patch16_224"), global_pool="avg", depth=1)
    for prefix in ("", "module.encoder."):
        torch.save({prefix + key: value for key, value in module.state_dict().items()}, path)
        found = load_classifier(path, arch, "cpu")
        assert found.arch == f"{arch}&global_pool=avg"
        assert any("its fc_norm belongs to average pooling" in note for note in found.notes)
        values = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.allclose(found.module(values), module(values), atol=1e-5)
    assert "2 unexpected: fc_norm.weight, fc_norm.bias" in _refusal(path, f"{arch}&global_pool=token")
    torch.save({key: value for key, value in module.state_dict().items() if key != "fc_norm.bias"}, path)
    assert f"does not fit {arch} (" in _refusal(path, arch)


@each(
    "arch, told",
    [
        ("timm:test_vit?shape=4", "timm:test_vit has no argument 'shape'"),
        ("timm:test_resnet?img_size=64", "has no argument 'img_size'; --crop sets"),
        ("timm:test_vit?num_classes=8", "has 8 classes, but the weights seem to have 7; omit num_classes"),
        ("timm:test_vit?num_classes=x", "num_classes of timm:test_vit?num_classes=x is no whole number"),
        ("timm:test_vit?pretrained=True", "takes no argument 'pretrained'"),
        ("timm:test_vit?checkpoint_path=/etc/passwd", "takes no argument 'checkpoint_path'"),
        ("timm:test_vit?img_size=abc", "cannot be built with img_size='abc' (TypeError"),
        ("timm:test_vit?img_size", "write ?key=value"),
        ("torchvision:resnet18?depth=4", "torchvision:resnet18 has no argument 'depth'"),
        ("torchvision:resnet18?weights=DEFAULT", "takes no argument 'weights'"),
        ("zoo:cifar_resnet8?depth=4", "zoo:cifar_resnet8 has no argument 'depth'"),
    ],
)
def test_an_argument_that_a_network_does_not_take_is_named(tmp_path: Path, arch: str, told: str) -> None:
    assert told in _refusal(_saved(tmp_path, partial(timm.create_model, "test_vit"))[0], arch)


def _convnext(key: str) -> str:
    key = re.sub(r"^stem\.(\d)", r"downsample_layers.0.\1", key)
    key = re.sub(r"^stages\.(\d+)\.downsample", r"downsample_layers.\1", key)
    key = re.sub(r"^stages\.(\d+)\.blocks", r"stages.\1", key)
    for own, authors in (("conv_dw", "dwconv"), ("mlp.fc", "pwconv"), ("head.fc.", "head."), ("head.norm.", "norm.")):
        key = key.replace(own, authors)
    return key


def _pvt(key: str) -> str:
    key = re.sub(r"^patch_embed", "patch_embed1", key)
    for own, authors in (("blocks", "block"), ("norm", "norm"), ("downsample", "patch_embed")):
        if found := re.match(rf"stages\.(\d+)\.{own}", key):
            key = f"{authors}{int(found[1]) + 1}{key[found.end() :]}"
    return key.replace("mlp.dwconv", "mlp.dwconv.dwconv")


@each(
    "arch, rename",
    [
        ("timm:test_convnext", _convnext),
        ("timm:pvt_v2_b0", _pvt),
        ("timm:deit3_small_patch16_224?depth=1", lambda key: re.sub(r"ls(\d)\.gamma", r"gamma_\1", key)),
    ],
)
def test_names_of_authors_are_translated(tmp_path: Path, arch: str, rename: Callable[[str], str]) -> None:
    name, arguments = split_arguments(arch.removeprefix("timm:"))
    path, module = _saved(tmp_path, partial(timm.create_model, name), **arguments)
    torch.save({rename(key): value for key, value in module.state_dict().items()}, path)
    found = load_classifier(path, arch, "cpu")
    assert any(f"timm's own conversion for {name}" in note for note in found.notes)
    for key, value in module.state_dict().items():
        assert torch.equal(found.module.state_dict()[key], value), key
    torch.save({rename(key): value for key, value in module.state_dict().items()} | {"more": torch.ones(1)}, path)
    assert "does not fit" in _refusal(path, arch)  # still strict


def test_position_embeddings_are_interpolated_on_request_alone(tmp_path: Path) -> None:
    path, _ = _saved(tmp_path, partial(timm.create_model, "test_vit"))
    (note,) = load_classifier(path, "timm:test_vit?img_size=224", "cpu").notes
    assert "interpolated the position embeddings to the img_size of --arch" in note
    path, _ = _saved(tmp_path, partial(timm.create_model, "test_vit"), img_size=224)
    assert "--arch 'timm:test_vit?img_size=SIZE'" in _refusal(path, "timm:test_vit")


def test_published_weights_take_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr("timm.create_model", lambda name, pretrained, **arguments: create(name, **arguments))
    found = load_classifier("timm:test_vit?img_size=224", device="cpu")
    assert (found.label, found.arch) == ("test_vit-img_size=224", "timm:test_vit?img_size=224")
    assert found.preprocessing.crop == 224
    with pytest.raises(CheckpointError, match="omit num_classes"):
        load_classifier("timm:test_vit?num_classes=3", device="cpu")
