"""The trial of other inputs, on a real network that is fed the wrong way on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robench
from robench.evaluation import other_inputs, prepare
from robench.models import load_classifier
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tests.builders import each

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
USUAL: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
CAFFE = "--input-range 255 --channels bgr --mean 123.68,116.779,103.939 --std 1,1,1"


class _Fed(nn.Module):
    """A network behind a conversion of its input, with a layer that the search for a normalisation does not pass."""

    def __init__(self, network: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.convert = network, convert
        self.first = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        nn.init.ones_(self.first.weight)

    def forward(self, x: Tensor) -> Any:
        return self.network(self.convert(self.first(x)))


def _from_caffe(x: Tensor) -> Tensor:
    return ((x + torch.tensor((103.939, 116.779, 123.68)).view(3, 1, 1)).flip(1) / 255 - MEAN) / STD


@pytest.fixture(autouse=True)
def _with_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "input_warnings", other_inputs.input_warnings)


@pytest.mark.slow
@each(
    ("convert", "fed", "advice", "limit"),
    [
        (lambda x: x, USUAL, "", 64),
        (lambda x: x.flip(1), USUAL, "images in BGR order are classified right more often: 9", 400),
        (lambda x: (x / 255 - MEAN) / STD, USUAL, "--input-range 255", 64),
        (lambda x: (x - MEAN) / STD, USUAL, "--mean 0,0,0 --std 1,1,1", 64),
        (lambda x: x, {"input_range": 255}, "--input-range 1 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225", 64),
        (_from_caffe, USUAL, CAFFE, 64),
    ],
)
def test_the_better_input_is_named(
    convert: Callable[[Tensor], Tensor],
    fed: dict[str, Any],
    advice: str,
    limit: int,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(other_inputs, "_SECONDS", 60.0)
    monkeypatch.setattr(other_inputs, "_MOST_SECONDS", 60.0)
    data = shared / "data"
    network = load_classifier(data / "checkpoints/cifar10_resnet20.th", device="cpu").module
    net = _Fed(network, convert)
    options: dict[str, Any] = {"suite": "clean", "size": 32, "limit": limit, "device": "cpu", "progress": False, **fed}
    run = robench.evaluate(net, data / "cifar10", out=tmp_path / "run", **options)
    found = [text for text in run.directory.warnings if "classified right more often" in text]
    assert len(found) == bool(advice)
    assert all(advice in text for text in found)
    with monkeypatch.context() as patched:  # A second trial would fail.
        patched.setattr(prepare, "input_warnings", None)
        again = robench.evaluate(net, data / "cifar10", out=tmp_path / "run", **options)
    assert again.directory.warnings == run.directory.warnings


class _Stateful(nn.Module):
    """A network that counts its images and draws noise."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.data += len(x)
        return x.mean((2, 3)) + torch.rand(3) + 1e-3 * self.seen


def test_a_trial_leaves_the_network_and_the_generator_alone(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = []
    for name in ("with", "without"):
        torch.manual_seed(0)
        net = _Stateful()
        run = robench.evaluate(
            net, picture_folder, suite="clean", size=32, device="cpu", progress=False, out=tmp_path / name
        )
        (file,) = (run.path / "records").glob("clean*")
        records.append((net.seen.item(), file.read_bytes(), torch.get_rng_state().tolist()))
        monkeypatch.setattr(prepare, "input_warnings", lambda *_: [])
    assert records[0] == records[1]
