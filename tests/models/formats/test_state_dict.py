"""Contents that training scripts keep beside and around the weights. Oracle: the stored tensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from robench.errors import CheckpointError
from robench.models import Classifier, load_classifier
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.models.architectures.detect import detect_architecture
from robench.models.checkpoints.read import check_file
from robench.models.checkpoints.state_dict import read_weights

ARCH = "zoo:cifar_resnet8"


class AttributeDict(dict[str, object]):
    """Hyperparameters as a class of its own, as in Lightning."""


def _state(seed: int = 0) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CifarResNet(10, depth=8).state_dict()


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def _loaded(folder: Path, content: object, **options: Any) -> Classifier:
    torch.save(content, folder / "w.ckpt")
    return load_classifier(folder / "w.ckpt", ARCH, "cpu", **options)


def _same(classifier: Classifier, state: dict[str, Tensor]) -> bool:
    own = classifier.module.state_dict()
    return all(torch.equal(own[key], value) for key, value in state.items())


@pytest.mark.parametrize("prefix", ["net.", "model.backbone.", "_forward_module.module.", "model._orig_mod.module."])
def test_the_network_in_a_training_module_is_found(tmp_path: Path, prefix: str) -> None:
    content = {
        "state_dict": {**_prefixed(prefix, _state()), "criterion.weight": torch.ones(10), "steps": torch.tensor(3)}
    }
    classifier = _loaded(tmp_path, content)
    assert _same(classifier, _state())
    assert any("ignored 2 tensors outside of the network: criterion.weight, steps" in note for note in classifier.notes)


def test_what_is_amid_the_network_is_never_left_out(tmp_path: Path) -> None:
    content = {**_prefixed("net.", _state()), "net.extra.weight": torch.ones(3), "net.layer1.0.scale": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"2 unexpected: extra\.weight, layer1\.0\.scale"):
        _loaded(tmp_path, content)
    with pytest.raises(CheckpointError, match="1 unexpected: extra"):
        _loaded(tmp_path, {**_state(), "extra": torch.ones(3)})


def test_the_trained_weights_are_taken_and_their_average_on_request(tmp_path: Path) -> None:
    content = {"state_dict": _state(0), "state_dict_ema": _state(1)}
    trained = _loaded(tmp_path, content)
    assert _same(trained, _state(0))
    assert any("state_dict_ema: select them with --weights-key" in note for note in trained.notes)
    averaged = _loaded(tmp_path, content, weights_key="state_dict_ema")
    assert _same(averaged, _state(1))
    assert not averaged.notes


def test_two_sets_under_prefixes_are_told_apart_by_the_key(tmp_path: Path) -> None:
    content = {**_prefixed("model.", _state(0)), **_prefixed("ema.module.", _state(1))}
    with pytest.raises(CheckpointError, match=r"under model and ema\.module; select one with --weights-key"):
        _loaded(tmp_path, content)
    assert _same(_loaded(tmp_path, content, weights_key="model"), _state(0))
    assert _same(_loaded(tmp_path, content, weights_key="ema.module"), _state(1))


def test_a_file_under_another_name_is_read_and_said(tmp_path: Path) -> None:
    save_file(_state(), tmp_path / "w.pth")
    classifier = load_classifier(tmp_path / "w.pth", ARCH, "cpu")
    assert _same(classifier, _state())
    assert classifier.notes == (f"{tmp_path}/w.pth is a safetensors file despite its name, and was read as one",)
    torch.save(_state(), tmp_path / "w.safetensors")
    classifier = load_classifier(tmp_path / "w.safetensors", ARCH, "cpu")
    assert _same(classifier, _state())
    assert classifier.notes == (f"{tmp_path}/w.safetensors is a PyTorch file despite its name, and was read as one",)


@pytest.mark.parametrize("name", ["checkpoint", "w.weights", "w.onnx", "w.pt2"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_any_name_will_do_for_what_holds_weights(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "safetensors":
        save_file(_state(), tmp_path / name)
    else:
        torch.save(_state(), tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    classifier = load_classifier(tmp_path / name, ARCH, "cpu")
    assert _same(classifier, _state())
    assert classifier.label == name.partition(".")[0]


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="no weights under 'ema'; give --weights-key with one of state_dict, conv1"
    ):
        _loaded(tmp_path, {"state_dict": _state()}, weights_key="ema")


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w.pth").open("wb") as file:
        file.write(b"\x80\x02")
        file.truncate(4 * 2**40)
    with pytest.raises(CheckpointError, match=r"more than the .* GiB of memory"):
        check_file(tmp_path / "w.pth")


def test_another_mean_than_the_models_own_is_said(tmp_path: Path) -> None:
    classifier = _loaded(tmp_path, _state(), mean=[0.5, 0.5, 0.5])
    assert any("--mean 0.5,0.5,0.5 differs from the 0.485,0.456,0.406" in note for note in classifier.warnings)
    assert not _loaded(tmp_path, _state()).notes


def test_the_mean_and_std_in_a_file_are_those_of_its_network(tmp_path: Path) -> None:
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.25)
    attack = {**_prefixed("model.", _state()), **_prefixed("attacker.model.", _state())}
    for content in (
        {"normalize.mean": mean, "normalize.std": std, **_prefixed("model.", _state())},
        {"0.mean": mean.flatten(), "0.std": std.flatten(), **_prefixed("1.", _state())},
        {"mu": mean, "sigma": std, **_state()},
        {"model": {"normalizer.new_mean": mean[0], "normalizer.new_std": std[0], **attack}, "epoch": 3},
        {"state_dict": _prefixed("net.", {"pixel_mean": mean * 255, "pixel_std": std * 255, **_state()})},
        {"norm.mean": mean, "norm.var": std**2, **_prefixed("model.", _state())},
        {"state_dict": _state(), "transform": {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.25]}},
        {"state_dict": _state(), "hyper_parameters": AttributeDict(mean=[0.5, 0.4, 0.3], std=[0.25, 0.25, 0.25])},
        {"state_dict": _state(), "args": argparse.Namespace(mean=(0.5, 0.4, 0.3), std=(0.25, 0.25, 0.25))},
    ):
        classifier = _loaded(tmp_path, content)
        assert _same(classifier, _state())
        assert classifier.preprocessing.mean == pytest.approx((0.5, 0.4, 0.3))
        assert classifier.preprocessing.std == pytest.approx((0.25, 0.25, 0.25))
        assert any("mean 0.5,0.4,0.3 and std 0.25,0.25,0.25 are its" in note for note in classifier.notes)
        assert _loaded(tmp_path, content, mean=[0.5, 0.4, 0.3]).notes == classifier.notes
    assert detect_architecture(read_weights(tmp_path / "w.ckpt").state) == ARCH


def test_numbers_that_may_be_no_statistics_of_images_change_nothing(tmp_path: Path) -> None:
    ones = torch.ones(3)
    weights = _prefixed("model.", _state())
    for content, note in (
        (
            {"reward.mean": -ones, "reward.std": 5 * ones, **weights},
            "also holds reward.mean and reward.std (-1,-1,-1 and 5,5,5)",
        ),
        ({"a.mean": ones / 2, "a.std": ones / 4, "b.mean": ones / 3, "b.std": ones / 4, **weights}, "a.mean and a.std"),
        (
            {"norm.mean": ones / 2, "norm.inv_std": 4 * ones, **weights},
            "also holds norm.mean (0.5,0.5,0.5), norm.inv_std",
        ),
        ({"loss.mean": torch.tensor(0.5), "loss.std": torch.tensor(0.2), **weights}, "ignored 2 tensors"),
    ):
        classifier = _loaded(tmp_path, content)
        assert classifier.preprocessing == _loaded(tmp_path, _state()).preprocessing
        assert any(note in text for text in classifier.notes)


def test_a_file_that_says_nothing_is_called_as_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine" / "model.safetensors"
    file.parent.mkdir()
    save_file(_state(), file)
    assert load_classifier(file, ARCH, "cpu").label == "mine"
