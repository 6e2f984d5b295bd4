"""Names in files that differ from those of the network. Oracles: the stored tensors, and the modules of torch.nn.utils."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from robench.errors import CheckpointError
from robench.models import Classifier, load_classifier
from robench.models.architectures.cifar_resnet import CifarResNet
from tests.builders import each

ARCH = "zoo:cifar_resnet8"
_ALL: Any = None
"""Dimension of a weight normalization over the whole weight."""
State = dict[str, Tensor]


def _network(seed: int = 0) -> CifarResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CifarResNet(10, depth=8).eval()


def _state(seed: int = 0) -> State:
    return _network(seed).state_dict()


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def _split(trunk: str, head: str, seed: int = 0) -> State:
    """Return the weights with a prefix of the trunk, and with another name of the last layer."""
    state = _state(seed)
    return {key.replace("linear.", head) if key.startswith("linear.") else trunk + key: state[key] for key in state}


def _load(folder: Path, content: object, arch: str | None = ARCH, **options: Any) -> Classifier:
    torch.save(content, folder / "w.pth")
    return load_classifier(folder / "w.pth", arch, "cpu", **options)


def _refusal(folder: Path, content: object, arch: str | None = ARCH, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        _load(folder, content, arch, **options)
    return str(caught.value)


def _same(classifier: Classifier, state: State) -> bool:
    own = classifier.module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], value) for key, value in state.items())


def _note(classifier: Classifier, start: str) -> str:
    return next((text for note in classifier.notes if (text := note.partition(": ")[2]).startswith(start)), "")


@each(
    "content, note",
    [
        (_split("backbone.", "head.fc."), "loaded head.fc as linear"),
        (_split("encoder.", "linear."), "removed encoder from"),
        (_split("model.trunk.", "model.top.linear."), "removed trunk and top from"),
        (_split("model.", "classifier."), "loaded classifier as linear"),
    ],
)
def test_prefixes_that_differ_between_trunk_and_head_are_removed(content: State, note: str, tmp_path: Path) -> None:
    for arch in (ARCH, None):
        classifier = _load(tmp_path, {"state_dict": content}, arch)
        assert classifier.arch == ARCH
        assert _same(classifier, _state())
        assert _note(classifier, note)


def test_a_prefix_of_the_network_may_be_absent_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "wrapper.py"
    file.write_text(
        "from torch import nn\nfrom robench.models.architectures.cifar_resnet import CifarResNet\n"
        "class Wrapper(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.model = CifarResNet(10, depth=8)\n"
        "    def forward(self, images):\n        return self.model(images)\n"
    )
    for content, note in (
        (_prefixed("model.", _state()), ""),
        (_prefixed("module.model.", _state()), ""),
        (_state(), "added model to the beginning of names"),
        (_split("backbone.", "head.fc."), "added model to the beginning of names"),
    ):
        classifier = _load(tmp_path, {"state_dict": content}, f"{file}:Wrapper")
        assert _same(classifier, _prefixed("model.", _state()))
        assert _note(classifier, "added") == note


def test_parts_that_do_not_make_a_network_stay_unread(tmp_path: Path) -> None:
    content = _split("backbone.", "head.fc.")
    two = content | {f"neck.{key}": value + 1 for key, value in content.items() if key.startswith("head.")}
    several = "holds several layers that may be linear, under head.fc and neck.head.fc; "
    assert several in _refusal(tmp_path, two)
    assert _same(_load(tmp_path, two, ignore_key="neck.*"), _state())
    del content["head.fc.bias"]
    assert "2 missing: linear.weight, linear.bias" in _refusal(tmp_path, content)
    wide = _split("backbone.", "head.fc.") | {"head.fc.weight": torch.ones(10, 65)}
    assert "1 of another shape: linear.weight 10x65 instead of 10x64" in _refusal(tmp_path, wide)
    assert "its weights fit no known architecture" in _refusal(tmp_path, wide, None)


@each(
    "old, new",
    [
        ("layer1.", "layer1.module."),
        ("layer2.0.", "layer2._orig_mod.0._checkpoint_wrapped_module."),
        ("conv", "_fsdp_wrapped_module._fsdp_wrapped_module.conv"),
    ],
)
def test_wrappers_are_removed_from_the_middle_of_names(old: str, new: str, tmp_path: Path) -> None:
    content = {key.replace(old, new): value for key, value in _state().items()}
    for arch in (ARCH, None):
        classifier = _load(tmp_path, content, arch)
        assert _same(classifier, _state())
        assert _note(classifier, "removed the wrappers ")


def _pruned(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.3)
    if getattr(layer, "bias", None) is not None:
        prune.random_unstructured(layer, "bias", 0.5)


@each(
    "convert, note",
    [
        (_pruned, "computed 9 weights from the parts that pruning stores"),
        (weight_norm, "computed 8 weights from the parts that weight normalization stores"),
        (lambda layer: weight_norm(layer, dim=1), "computed 8 weights"),
        (lambda layer: weight_norm(layer, dim=_ALL), "computed 8 weights"),
        (parametrizations.weight_norm, "computed 8 weights"),
        (lambda layer: parametrizations.weight_norm(layer, dim=_ALL), "computed 8 weights"),
        (spectral_norm, "computed 8 weights from the parts that spectral normalization stores"),
        (parametrizations.spectral_norm, "computed 8 weights"),
    ],
)
def test_weights_that_are_stored_as_parts_are_those_of_torch(
    convert: Callable[[nn.Module], object], note: str, tmp_path: Path
) -> None:
    network = _network()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # The older functions are deprecated.
        torch.manual_seed(1)
        for layer in [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]:
            convert(layer)
        network.train()(torch.randn(2, 3, 32, 32))  # Spectral normalization estimates its vectors.
        network.eval()(torch.randn(2, 3, 32, 32))
    content = deepcopy(network.state_dict())
    classifier = _load(tmp_path, content, None)
    assert classifier.arch == ARCH
    assert _note(classifier, note)
    loaded = dict(classifier.module.named_modules())
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert torch.equal(loaded[name].weight, layer.weight), name
            assert layer.bias is None or torch.equal(loaded[name].bias, layer.bias), name


def test_the_masks_of_wrapped_layers_are_applied(tmp_path: Path) -> None:
    state, mask = _state(), torch.arange(432).view(16, 3, 3, 3) % 2
    content = {"conv1.module.weight" if key == "conv1.weight" else key: value for key, value in state.items()}
    expected = state | {"conv1.weight": state["conv1.weight"] * mask}
    assert _same(_load(tmp_path, content | {"conv1.weight_mask": mask.float()}), expected)
    assert "1 unexpected: conv1.weight_mask" in _refusal(tmp_path, content | {"conv1.weight_mask": mask * 0.5})


def test_parts_of_an_unknown_method_are_explained(tmp_path: Path) -> None:
    network = _network()
    parametrizations.orthogonal(network.linear)
    assert "parametrize.remove_parametrizations" in _refusal(tmp_path, network.state_dict())


@each(
    "more, note",
    [
        (
            dict.fromkeys(("total_ops", "conv1.total_params", "layer1.0.bn1.total_ops"), torch.zeros(1)),
            "ignored 3 tensors",
        ),
        ({"n_averaged": torch.tensor(3), "model_ema.num_updates": torch.tensor(1)}, "ignored 2 tensors"),
        ({"criterion.weight": torch.ones(10), "loss_fn.pos_weight": torch.ones(10)}, "ignored 2 tensors"),
        (
            {"layer1.attn.relative_position_index": torch.zeros(3), "AuxLogits.fc.bias": torch.ones(3)},
            "ignored 2 tensors",
        ),
    ],
)
def test_tensors_that_no_network_computes_with_are_ignored(more: State, note: str, tmp_path: Path) -> None:
    for arch in (ARCH, None):
        classifier = _load(tmp_path, _state() | more, arch)
        assert _same(classifier, _state())
        assert _note(classifier, note + " that play no role in evaluation: ")


def test_other_tensors_are_ignored_on_request(tmp_path: Path) -> None:
    content = {
        "state_dict": _prefixed("module.", _state() | {"probe.weight": torch.ones(2), "probe.bias": torch.ones(2)})
    }
    assert "--ignore-key leaves out tensors" in _refusal(tmp_path, content)
    assert f"if it is {ARCH}, leave the others out with --ignore-key" in _refusal(tmp_path, content, None)
    for patterns in (["probe.*"], ["module.probe.*"], ["probe.weight", "probe.b*"]):
        for arch in (ARCH, None):
            classifier = _load(tmp_path, content, arch, ignore_key=patterns)
            assert _same(classifier, _state())
            assert _note(classifier, "--ignore-key left out 2 tensors: probe.bias, probe.weight")
    assert "has no tensor prob, which --ignore-key names" in _refusal(tmp_path, content, ignore_key=["prob"])
    refused = _refusal(tmp_path, content, ignore_key=["probe.*", "linear.*"])
    assert f"--ignore-key leaves out linear.bias, which {ARCH} needs" in refused


def test_the_names_of_messages_are_accepted_as_they_are_written(tmp_path: Path) -> None:
    content = {"state_dict": _prefixed("module.online.", _state(0)) | _prefixed("module.target.", _state(1))}
    for arch in (ARCH, None):
        assert "under online and target; select one with --weights-key" in _refusal(tmp_path, content, arch)
    for key in ("target", "module.target", "state_dict.target", "state_dict.module.target"):
        assert _same(_load(tmp_path, content, weights_key=key), _state(1))
    assert "give --weights-key with one of state_dict, online, target" in _refusal(tmp_path, content, weights_key="x")
    nested = {"student": _prefixed("module.backbone.", _state(0)), "teacher": _prefixed("backbone.", _state(1))}
    assert "give --weights-key student or teacher for" in _refusal(tmp_path, nested)
    for key in ("student", "student.backbone", "student.module.backbone"):
        assert _same(_load(tmp_path, nested, weights_key=key), _state(0))


def test_sets_deeper_in_the_names_are_found_without_an_architecture(tmp_path: Path) -> None:
    content = _prefixed("online_encoder.net.", _state(0)) | _prefixed("target_encoder.net.", _state(1))
    content["predictor.weight"] = torch.ones(3)
    assert "under online_encoder.net and target_encoder.net; select" in _refusal(tmp_path, content, None)
    assert _same(_load(tmp_path, content, None, weights_key="target_encoder.net"), _state(1))
    content = _prefixed("student.", _state()) | _prefixed("teacher.", CifarResNet(10, depth=20).state_dict())
    refused = _refusal(tmp_path, content, None)
    assert "it holds several networks, under student and teacher; select one with --weights-key" in refused
    assert _same(_load(tmp_path, content), _state())  # the names of the teacher include those of the student


def test_equal_sets_are_one(tmp_path: Path) -> None:
    content = _prefixed("module.model.", _state()) | _prefixed("module.attacker.model.", _state())
    classifier = _load(tmp_path, {"model": content})
    assert _same(classifier, _state())
    assert _note(classifier, "the weights under model and attacker.model are equal")
