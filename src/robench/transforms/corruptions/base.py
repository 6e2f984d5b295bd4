"""Corruption: a pure function on a batch of images, with its constants and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch

from robench.errors import OptionError
from robench.transforms.draws import Draws
from robench.transforms.kernels import kernel_scope
from robench.transforms.resize import to_float, to_uint8
from robench.types import FloatImages, Images

__all__ = ["CHUNK_VALUES", "MINIMUM_SIZE", "PUBLISHED", "Corruption", "Params", "corruption", "severities"]

MINIMUM_SIZE = 32
"""Smallest height and width, in pixels, for which the published constants are meaningful."""

PUBLISHED = "arXiv:1903.12261; hendrycks/robustness make_imagenet_c.py, make_tinyimagenet_c.py, make_cifar_c.py"
"""Source of the corruptions of ImageNet-C."""

CHUNK_VALUES = 3 << 17
"""Pixel values per step on a CPU: two images of 224x224, so that the working set stays in a core's cache."""

Params: TypeAlias = Mapping[str, float]
"""The constants of one severity, by name."""

Kernel: TypeAlias = Callable[..., FloatImages]


@dataclass(frozen=True)
class Corruption:
    """A named corruption.

    Attributes:
        name: Name in suites and tables.
        kernel: Pure function (images, draws, **params) -> images. With `values` "float" it takes and returns (b, 3, h, w)
            float32 in 0..1; the caller clips and truncates a result outside that range. With "uint8" it takes and returns
            uint8, for operations that are defined on bytes.
        levels: Constants of severities 1 to 5, by name of the set ("224", "299", "64", "32").
        source: Paper, and file of the published code.
        values: Dtype that the kernel takes and returns.
        random: Whether the kernel draws. Other kernels give the same pixels for every seed.
        interpolates: Whether constants between those of two severities are meaningful, so that none counts something or
            selects a regime.
        summary: First line of the kernel's docstring.
        per_band: Whether each channel is corrupted alone, so that images may have any number of them. Others are defined on RGB.
        chunk_values: Pixel values that the kernel takes at once on a CPU, about.
    """

    name: str
    kernel: Kernel
    levels: Mapping[str, tuple[Params, ...]]
    source: str
    values: Literal["float", "uint8"]
    random: bool
    interpolates: bool
    summary: str
    per_band: bool = False
    chunk_values: int = CHUNK_VALUES

    def params(self, constants: str, severity: float) -> Params:
        """Return the constants of a severity.

        Args:
            constants: Name of the set of constants.
            severity: 1 to 5. Constants between two severities are interpolated linearly.

        Raises:
            OptionError: If the set or the severity is unknown, or the corruption does not interpolate.
        """
        if constants not in self.levels:
            raise OptionError(f"{self.name} has no constants {constants!r}", f"use one of {', '.join(self.levels)}")
        levels = self.levels[constants]
        if not 1 <= severity <= len(levels):
            raise OptionError(f"severity {severity} does not exist", f"use 1 to {len(levels)}")
        if severity == int(severity):
            return levels[int(severity) - 1]
        if not self.interpolates:
            raise OptionError(
                f"{self.name} has no severity {severity}, because its constants do not interpolate",
                "use 1, 2, 3, 4 or 5",
            )
        milder, stronger, share = levels[int(severity) - 1], levels[int(severity)], severity % 1
        return {name: milder[name] + share * (stronger[name] - milder[name]) for name in milder}

    def __call__(self, images: Images, draws: Draws, params: Params) -> Images:
        """Corrupt (b, 3, h, w) uint8 to the same shape, dtype and device.

        Raises:
            OptionError: If the images are not uint8 RGB, or of other channels if the corruption takes any, or have a side below
                32 pixels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or not (images.shape[1] == 3 or self.per_band):
            raise OptionError(f"{self.name} takes (b, 3, h, w) uint8 images, not {tuple(images.shape)} {images.dtype}")
        if min(images.shape[2:]) < MINIMUM_SIZE:
            height, width = images.shape[2:]
            raise OptionError(f"{self.name} needs images of at least 32x32 pixels, not {height}x{width}")
        images = images.contiguous()  # Other layouts give the same pixels, several times slower.
        if images.shape[1] != 3:
            with kernel_scope("eager"):  # Fused kernels are written for RGB.
                return self._in_chunks(images, draws, params)
        return self._in_chunks(images, draws, params)

    def _in_chunks(self, images: Images, draws: Draws, params: Params) -> Images:
        if self.values == "uint8" and not self.random:
            return self._apply(images, draws, params)  # These kernels need little memory, so chunks gain nothing.
        parts = [self._apply(images[rows], draws.select(rows), params) for rows in self._chunks(images)]
        return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else images.clone()

    def _apply(self, images: Images, draws: Draws, params: Params) -> Images:
        if self.values == "uint8":
            return self.kernel(images, draws, **params)
        return to_uint8(self.kernel(to_float(images), draws, **params))

    def _chunks(self, images: Images) -> Iterator[slice]:
        """Yield slices of the batch to corrupt at once; the pixels of a sample do not depend on them."""
        size = len(images)
        if images.device.type == "cpu" and size:
            size = max(1, self.chunk_values // images[0].numel())
        for start in range(0, len(images), max(1, size)):
            yield slice(start, start + size)


def corruption(
    *,
    levels: Mapping[str, tuple[Params, ...]],
    source: str,
    values: Literal["float", "uint8"] = "float",
    random: bool = False,
    interpolates: bool = True,
    per_band: bool = False,
    chunk_values: int = CHUNK_VALUES,
) -> Callable[[Kernel], Corruption]:
    """Turn a kernel into a Corruption with the kernel's name and summary; registers nothing.

    The arguments are attributes of `Corruption`.
    """

    def wrap(kernel: Kernel) -> Corruption:
        summary = (kernel.__doc__ or "").strip().split("\n")[0]
        published = MappingProxyType(dict(levels))
        return Corruption(
            kernel.__name__,
            kernel,
            published,
            source,
            values,
            random,
            interpolates,
            summary,
            per_band,
            chunk_values,
        )

    return wrap


def severities(**constants: tuple[float, ...]) -> tuple[Params, ...]:
    """Return one mapping for each severity from one tuple for each constant.

    `severities(sigma=(.08, .12))` is `({"sigma": .08}, {"sigma": .12})`.
    """
    return tuple(
        MappingProxyType(dict(zip(constants, values, strict=True))) for values in zip(*constants.values(), strict=True)
    )
