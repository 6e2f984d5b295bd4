"""Geometry: the resize and crop that turn a decoded image of any size into the suite's uint8 image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robench.errors import OptionError, unknown_name
from robench.types import Shape, Size

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["INTERPOLATIONS", "RGB", "Geometry", "PixelFormat", "height_width", "scaled", "size_text", "without_border"]

INTERPOLATIONS = {"nearest": 0, "box": 4, "bilinear": 2, "hamming": 5, "bicubic": 3, "lanczos": 1}
"""Pillow's filters by name, numbered as in `Image.Resampling`, which needs Pillow. All of them antialias when they shrink."""

_PIXELS = 2 * 89_478_485
"""Most pixels of a resized image, as many as Pillow decodes at most. A strip one pixel wide would become gigabytes."""


def height_width(size: Size) -> Shape:
    """Return the height and width of a size, in pixels."""
    return size if isinstance(size, tuple) else (size, size)


def size_text(size: Size) -> str:
    """Return a size as options take it: 224, or 224x320 for height x width."""
    height, width = height_width(size)
    return str(height) if height == width else f"{height}x{width}"


def scaled(size: Size, factor: float) -> Size:
    """Return a size whose sides are multiplied by `factor` and rounded."""
    return round(size * factor) if isinstance(size, int) else (round(size[0] * factor), round(size[1] * factor))


@dataclass(frozen=True)
class PixelFormat:
    """The pixels that a network takes.

    Attributes:
        bands: Number of channels: 1 for grey, 3 for RGB, other numbers for the bands of files that have them.
        data_range: Stored values that become 0 and 255; None for stored values of 8 bits.
    """

    bands: int = 3
    data_range: tuple[float, float] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of a protocol; none for RGB of 8 bits."""
        bands = () if self.bands == 3 else (f"{self.bands}band{'s' if self.bands > 1 else ''}",)
        limits = () if self.data_range is None else (f"range{self.data_range[0]:g}to{self.data_range[1]:g}",)
        return (*bands, *limits)


RGB = PixelFormat()
"""Pixels of 8 bits in red, green and blue."""


@dataclass(frozen=True)
class Geometry:
    """Resize, then centre crop, as torchvision does on PIL images. Images keep their shape at a step that is absent.

    Attributes:
        resize: New short side in pixels (the aspect ratio is kept), or (height, width).
        crop: Side of the centred square, or (height, width) of the centred rectangle, in pixels. A smaller image is padded with
            black, as torchvision pads.
        fraction: Side of a centred square that is cut first, as a fraction of the short side.
        interpolation: A key of `INTERPOLATIONS`.
        floors: Whether the smaller half of an odd margin is always cut above and left, as in transformers.
            In torchvision, half the margin is rounded to the even number.
    """

    resize: Size | None = None
    crop: Size | None = None
    fraction: float | None = None
    interpolation: str = "bilinear"
    floors: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise OptionError(*unknown_name("interpolation", self.interpolation, INTERPOLATIONS))

    @property
    def shape(self) -> Shape:
        """Height and width of the resulting image in pixels.

        Raises:
            OptionError: If the result has not always one shape.
        """
        if self.crop is not None:
            return height_width(self.crop)
        if isinstance(self.resize, tuple):
            return self.resize
        raise OptionError("an image geometry must end in images of one shape", "give a crop")

    @property
    def side(self) -> int:
        """Short side of the resulting image in pixels; see `shape`."""
        return min(self.shape)

    @property
    def has_one_shape(self) -> bool:
        """Whether every image gets the same height and width."""
        return self.crop is not None or isinstance(self.resize, tuple)

    @property
    def square(self) -> bool:
        """Whether every image becomes a square of one side."""
        return self.has_one_shape and self.shape[0] == self.shape[1]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of an image after `apply`, in pixels."""
        if self.fraction is not None:
            height = width = math.floor(self.fraction * min(height, width))
        if self.resize is not None:
            height, width = _resized(height, width, self.resize)
        return (height, width) if self.crop is None else height_width(self.crop)

    def __str__(self) -> str:
        parts = []
        if self.fraction is not None:
            parts.append(f"center{self.fraction:g}")
        if self.resize is not None:
            size = "x".join(map(str, self.resize)) if isinstance(self.resize, tuple) else str(self.resize)
            parts.append(f"resize{size}-{self.interpolation}")
        if self.crop is not None:
            parts.append(f"crop{size_text(self.crop)}{'floor' if self.floors else ''}")
        return "-".join(parts) or "as-stored"

    def apply(self, image: Image.Image, mode: str = "RGB") -> Image.Image:
        """Return an image as one of a mode, "RGB" or "L", and of the shape of `size`. EXIF orientation is ignored.

        Raises:
            ValueError: If 8 bits do not hold the values. Pillow would clip them at 255 and turn 16-bit grey into white.
        """
        _check_values(image)
        image = image.convert(mode)
        if self.fraction is not None:
            image = _center_crop(image, math.floor(self.fraction * min(image.size)))
        if self.resize is not None:
            image = _resize(image, self.resize, INTERPOLATIONS[self.interpolation])
        if self.crop is not None:
            image = _center_crop(image, self.crop, self.floors)
        return image


def _check_values(image: Image.Image) -> None:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 255) or (image.mode == "F" and 0 < high <= 1):
            raise ValueError(f"its values are {low:g} to {high:g}, not 0 to 255; give --data-range LOW,HIGH")


def without_border(image: Image.Image, border: int) -> Image.Image:
    """Cut `border` pixels off every side of an image.

    Raises:
        ValueError: If nothing would remain.
    """
    if not border:
        return image
    if min(image.size) <= 2 * border:
        raise ValueError(f"it is all border, {image.width}x{image.height} pixels with {border} on every side")
    return image.crop((border, border, image.width - border, image.height - border))


def _resize(image: Image.Image, size: int | tuple[int, int], resample: int) -> Image.Image:
    height, width = _resized(image.height, image.width, size)
    return image if (width, height) == image.size else image.resize((width, height), resample)


def _resized(height: int, width: int, size: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(size, tuple):
        return size
    new = (int(size * height / width), size) if width <= height else (size, int(size * width / height))
    if new[0] * new[1] > _PIXELS:
        raise ValueError(f"with {width}x{height} pixels it is too long; resized it would be {new[1]}x{new[0]}")
    return new


def _center_crop(image: Image.Image, size: Size, floors: bool = False) -> Image.Image:
    """Cut a centred rectangle. A smaller image is padded with black first, the smaller half above and left."""
    from PIL import Image

    (down, across), (width, height) = height_width(size), image.size
    if width < across or height < down:
        padded = Image.new(image.mode, (max(across, width), max(down, height)))
        padded.paste(image, ((padded.width - width) // 2, (padded.height - height) // 2))
        image, (width, height) = padded, padded.size
    halved = math.floor if floors else round
    top, left = halved((height - down) / 2), halved((width - across) / 2)
    return image.crop((left, top, left + across, top + down))
