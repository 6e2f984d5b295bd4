"""Frames of the perturbations against the published definitions' (golden/*-p.npz)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robench.draws import KeyedDraws
from robench.perturbations import PERTURBATIONS, find_perturbation
from robench.rectangles import Rectangles
from robench.types import Images

FILES = {"imagenet-p": ("224", 224), "cifar10-p": ("32", 32)}
"""Golden file: its constants, and the side of its frames."""

EQUAL = ("translate", "rotate", "scale", "shear", "motion_blur")
CLOSE = ("zoom_blur", "brightness", "gaussian_blur", "tilt")
"""At most 1 apart: float32 leaves values on the other side of a whole number."""

cells = [(file, name) for file in FILES for name in (*EQUAL, *CLOSE)]


def golden_frames(golden: Path, file: str, name: str) -> Iterator[tuple[Images, Images]]:
    """(ours, expected) of every sequence in the file, (frames, 3, side, side) each."""
    constants, side = FILES[file]
    perturbation = find_perturbation(name, constants)
    with np.load(golden / f"{file}.npz") as arrays:
        for key in [key for key in arrays if key.startswith("source")]:
            number = key.removeprefix("source")
            pictures = Rectangles.of(_tensor(arrays[key][None]))
            draws = KeyedDraws(0, torch.arange(1), name)
            frames = list(perturbation(pictures, side, draws, perturbation.level(constants)))
            listed = arrays[f"{name}{number}_frames"].tolist() if f"{name}{number}_frames" in arrays else None
            yield (
                torch.cat(frames if listed is None else [frames[frame] for frame in listed]),
                _tensor(arrays[f"{name}{number}"]),
            )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize(("file", "name"), cells)
def test_frames(file: str, name: str, golden: Path) -> None:
    sequences = list(golden_frames(golden, file, name))
    assert sequences
    for ours, expected in sequences:
        assert ours.shape == expected.shape
        difference = (ours.int() - expected.int()).abs()
        if name in EQUAL:
            assert not difference.any()
        else:
            assert difference.max() <= 1
            assert (difference > 0).double().mean() < 0.1


def test_no_golden_sequence_is_left_out(golden: Path) -> None:
    for file in FILES:
        with np.load(golden / f"{file}.npz") as arrays:
            names = {key.removesuffix("_frames").rstrip("0123456789") for key in arrays} - {"source"}
        assert names == {*EQUAL, *CLOSE} <= set(PERTURBATIONS)
