"""Checkpoints with several BatchNorm branches. The oracle: networks with the branch's tensors in the plain place, and timm's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models import Classifier, load_classifier
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.treatments import adapt
from tests.treatments.networks import randomised

ARCH = "zoo:cifar_resnet8"


def state_of(seed: int) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in randomised(CifarResNet(10, depth=8), seed).state_dict().items()}


def is_norm(key: str) -> bool:
    return ".bn" in f".{key}"


def split(style: str) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """A state dict with branches, and for each of its branches that of the plain network."""
    states = [state_of(seed) for seed in range(2 if style == "advprop" else 3)]
    main = dict(states[0])
    for number, other in enumerate(states[1:]):
        for key, value in other.items():
            if is_norm(key):
                layer, _, tensor = key.rpartition(".")
                place = "aux_bn" if style == "advprop" else f"aux_bn.{number}"
                main[f"{layer}.{place}.{tensor}"] = value
    plain = [{key: (other if is_norm(key) else states[0])[key] for key in states[0]} for other in states]
    return main, plain


@pytest.mark.parametrize("style", ["timm", "advprop"])
@pytest.mark.parametrize("arch", [ARCH, None])
def test_each_branch_is_the_plain_network(tmp_path: Path, images: Tensor, style: str, arch: str | None) -> None:
    main, plain = split(style)
    torch.save({f"module.{key}": value for key, value in main.items()}, tmp_path / "split.pth")
    classifier = load_classifier(tmp_path / "split.pth", arch, "cpu")
    names = "aux0" if style == "advprop" else "aux0, aux1"
    assert any(f"7 BatchNorm layers have auxiliary branches ({names})" in note for note in classifier.notes)
    assert classifier.arch == ARCH
    for number, state in enumerate(plain):
        torch.save(state, tmp_path / "plain.pth")
        expected = load_classifier(tmp_path / "plain.pth", ARCH, "cpu").logits(images)
        text = "bn-branch:main" if number == 0 else f"bn-branch:aux{number - 1}"
        adaptation = adapt(classifier, [text], None, 0)
        assert adaptation.layers == (7,)
        treated, session = adaptation.start()
        assert session is None
        assert torch.equal(treated.logits(images), expected)
    # Without --treatment the main branch is used.
    torch.save(plain[0], tmp_path / "plain.pth")
    assert torch.equal(classifier.logits(images), load_classifier(tmp_path / "plain.pth", ARCH, "cpu").logits(images))


def test_a_checkpoint_that_timm_split(tmp_path: Path, images: Tensor) -> None:
    """Of a network whose BatchNorm holds the activation (BatchNormAct2d), which must stay where a branch is taken."""
    timm = pytest.importorskip("timm")
    plain = randomised(timm.create_model("test_efficientnet", num_classes=5), 0)
    other = randomised(timm.create_model("test_efficientnet", num_classes=5), 1)
    divided = timm.layers.convert_splitbn_model(randomised(timm.create_model("test_efficientnet", num_classes=5), 0), 2)
    norms = dict(other.named_modules())
    for name, layer in divided.named_modules():
        if isinstance(layer, timm.layers.SplitBatchNorm2d):
            layer.aux_bn[0].load_state_dict(norms[name].state_dict())
            norm = plain.get_submodule(name)
            assert type(norm).__name__ == "BatchNormAct2d"
    torch.save(divided.state_dict(), tmp_path / "split.pth")
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    found = load_classifier(tmp_path / "split.pth", "timm:test_efficientnet", "cpu")
    assert torch.equal(
        found.logits(images), load_classifier(tmp_path / "plain.pth", "timm:test_efficientnet", "cpu").logits(images)
    )
    for name, layer in plain.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.load_state_dict(norms[name].state_dict())
    torch.save(plain.state_dict(), tmp_path / "aux.pth")
    expected = load_classifier(tmp_path / "aux.pth", "timm:test_efficientnet", "cpu").logits(images)
    treated, _ = adapt(found, ["bn-branch:aux"], None, 0).start()
    assert torch.allclose(treated.logits(images), expected, atol=1e-6)
    # The module that timm itself makes, from a factory, has the same branches.
    own = Classifier("own", "t", divided.eval(), found.preprocessing, 5, "0" * 64, torch.device("cpu"))
    treated, _ = adapt(own, ["bn-branch:aux0"], None, 0).start()
    assert torch.allclose(treated.logits(images), expected, atol=1e-6)


def test_wrong_branches_are_refused(tmp_path: Path, normalised: Classifier) -> None:
    with pytest.raises(CheckpointError, match="has no auxiliary BatchNorm branches"):
        adapt(normalised, ["bn-branch:main"], None, 0)
    main, _ = split("timm")
    torch.save(main, tmp_path / "split.pth")
    classifier = load_classifier(tmp_path / "split.pth", ARCH, "cpu")
    with pytest.raises(CheckpointError, match="no branch aux2; use --treatment bn-branch with one of main, aux0, aux1"):
        adapt(classifier, ["bn-branch:aux2"], None, 0)
    # A branch that is not whole, or of another layer, does not fit.
    for key in ("bn1.aux_bn.1.weight", "layer1.0.bn1.aux_bn.0.running_var"):
        torch.save({name: value for name, value in main.items() if name != key}, tmp_path / "split.pth")
        with pytest.raises(CheckpointError, match=f"missing.*{key}"):
            load_classifier(tmp_path / "split.pth", ARCH, "cpu")
    torch.save({**main, "conv1.aux_bn.0.weight": torch.ones(16)}, tmp_path / "split.pth")
    with pytest.raises(CheckpointError, match=r"conv1.aux_bn.0.weight"):
        load_classifier(tmp_path / "split.pth", ARCH, "cpu")
