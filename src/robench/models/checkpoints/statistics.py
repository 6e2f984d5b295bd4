"""Mean and std of images that a weights file holds next to its network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from robench.models.checkpoints.stand_ins import StandIn

__all__ = ["Statistics", "find_statistics", "nested_statistics", "without_statistics"]

_NAMES = re.compile(
    r"(?P<before>(?:.*\.)?(?:\w*_)?)(?P<kind>mean|mu|std|sigma|sd|stdev|stddev|var|variance)s?", re.ASCII
)
"""Names of means and deviations, as `normalize.mean`, `normalizer.new_std`, `mu` and `sigma`."""
_CENTRES = ("mean", "mu")
_VARIANCES = ("var", "variance")
_PREPROCESSING = re.compile(r"norm(?!\d)|preproc|transform|image|img|pixel|input|data", re.IGNORECASE)
"""Part of the names of scalars that are statistics of images, and not of a loss."""
_DEPTH = 4

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Statistics:
    """A mean and a std.

    Attributes:
        names: Names of both in the file.
        mean: Of red, green and blue, as the file has them.
        std: Of red, green and blue, as the file has them.
    """

    names: tuple[str, str]
    mean: Triple
    std: Triple

    def fractions(self) -> tuple[Triple, Triple] | None:
        """Return mean and std as fractions of full scale; None if no images have such statistics."""
        values = (*self.mean, *self.std)
        is_byte = max(self.mean) > 1 or min(self.std) > 10
        scale = 255 if is_byte else 1
        is_possible = (
            all(map(math.isfinite, values))
            and min(self.mean) >= 0
            and max(values) <= scale
            and min(self.std) >= (1 if is_byte else 1e-3)
        )
        return (_scaled(self.mean, scale), _scaled(self.std, scale)) if is_possible else None


def find_statistics(entries: Mapping[str, object]) -> list[Statistics]:
    """Return the pairs of a mean and a std, of three numbers or one each, without repetitions of equal pairs.

    Args:
        entries: Tensors and other values by name.
    """
    centres: dict[str, tuple[str, Triple]] = {}
    deviations: dict[str, tuple[str, Triple]] = {}
    for name, value in entries.items():
        match = _NAMES.fullmatch(name)
        if match is None or match["before"].endswith("running_") or (numbers := _triple(name, value)) is None:
            continue
        if match["kind"] in _CENTRES:
            centres[match["before"]] = name, numbers
        elif match["kind"] not in _VARIANCES:
            deviations[match["before"]] = name, numbers
        elif min(numbers) >= 0:
            deviations.setdefault(match["before"], (name, _rooted(numbers)))
    found: dict[tuple[Triple, Triple], Statistics] = {}
    for before, (name, mean) in centres.items():
        if before in deviations:
            other, std = deviations[before]
            found.setdefault((mean, std), Statistics((name, other), mean, std))
    return list(found.values())


def without_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the pairs of `find_statistics`."""
    names = {name for statistics in find_statistics(state) for name in statistics.names}
    return {name: value for name, value in state.items() if name not in names}


def nested_statistics(content: object) -> list[Statistics]:
    """Return the pairs in the mappings and objects of a file's content, such as `mean` and `std` next to `state_dict`."""
    return find_statistics(dict(_entries(content, "", _DEPTH)))


def _entries(content: object, prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(content, StandIn) and depth:  # Its attributes, as of an argparse.Namespace.
        for part in content.parts:
            yield from _entries(part, prefix, depth - 1)
    if isinstance(content, Mapping) and depth:
        for name, value in content.items():
            if isinstance(name, str):
                yield f"{prefix}{name}", value
                yield from _entries(value, f"{prefix}{name}.", depth - 1)


def _triple(name: str, value: object) -> Triple | None:
    """Return three numbers, repeated if there is one; None for anything else."""
    if isinstance(value, Tensor):
        numbers = value.flatten().tolist() if value.numel() in (1, 3) and not value.is_complex() else []
    else:
        numbers = list(value) if isinstance(value, Sequence) and len(value) in (1, 3) else [value]
    if not numbers or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return None
    if len(numbers) == 1:
        if not _PREPROCESSING.search(name):
            return None
        numbers = numbers * 3
    red, green, blue = map(float, numbers)
    return red, green, blue


def _scaled(values: Triple, scale: float) -> Triple:
    # Tensors of float32 hold 0.229 as 0.2290000021.
    red, green, blue = (float(f"{value / scale:.7g}") for value in values)
    return red, green, blue


def _rooted(values: Triple) -> Triple:
    red, green, blue = map(math.sqrt, values)
    return red, green, blue
