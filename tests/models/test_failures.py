"""Hints for errors of a first forward pass. Oracle: the fault that was put into the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.failures import find_hint
from robench.models.formats.base import LoadRequest
from robench.models.loader import load_model
from tests.builders import each

POOL = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).reshape(1, 3)


class Grey(nn.Module):
    """A network whose first layer is not the one that takes the images."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Conv2d(3, 3, 3), nn.Conv2d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(x)).mean((2, 3))
        return result


class Ranged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0, "images must be in [0, 1]"
        return x.mean((2, 3))


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("stage")


def error(module: nn.Module, folder: Path) -> CheckpointError:
    torch.save(module, folder / "net.pth")
    request = LoadRequest(folder / "net.pth", None, torch.device("cpu"), trust_pickle=True)
    with pytest.raises(CheckpointError) as caught:
        load_model(request.path, request, {})
    return caught.value


@each(
    "module, hint",
    [
        (Grey(), "another number of channels"),
        (
            nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(2700, 3)),
            "set --crop if its input size is another",
        ),
        (nn.Sequential(nn.Conv2d(3, 3, 3), *POOL, nn.Linear(3, 3).half()), "mix dtypes"),
        (Fixed(), "fixed to one image at a time"),
        (Ranged(), "give --mean 0,0,0 --std 1,1,1"),
        (nn.Bilinear(3, 3, 3), "takes one argument"),
    ],
)
def test_each_cause_has_its_own_hint(module: nn.Module, hint: str, tmp_path: Path) -> None:
    raised = error(module, tmp_path)
    assert hint in raised.hint
    assert "\n" not in str(raised)


def test_an_unknown_cause_has_no_hint(tmp_path: Path) -> None:
    raised = error(Unknown(), tmp_path)
    assert raised.problem.endswith("(KeyError: 'stage')")
    assert not raised.hint


def test_a_network_that_checks_the_range_of_its_images_runs_with_images_in_that_range(tmp_path: Path) -> None:
    torch.save(Ranged(), tmp_path / "net.pth")
    request = LoadRequest(tmp_path / "net.pth", None, torch.device("cpu"), trust_pickle=True)
    assert load_model(request.path, request, {"mean": [0, 0, 0], "std": [1, 1, 1]}).classes == 3


@each(
    "text, hint",
    [
        ("Found no NVIDIA driver on your system.", "its code asks for cuda"),
        ("Torch not compiled with CUDA enabled", "its code asks for cuda"),
        (
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
            "one device only",
        ),
        ("Input height (32) doesn't match model (384).", "set --crop 384"),
        (
            "Got invalid dimensions for input: x index: 2 Got: 224 Expected: 32 index: 3 Got: 224 Expected: 32",
            "set --crop 32",
        ),
        ("Could not find an implementation for Foo(1) node with name ''", "lacks an operator"),
        ("name 'x' is not defined", ""),
    ],
)
def test_texts_of_libraries_have_hints(text: str, hint: str) -> None:
    assert (hint in find_hint(RuntimeError(text))) if hint else not find_hint(RuntimeError(text))
