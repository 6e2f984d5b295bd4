"""Perturbation: a pure function from a batch of images to frames, with its constants and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from robench.errors import OptionError
from robench.suites.geometry import height_width
from robench.transforms.draws import Draws
from robench.transforms.warps import PaddedBatch
from robench.types import Images, Size

__all__ = ["Constants", "Perturbation", "perturbation"]

Constants: TypeAlias = Mapping[str, Any]
"""Constants of one difficulty, by name; `frames` has one value for each frame, in the unit of the perturbation's axis.

On the map of offsets the value is a pair, pixels down and to the right.
"""

FrameKernel: TypeAlias = Callable[..., Iterator[Images]]


@dataclass(frozen=True)
class Perturbation:
    """A named sequence of frames.

    Attributes:
        name: Name in suites and tables.
        kernel: Pure function (batch, input_size, draws, **constants) that yields the frames in order, each
            (b, c, *input_size) uint8.
        levels: Constants of one or three difficulties, by name of the set.
        axis: Quantity of the values in `frames`.
        source: Paper, and place in the published code.
        independent: Whether each frame has draws of its own and is compared with frame 0 instead of the previous frame.
        uses_original_size: Whether the kernel takes images as they are stored, before any resize.
        summary: First line of the kernel's docstring.
        per_band: Whether each channel is changed alone, so that images may have any number of them. Others are defined on RGB.
    """

    name: str
    kernel: FrameKernel
    levels: Mapping[str, tuple[Constants, ...]]
    axis: str
    source: str
    independent: bool
    uses_original_size: bool
    summary: str
    per_band: bool = True

    def params(self, constants: str, difficulty: int = 1) -> Constants:
        """Return the constants of a difficulty.

        Raises:
            OptionError: If the set or the difficulty is unknown.
        """
        if constants not in self.levels:
            raise OptionError(f"{self.name} has no constants {constants!r}", f"use one of {', '.join(self.levels)}")
        levels = self.levels[constants]
        if not 1 <= difficulty <= len(levels):
            raise OptionError(f"{self.name} has no frames of difficulty {difficulty}", f"use 1 to {len(levels)}")
        return levels[difficulty - 1]

    def __call__(self, batch: PaddedBatch, input_size: Size, draws: Draws, params: Constants) -> Iterator[Images]:
        """Yield the frames of `batch`, each (b, c, height, width) uint8 of `input_size` on its device."""
        return self.kernel(batch, height_width(input_size), draws, **params)


def perturbation(
    *,
    levels: Mapping[str, Constants | tuple[Constants, ...]],
    axis: str,
    source: str,
    independent: bool = False,
    uses_original_size: bool = False,
    per_band: bool = True,
) -> Callable[[FrameKernel], Perturbation]:
    """Turn a kernel into a Perturbation with the kernel's name and summary; registers nothing.

    The arguments are attributes of `Perturbation`; `levels` may name the constants of a single difficulty without a tuple.
    """
    sets = {
        name: tuple(MappingProxyType(dict(params)) for params in (level if isinstance(level, tuple) else (level,)))
        for name, level in levels.items()
    }

    def wrap(kernel: FrameKernel) -> Perturbation:
        return Perturbation(
            name=kernel.__name__,
            kernel=kernel,
            levels=MappingProxyType(sets),
            axis=axis,
            source=source,
            independent=independent,
            uses_original_size=uses_original_size,
            summary=(kernel.__doc__ or "").strip().split("\n")[0],
            per_band=per_band,
        )

    return wrap
