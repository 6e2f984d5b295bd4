"""The preprocessing that a model expects: resize, crop, interpolation, mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from robench.errors import OptionError, unknown_name
from robench.suites.geometry import INTERPOLATIONS, Geometry

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing", "assumed"]


_MOST = 4096
"""Largest side of a model's input, in pixels; of published classifiers, none takes more than 1024."""


_SHRINK = 16
"""Most times that the resized side may be the crop's; 256 px cut to 32, eight times, is the most in use."""


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of its input.

    resize: before the crop, in pixels: an int is the short side, a pair (height, width) whatever the picture's shape; used only
        where the model's own geometry is asked for.
    crop: side of the square input, in pixels.
    interpolation: a key of `geometry.INTERPOLATIONS`.
    mean, std: of red, green and blue, as fractions of full scale.
    floors: how the crop is centred, see `Geometry`.
    Raises OptionError for values that no model can have.
    """

    resize: int | tuple[int, int]
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    floors: bool = False

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            _colour(name, values)
        if min(self.mean) < 0 or max(self.mean) > 1:
            raise OptionError(f"mean must be fractions of full scale, 0 to 1, not {_listed(self.mean)}: divide by 255")
        if min(self.std) <= 0 or max(self.std) > 1:
            raise OptionError(
                f"std must be fractions of full scale, above 0 to 1, not {_listed(self.std)}: divide by 255"
            )
        if not 1 <= self.crop <= _MOST:
            raise OptionError(f"crop must be from 1 to {_MOST} pixels, not {self.crop}")
        shortest, longest = _ends(self.resize)
        if longest > _SHRINK * self.crop:
            raise OptionError(f"resize {_sides(self.resize)} is far more than crop {self.crop}: give them in pixels")
        if _SHRINK * shortest < self.crop:
            raise OptionError(f"resize {_sides(self.resize)} is far less than crop {self.crop}: give them in pixels")
        if self.interpolation not in INTERPOLATIONS:
            raise OptionError(unknown_name("interpolation", self.interpolation, INTERPOLATIONS))

    def geometry(self) -> Geometry:
        """Return the model's own way from a picture of any size to its input."""
        return Geometry(resize=self.resize, crop=self.crop, interpolation=self.interpolation, floors=self.floors)

    def facts(self) -> dict[str, Any]:
        """Return the values by name, for a manifest; without `floors` where it does not hold, as older runs lack it."""
        return {name: value for name, value in asdict(self).items() if name != "floors" or value}

    def replaced(
        self,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        resize: int | tuple[int, int] | None = None,
        crop: int | None = None,
        interpolation: str | None = None,
    ) -> Preprocessing:
        """Return a copy with the given values; a new crop alone keeps the ratio of resize to crop.

        Raises OptionError for a resize that is less than the crop: only a model's own configuration can ask for padding.
        """
        if resize is None:
            resize = self.resize if crop is None else _scaled(self.resize, crop / self.crop)
        elif _ends(resize)[0] < (whole := self.crop if crop is None else crop):
            raise OptionError(f"resize {_sides(resize)} is smaller than crop {whole}: the crop would be padded")
        return replace(
            self,
            resize=resize,
            crop=self.crop if crop is None else crop,
            interpolation=self.interpolation if interpolation is None else interpolation,
            mean=self.mean if mean is None else _colour("mean", mean),
            std=self.std if std is None else _colour("std", std),
        )


def _colour(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise OptionError(f"{name} must be three numbers (red, green, blue), not {_listed(values)}")
    red, green, blue = values
    return red, green, blue


def _ends(resize: int | tuple[int, int]) -> tuple[int, int]:
    """The smaller and the larger of a pair, or an int twice."""
    return (min(resize), max(resize)) if isinstance(resize, tuple) else (resize, resize)


def _scaled(resize: int | tuple[int, int], factor: float) -> int | tuple[int, int]:
    if isinstance(resize, tuple):
        return round(resize[0] * factor), round(resize[1] * factor)
    return round(resize * factor)


def _sides(resize: int | tuple[int, int]) -> str:
    return "x".join(map(str, resize)) if isinstance(resize, tuple) else str(resize)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"


IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


_SMALL = 64
"""Side in pixels up to which a model's images are stored at its input's size."""


def assumed(side: int | None = None) -> tuple[Preprocessing, str]:
    """Return ImageNet's preprocessing, for files that say nothing of it, and the note that says so.

    side: of the input in pixels, where the file does say that.
    """
    crop = side or 224
    # Small images are taken as they are: nothing is cut off them.
    preprocessing = Preprocessing(
        crop if crop <= _SMALL else round(crop / 0.875), crop, "bilinear", IMAGENET_MEAN, IMAGENET_STD
    )
    what = "mean and std" if side else "mean, std and input size (224 px)"
    options = "--mean and --std" if side else "--mean, --std and --crop"
    return (
        preprocessing,
        f"the file does not say how its input is made: ImageNet's {what} are assumed; else give {options}",
    )
