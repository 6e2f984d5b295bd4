"""Frames of the perturbations beside the published definitions' (golden/*-p.npz)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robench.transforms import filters
from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import find_perturbation
from robench.transforms.perturbations.base import Constants
from robench.transforms.resize import to_float
from robench.transforms.warps import PaddedBatch, affine, crop, inverse_affine, inverse_tilt, perspective
from robench.types import Images

FILES = {"imagenet-p": ("224", 224), "cifar10-p": ("32", 32)}
"""Golden file: its constants, and the side of its frames."""

EQUAL = ("translate", "rotate", "scale", "shear", "motion_blur")
CLOSE = ("zoom_blur", "brightness", "gaussian_blur", "tilt")
"""At most 1 apart: float32 leaves values on the other side of a whole number."""


@dataclass(frozen=True)
class Sequence:
    """Frames (frames, 3, side, side) of one picture; values: ours before they are made bytes, where they are not equal."""

    ours: Images
    expected: Images
    values: Tensor | None

    @property
    def difference(self) -> Tensor:
        """Absolute difference of the bytes, float64."""
        return (self.ours.int() - self.expected.int()).abs().double()

    def outside(self, rounded: bool) -> float:
        """Share of values that would not become the golden byte g: not in [g, g + 1), or where rounded not in g +- 0.5."""
        if self.values is None:
            return (self.difference > 0).double().mean().item()
        low = self.expected - 0.5 if rounded else self.expected
        inside = (self.values >= low - 0.002) & (self.values < low + 1.002)
        return 1 - inside.double().mean().item()


def golden_sequences(golden: Path, file: str, name: str) -> Iterator[Sequence]:
    """All sequences of a perturbation in a golden file."""
    constants, side = FILES[file]
    perturbation = find_perturbation(name, constants)
    level = perturbation.params(constants)
    with np.load(golden / f"{file}.npz") as arrays:
        for key in [key for key in arrays if key.startswith("source")]:
            number = key.removeprefix("source")
            pictures = PaddedBatch.of(_tensor(arrays[key][None]))
            frames = list(perturbation(pictures, side, KeyedDraws(0, torch.arange(1), name), level))
            given = f"{name}{number}_frames"
            listed = arrays[given].tolist() if given in arrays else list(range(len(frames)))
            values = [_value(name, pictures, side, level, frame) for frame in listed] if name in CLOSE else None
            yield Sequence(
                torch.cat([frames[frame] for frame in listed]),
                _tensor(arrays[f"{name}{number}"]),
                torch.cat(values) if values is not None else None,
            )


def _value(name: str, pictures: PaddedBatch, side: int, level: Constants, frame: int) -> Tensor:
    """A frame before its values are made bytes, 0..255."""
    if name == "tilt":
        return perspective(pictures, (side, side), [inverse_tilt(pictures.sizes[0], level["frames"][frame])])
    if name == "zoom_blur":
        zooms = level["frames"][: frame + 1]
        warped = [
            affine(pictures, (side, side), [inverse_affine(pictures.sizes[0], scale=zoom)]).double() for zoom in zooms
        ]
        return torch.stack(warped).mean(dim=0)
    images = to_float(crop(pictures, (side, side)))
    if name == "gaussian_blur":
        return filters.gaussian_blur(images, level["frames"][frame], level["truncate"]).double() * 255
    shifted = CORRUPTIONS["brightness"].kernel(
        images, KeyedDraws(0, torch.arange(1), name), shift=level["frames"][frame]
    )
    return shifted.clamp(0, 1).double() * 255


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
