"""What a corruption is: a pure function on a batch, with its constants and its source beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch

from robench.errors import OptionError
from robench.transforms.draws import Draws
from robench.transforms.resize import to_float, to_uint8
from robench.types import FloatImages, Images

__all__ = ["MINIMUM_SIDE", "Corruption", "Params", "corruption", "severities"]

MINIMUM_SIDE = 32
"""The smallest side, in pixels, for which the published constants make sense."""

_CHUNK_VALUES = 3 << 17
"""Pixel values corrupted at once on a CPU, two images of 224x224, so that the working set stays in a core's own cache."""

Params: TypeAlias = Mapping[str, float]
"""The constants of one severity, by name."""

Kernel: TypeAlias = Callable[..., FloatImages]


@dataclass(frozen=True)
class Corruption:
    """A named corruption.

    kernel: (images, draws, **level) -> images, never in place. With values "float" it takes and returns (b, 3, h, w)
        float32 in 0..1, and may leave that range: the caller clips and truncates. With values "uint8" it takes and
        returns uint8, for what is defined on bytes.
    levels: the constants of severities 1 to 5, by name of the constant set ("224", "299", "64", "32").
    source: paper, and the place in the published code.
    random: whether it draws; the others give the same pixels for every seed.
    interpolates: whether constants between those of two severities make sense: none counts anything or picks a regime.
    """

    name: str
    kernel: Kernel
    levels: Mapping[str, tuple[Params, ...]]
    source: str
    values: Literal["float", "uint8"]
    random: bool
    interpolates: bool
    summary: str

    def params(self, constants: str, severity: float) -> Params:
        """Return the constants of `severity` (1 to 5) in the set `constants`.

        Between two severities the constants lie on the line between theirs, where the corruption interpolates; OptionError
        where it does not.
        """
        if constants not in self.levels:
            raise OptionError(f"{self.name} has no constants {constants!r} (known: {', '.join(self.levels)})")
        levels = self.levels[constants]
        if not 1 <= severity <= len(levels):
            raise OptionError(f"severity {severity} does not exist: use 1 to {len(levels)}")
        if severity == int(severity):
            return levels[int(severity) - 1]
        if not self.interpolates:
            raise OptionError(
                f"{self.name} has no severity {severity}: its constants do not interpolate, use 1, 2, 3, 4 or 5"
            )
        milder, stronger, share = levels[int(severity) - 1], levels[int(severity)], severity % 1
        return {name: milder[name] + share * (stronger[name] - milder[name]) for name in milder}

    def __call__(self, images: Images, draws: Draws, level: Params) -> Images:
        """Corrupt (b, 3, h, w) uint8 to the same shape, dtype and device.

        Raises OptionError for images that are not uint8 RGB or have a side below 32 pixels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise OptionError(f"{self.name} takes (b, 3, h, w) uint8 images, not {tuple(images.shape)} {images.dtype}")
        if min(images.shape[2:]) < MINIMUM_SIDE:
            height, width = images.shape[2:]
            raise OptionError(f"{self.name} needs images of at least 32x32 pixels, these have {height}x{width}")
        images = images.contiguous()  # Other layouts give the same pixels, several times slower.
        if self.values == "uint8" and not self.random:
            return self._apply(images, draws, level)  # Little memory, so nothing is gained by small pieces.
        parts = [self._apply(images[rows], draws.select(rows), level) for rows in _chunks(images)]
        return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else images.clone()

    def _apply(self, images: Images, draws: Draws, level: Params) -> Images:
        if self.values == "uint8":
            return self.kernel(images, draws, **level)
        return to_uint8(self.kernel(to_float(images), draws, **level))


def corruption(
    *,
    levels: Mapping[str, tuple[Params, ...]],
    source: str,
    values: Literal["float", "uint8"] = "float",
    random: bool = False,
    interpolates: bool = True,
) -> Callable[[Kernel], Corruption]:
    """Turn a kernel into a Corruption that is named and summed up by the function; registers nothing."""

    def wrap(kernel: Kernel) -> Corruption:
        summary = (kernel.__doc__ or "").strip().split("\n")[0]
        return Corruption(
            kernel.__name__, kernel, MappingProxyType(dict(levels)), source, values, random, interpolates, summary
        )

    return wrap


def severities(**constants: tuple[float, ...]) -> tuple[Params, ...]:
    """Return one mapping a severity from one tuple a constant: severities(sigma=(.08, .12)) has two levels."""
    return tuple(
        MappingProxyType(dict(zip(constants, values, strict=True))) for values in zip(*constants.values(), strict=True)
    )


def _chunks(images: Images) -> Iterator[slice]:
    """Slices of the batch to corrupt at once; a sample's pixels do not depend on them."""
    size = len(images)
    if images.device.type == "cpu" and size:
        size = max(1, _CHUNK_VALUES // images[0].numel())
    for start in range(0, len(images), max(1, size)):
        yield slice(start, start + size)
