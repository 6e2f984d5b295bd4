"""What a perturbation is: a pure function from a batch of pictures to frames, with its constants and source beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from robench.errors import OptionError
from robench.transforms.draws import Draws
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["Constants", "Perturbation", "perturbation"]

Constants: TypeAlias = Mapping[str, Any]
"""The constants of one difficulty, by name; `frames` has one value a frame, in the unit of the perturbation's axis."""

FrameKernel: TypeAlias = Callable[..., Iterator[Images]]


@dataclass(frozen=True)
class Perturbation:
    """A named sequence of frames.

    kernel: (pictures, side, draws, **constants) -> the frames in turn, each (b, 3, side, side) uint8. Frames of one picture
        share what they can; none is kept.
    levels: the constants by name of the constant set, of one difficulty or of three.
    axis: what the values in `frames` are.
    source: paper, and the place in the published code.
    independent: whether frames are draws of their own, each to be compared with frame 0, not with the one before.
    uses_original_size: whether it takes pictures as they are stored, before any resizing.
    """

    name: str
    kernel: FrameKernel
    levels: Mapping[str, tuple[Constants, ...]]
    axis: str
    source: str
    independent: bool
    uses_original_size: bool
    summary: str

    def params(self, constants: str, difficulty: int = 1) -> Constants:
        """Return the constants of `difficulty`; those of 1 for a perturbation that has no others."""
        if constants not in self.levels:
            raise OptionError(f"{self.name} has no constants {constants!r} (known: {', '.join(self.levels)})")
        levels = self.levels[constants]
        if not 1 <= difficulty <= len(levels):
            raise OptionError(f"{self.name} has no frames of difficulty {difficulty}: use 1 to {len(levels)}")
        return levels[difficulty - 1]

    def __call__(self, pictures: PaddedBatch, side: int, draws: Draws, level: Constants) -> Iterator[Images]:
        """Yield the frames of `pictures`, (b, 3, side, side) uint8 each, on their device."""
        return self.kernel(pictures, side, draws, **level)


def perturbation(
    *,
    levels: Mapping[str, Constants | tuple[Constants, ...]],
    axis: str,
    source: str,
    independent: bool = False,
    uses_original_size: bool = False,
) -> Callable[[FrameKernel], Perturbation]:
    """Turn a kernel into a Perturbation that is named and summed up by the function; registers nothing."""
    given = {name: level if isinstance(level, tuple) else (level,) for name, level in levels.items()}

    def wrap(kernel: FrameKernel) -> Perturbation:
        return Perturbation(
            name=kernel.__name__,
            kernel=kernel,
            levels=MappingProxyType(
                {name: tuple(MappingProxyType(dict(one)) for one in of) for name, of in given.items()}
            ),
            axis=axis,
            source=source,
            independent=independent,
            uses_original_size=uses_original_size,
            summary=(kernel.__doc__ or "").strip().split("\n")[0],
        )

    return wrap
