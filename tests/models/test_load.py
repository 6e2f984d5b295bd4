"""From weights files to classifiers; the real checkpoints' accuracies are those of their publishers."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import squeezenet1_0

from robench.errors import CheckpointError, DeviceError, OptionError, RobenchError
from robench.models import ARCHITECTURES, choose_device, load_classifier
from robench.models.architectures.base import Family
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.models.preprocessing import assumed
from robench.transforms.resize import normalise

ARCH = "zoo:cifar_resnet8"


def _state(classes: int = 10) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CifarResNet(classes, depth=8).state_dict()


def _saved(folder: Path, state: object) -> Path:
    torch.save(state, folder / "w.pth")
    return folder / "w.pth"


def _refusal(model: str | Path, arch: str | None = ARCH, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_classifier(model, arch, "cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _accuracy_on_cifar(shared: Path, name: str, per_class: int) -> float:
    classifier = load_classifier(shared / "data/checkpoints" / f"cifar10_{name}.th", f"zoo:cifar_{name}", "cpu")
    assert classifier.classes == 10
    right = 0
    for label, folder in enumerate(sorted((shared / "data/cifar10").iterdir())):
        files = sorted(folder.iterdir())[:per_class]
        images = torch.stack([torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) for file in files])
        right += int((classifier.logits(images).argmax(1) == label).sum())
    return right / (10 * per_class)


def test_cifar_checkpoints_reach_their_accuracy(shared: Path) -> None:
    # Of 500 images one may turn where two logits are all but equal and another machine sums in another order.
    assert _accuracy_on_cifar(shared, "resnet20", 50) == pytest.approx(0.9140, abs=0.0021)
    assert _accuracy_on_cifar(shared, "resnet56", 5) >= 0.9


def test_both_squeezenet_files_are_one_model(shared: Path) -> None:
    folder = shared / "data/checkpoints"
    files = [folder / f"squeezenet1_0_imagenet.{extension}" for extension in ("pth", "safetensors")]
    first, second = (load_classifier(file, "torchvision:squeezenet1_0", "cpu") for file in files)
    files_of_class = sorted((shared / "data/imagenet").iterdir())[::100]
    geometry = first.preprocessing.geometry()
    pictures = [geometry.apply(Image.open(next(iter(sorted(place.iterdir()))))) for place in files_of_class]
    images = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    assert torch.equal(first.logits(images), second.logits(images))
    assert first.classes == second.classes == 1000
    assert first.label == second.label == "squeezenet1_0_imagenet"
    assert first.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest() != second.sha256


def test_the_demo_loads() -> None:
    classifier = load_classifier("demo", device="cpu")
    assert (classifier.label, classifier.arch, classifier.classes) == ("demo", ARCH, 10)
    assert classifier.preprocessing.crop == 32


def test_a_missing_demo_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("robench.models.loader.resources.files", lambda package: tmp_path)
    assert "install robench again" in _refusal("demo", None)


def test_a_classifier_is_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    classifier = load_classifier(_saved(tmp_path, _state()), ARCH, "cpu")
    assert not any(module.training for module in classifier.module.modules())
    assert not any(parameter.requires_grad for parameter in classifier.module.parameters())
    assert (classifier.label, classifier.arch, classifier.device) == ("w", ARCH, torch.device("cpu"))
    for key, value in _state().items():
        assert torch.equal(classifier.module.state_dict()[key], value)


def test_loading_leaves_the_callers_generator_alone(tmp_path: Path) -> None:
    path = _saved(tmp_path, _state(7))
    before = torch.random.get_rng_state()
    load_classifier(path, ARCH, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("classes", [2, 100])
def test_the_head_follows_the_file(tmp_path: Path, classes: int) -> None:
    assert load_classifier(_saved(tmp_path, _state(classes)), ARCH, "cpu").classes == classes


def test_the_head_follows_the_file_in_libraries(tmp_path: Path) -> None:
    module, _ = ARCHITECTURES["timm"].build("test_resnet", 12)
    assert load_classifier(_saved(tmp_path, module.state_dict()), "timm:test_resnet", "cpu").classes == 12
    module, _ = ARCHITECTURES["torchvision"].build("squeezenet1_1", 6)
    path = tmp_path / "s.safetensors"
    save_file(module.state_dict(), path)
    assert load_classifier(path, "torchvision:squeezenet1_1", "cpu").classes == 6


def test_a_leading_dimension_that_is_no_head_is_an_error(tmp_path: Path) -> None:
    state = _state()
    state["layer1.0.conv1.weight"] = torch.ones(17, 16, 3, 3)
    assert "1 of another shape: layer1.0.conv1.weight 17x16x3x3 instead of 16x16x3x3" in _refusal(
        _saved(tmp_path, state)
    )


def test_missing_unexpected_and_misshaped_tensors_are_one_error(tmp_path: Path) -> None:
    state = _state()
    del state["conv1.weight"], state["layer1.0.bn1.running_mean"]
    state["extra.weight"] = torch.ones(1)
    state["linear.weight"] = torch.ones(10, 65)
    text = _refusal(_saved(tmp_path, state))
    assert "2 missing: conv1.weight and 1 more" in text
    assert "1 unexpected: extra.weight" in text
    assert "1 of another shape: linear.weight 10x65 instead of 10x64" in text


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    text = _refusal(_saved(tmp_path, _state()), "zoo:cifar_resnet20")
    assert "(60 missing: layer1.1.conv1.weight, layer1.1.bn1.weight and 58 more); the weights fit" in text


def test_old_files_without_batch_counters_load(tmp_path: Path) -> None:
    state = {key: value for key, value in _state().items() if not key.endswith("num_batches_tracked")}
    assert len(state) < len(_state())
    load_classifier(_saved(tmp_path, state), ARCH, "cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in _state().items()}
    module = load_classifier(_saved(tmp_path, state), ARCH, "cpu").module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    state = _state() | {"conv1.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)}
    assert "conv1.weight torch.int8 instead of torch.float32" in _refusal(_saved(tmp_path, state))


def test_broken_weights_are_said(tmp_path: Path) -> None:
    state = _state()
    state["conv1.weight"][0] = float("nan")
    assert any("non-finite" in note for note in load_classifier(_saved(tmp_path, state), ARCH, "cpu").notes)


def test_one_output_is_the_logit_of_the_second_of_two_classes(tmp_path: Path) -> None:
    classifier = load_classifier(_saved(tmp_path, _state(1)), ARCH, "cpu")
    assert (classifier.classes, classifier.head) == (2, "logit")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits = classifier.logits(images)
    with torch.inference_mode():
        own = classifier.preprocessing
        values = normalise(images, own.mean, own.std, reverse=False, dtype=torch.float32)
        single = classifier.module(values)[:, 0]
    assert torch.allclose(logits.softmax(1)[:, 1], single.sigmoid())


def test_a_module_that_gives_no_logits_is_no_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    _, preprocessing = ARCHITECTURES["zoo"].build("cifar_resnet8", None)
    family = Family(lambda *_: (Pair(), preprocessing), lambda _: (Pair(), preprocessing), list)
    monkeypatch.setitem(ARCHITECTURES, "pairs", family)
    assert "gives a 2x3x32x32 tensor" in _refusal("pairs:x", None)


def test_one_output_for_all_images_is_no_classifier(tmp_path: Path) -> None:
    """As of a network that takes the mean over the batch: its ten values are no five classes of two images."""
    code = (
        "from torch import nn\nclass Net(nn.Flatten):\n    def forward(self, x): return super().forward(x)[:1, :10]\n"
    )
    (tmp_path / "net.py").write_text(code)
    assert "gives a 1x10 tensor of torch.float32 for 2 images" in _refusal(f"{tmp_path}/net.py:Net", None, crop=32)


def test_an_input_size_that_cannot_run_is_said(tmp_path: Path) -> None:
    module, _ = ARCHITECTURES["timm"].build("test_vit", None)
    path = _saved(tmp_path, module.state_dict())
    assert "does not run on 161x161 images" in _refusal(path, "timm:test_vit", crop=161)


def test_overrides_reach_the_preprocessing(tmp_path: Path) -> None:
    path = _saved(tmp_path, _state())
    options: dict[str, Any] = {"mean": [0, 0, 0], "std": [1, 1, 1], "crop": 40, "interpolation": "bicubic"}
    found = load_classifier(path, ARCH, "cpu", **options).preprocessing
    assert (found.mean, found.std, found.crop, found.resize, found.interpolation) == (
        (0, 0, 0),
        (1, 1, 1),
        40,
        40,
        "bicubic",
    )
    with pytest.raises(OptionError, match="smaller than crop"):
        load_classifier(path, ARCH, "cpu", resize=20)


def test_a_file_needs_an_architecture(tmp_path: Path) -> None:
    path = _saved(tmp_path, {"fc.weight": torch.ones(3, 4)})
    assert "--arch torchvision:resnet50" in _refusal(path, None)
    assert "zoo:NAME, torchvision:NAME, timm:NAME" in _refusal(path, "cifar_resnet8")
    assert "zoo:NAME" in _refusal(path, "zo:cifar_resnet8")
    assert "did you mean 'cifar_resnet8'" in _refusal(path, "zoo:cifar_resnet9")


def test_a_model_that_is_nothing_known(tmp_path: Path) -> None:
    assert "did you mean torchvision:resnet50 or timm:resnet50?" in _refusal("resnet50", None)
    assert "neither a file of a known format" in _refusal("nothing", None)
    assert "empty name" in _refusal("", None)
    assert "no weights file" in _refusal(tmp_path / "absent.pth")
    assert "is a folder" in _refusal(tmp_path)
    assert "already names its architecture" in _refusal("demo", ARCH)
    assert "already names its architecture" in _refusal("timm:resnet18", ARCH)
    assert "give a weights file with --arch zoo:cifar_resnet8" in _refusal("zoo:cifar_resnet8", None)


def test_published_weights_are_known_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def published(scale: float) -> Family:
        module, preprocessing = ARCHITECTURES["zoo"].build("cifar_resnet8", None)
        module.load_state_dict({key: value * scale for key, value in _state().items()})
        return Family(ARCHITECTURES["zoo"].build, lambda _: (module, preprocessing), list)

    def loaded(scale: float) -> str:
        monkeypatch.setitem(ARCHITECTURES, "press", published(scale))
        classifier = load_classifier("press:net@V1", device="cpu")
        assert (classifier.label, classifier.arch) == ("net@V1", "press:net")
        return classifier.sha256

    assert loaded(1) == loaded(1)
    assert loaded(1) != loaded(0.5)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "mps:0", "cpu:0", ""):
        with pytest.raises(DeviceError, match="auto, cpu, cuda, cuda:N, mps"):
            choose_device(name)


def test_absent_devices_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(DeviceError, match="use --device cpu"):
            choose_device(name)


def test_cuda_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="cuda:0 to cuda:1"):
        choose_device("cuda:2")


def test_a_full_device_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    path = _saved(tmp_path, _state())
    monkeypatch.setattr(nn.Module, "to", full)
    with pytest.raises(DeviceError, match="does not fit"):
        load_classifier(path, ARCH, "cpu")


@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
def test_exported_models_that_are_missing_or_damaged(tmp_path: Path, name: str) -> None:
    assert f"no model file {tmp_path / name}" in _refusal(tmp_path / name, None)
    (tmp_path / name).write_bytes(b"PK not a zip")
    assert "damaged" in _refusal(tmp_path / name, None)


def test_small_images_are_not_cut_where_nothing_is_stated() -> None:
    assert (assumed(32)[0].resize, assumed(32)[0].crop) == (32, 32)
    assert (assumed()[0].resize, assumed()[0].crop) == (256, 224)


def test_a_short_side_for_a_model_that_squashes_is_said(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        network = timm.create_model("test_vit", num_classes=5)
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    stated = {"input_size": [3, 160, 160], "crop_pct": 1.0, "crop_mode": "squash"}
    config = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": stated}
    (tmp_path / "config.json").write_text(json.dumps(config))
    own = load_classifier(tmp_path, device="cpu")
    assert (own.preprocessing.resize, own.notes) == ((160, 160), ())
    assert load_classifier(tmp_path, device="cpu", crop=80).preprocessing.resize == (80, 80)
    cut = load_classifier(tmp_path, device="cpu", resize=180)
    assert cut.warnings[0].startswith("--resize 180 is the short side, but timm:test_vit squashes images")


def test_names_of_a_file_break_no_line_and_steer_no_terminal(tmp_path: Path) -> None:
    """`formats.fuzz` found a line break in the name of a tensor."""
    state = CifarResNet(10, depth=8).state_dict()
    odd = "net\n\x1b[2J.weight"
    torch.save(state | {odd: torch.ones(1)}, tmp_path / "unexpected.pth")
    with pytest.raises(CheckpointError) as caught:
        load_classifier(tmp_path / "unexpected.pth", "zoo:cifar_resnet8", "cpu")
    assert r"net\n\x1b[2J.weight" in str(caught.value)
    beside = {f"net.{key}": value for key, value in state.items()} | {odd: torch.ones(1)}
    torch.save(beside, tmp_path / "beside.pth")
    notes = load_classifier(tmp_path / "beside.pth", "zoo:cifar_resnet8", "cpu").notes
    assert all(note.isprintable() for note in notes)
    assert any(r"net\n\x1b[2J.weight" in note for note in notes)


def test_pipes_and_dead_links_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "dead.pth").symlink_to(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_classifier(tmp_path / "pipe.pth", device="cpu")
    with pytest.raises(CheckpointError, match="broken link"):
        load_classifier(tmp_path / "dead.pth", device="cpu")


def test_notes_on_guesses_travel_with_a_later_error(tmp_path: Path) -> None:
    """The architecture is detected, and then the network does not run at the input size that the user gives."""
    with pytest.raises(RobenchError) as caught:
        load_classifier(_saved(tmp_path, squeezenet1_0(num_classes=10).state_dict()), device="cpu", crop=8)
    notes = getattr(caught.value, "__notes__", [])
    assert any("detected architecture torchvision:squeezenet1_0" in note for note in notes)
