"""Preprocessing of a model: resize, crop, interpolation, mean, standard deviation and order of the channels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from robench.errors import OptionError, unknown_name
from robench.suites.geometry import INTERPOLATIONS, Geometry, PixelFormat, height_width, scaled, size_text
from robench.types import Shape, Size

__all__ = [
    "ASSUMPTIONS",
    "CHANNELS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INPUT_RANGES",
    "SIZE_NOTE",
    "Preprocessing",
    "assumed",
    "listed",
    "with_known_mean",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = ("rgb", "bgr")
"""Orders of the channels that models take."""
INPUT_RANGES = (1, 255)
"""Values of white in the units of a mean and std."""
SIZE_NOTE = "the file does not state its input size, so 224 px is used; change it with --crop"
"""Note of a file that settles mean and std, but not its input size."""

_LARGEST = 4096
"""Largest input size in pixels; no published classifier takes more than 1024."""
_RATIO = 16
"""Largest ratio of resize and crop, either way; the largest in use is 8, from 256 px to 32."""
_BYTE_STD = 1 / 32
"""Std below which a model takes values in 0 to 255, or in a range of that size."""
_TOO_LARGE = "divide by 255, or add --input-range 255 for a model that takes 0 to 255"
_SMALL = 64
"""Largest input size in pixels at which images are stored at the input size."""


@dataclass(frozen=True)
class Preprocessing:
    """The input that a model expects.

    Attributes:
        resize: Size before the crop, in pixels: an int is the short side, a pair is (height, width). It is used only
            with the model's own geometry.
        crop: Input size in pixels: the side of a square, or (height, width).
        interpolation: "bilinear", "bicubic", "nearest", "box", "hamming" or "lanczos".
        mean: Mean of each channel as a fraction of full scale: of red, green and blue, of grey, or of any number of bands.
        std: Standard deviations, likewise.
        floors: Centring of the crop; see `Geometry`.
        channels: Order in which the model takes the channels, "rgb" or "bgr". The mean and std are always of red, green, blue.
        data_range: Stored values that become 0 and full scale; None for values of 8 bits.

    Raises:
        OptionError: A value is one that no model can have.
    """

    resize: Size
    crop: Size
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    floors: bool = False
    channels: str = CHANNELS[0]
    data_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _values("mean", self.mean)
        _values("std", self.std)
        if len(self.mean) != len(self.std):
            raise OptionError(
                f"mean has {len(self.mean)} values, but std has {len(self.std)}",
                "give both for every channel of the model",
            )
        if self.data_range is not None and not (self.data_range[0] < self.data_range[1] < math.inf):
            raise OptionError(f"--data-range {listed(self.data_range)} is no range", "write LOW,HIGH, such as 0,10000")
        if self.channels != CHANNELS[0] and self.bands != 3:
            raise OptionError(f"--channels {self.channels} needs a model of 3 channels, not {self.bands}", "omit it")
        if min(self.mean) < 0 or max(self.mean) > 1:
            raise OptionError(f"mean must be fractions of full scale, 0 to 1, not {listed(self.mean)}", _TOO_LARGE)
        if min(self.std) <= 0 or max(self.std) > 1:
            raise OptionError(f"std must be fractions of full scale, above 0 to 1, not {listed(self.std)}", _TOO_LARGE)
        if isinstance(self.crop, tuple) and self.crop[0] == self.crop[1]:
            object.__setattr__(self, "crop", self.crop[0])
        if not 1 <= min(self.shape) <= max(self.shape) <= _LARGEST:
            raise OptionError(
                f"crop must be from 1 to {_LARGEST} pixels, not {size_text(self.crop)}",
                "give the model's input size as --size or --crop",
            )
        sides = height_width(self.resize)
        more = max(sides) > _RATIO * min(self.shape)
        if more or _RATIO * min(sides) < max(self.shape):
            raise OptionError(
                f"resize {size_text(self.resize)} is far {'more' if more else 'less'} than crop {size_text(self.crop)}",
                "give both in pixels",
            )
        if self.interpolation not in INTERPOLATIONS:
            raise OptionError(*unknown_name("interpolation", self.interpolation, INTERPOLATIONS))
        if self.channels not in CHANNELS:
            raise OptionError(*unknown_name("order of the channels", self.channels, CHANNELS))

    @property
    def bands(self) -> int:
        """Number of channels of the input."""
        return len(self.mean)

    @property
    def pixels(self) -> PixelFormat:
        """Bands and range of values of the images."""
        return PixelFormat(self.bands, self.data_range)

    @property
    def shape(self) -> Shape:
        """Height and width of the input in pixels."""
        return height_width(self.crop)

    @property
    def side(self) -> int:
        """Short side of the input in pixels."""
        return min(self.shape)

    @property
    def is_square(self) -> bool:
        """Whether the input is a square."""
        return isinstance(self.crop, int)

    def geometry(self) -> Geometry:
        """Return the model's own geometry, from an image of any size to its input."""
        return Geometry(resize=self.resize, crop=self.crop, interpolation=self.interpolation, floors=self.floors)

    def facts(self) -> dict[str, Any]:
        """Return the values by name, for a manifest; the last three only if they are not the usual ones."""
        usual = {"floors": False, "channels": CHANNELS[0], "data_range": None}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    def replaced(
        self,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        resize: Size | None = None,
        crop: Size | None = None,
        interpolation: str | None = None,
        input_range: int | None = None,
        channels: str | None = None,
        data_range: Sequence[float] | None = None,
    ) -> Preprocessing:
        """Return a copy with the given values; a new crop alone keeps the ratio of resize to crop.

        A rectangular crop alone is cut from a rectangle of the same ratio of sides, to which every image is resized.

        Args:
            mean: In the units of `input_range`, like `std`.
            std: See `mean`.
            resize: See the attributes, like the others.
            crop: See the attributes.
            interpolation: See the attributes.
            input_range: Value of white for the model, one of `INPUT_RANGES`; None for 1. A model for 0 to 255 gets pixels without
                a mean and std unless they are given.
            channels: See the attributes.
            data_range: See the attributes.

        Raises:
            OptionError: A value is impossible, or resize is less than crop. Only a model's configuration can ask for padding.
        """
        own_mean, own_std = self.mean, self.std
        if input_range is not None:
            if input_range not in INPUT_RANGES:
                raise OptionError(f"--input-range must be 1 or 255, not {input_range}", "omit it for 1")
            # With 1, a model that states 0 to 255 gets 0 to 1.
            if input_range != 1 or max(own_std) < _BYTE_STD:
                own_mean, own_std = (0.0,) * self.bands, (1 / input_range,) * self.bands
        mean, std = _fractions(mean, std, input_range or 1)
        crop = self.crop if crop is None else crop
        if resize is None:
            resize = self.resize if crop == self.crop else _in_ratio(crop, self)
        elif any(side < least for side, least in zip(height_width(resize), height_width(crop), strict=True)):
            larger = "a larger resize" if isinstance(crop, int) else "the resize as HxW"
            raise OptionError(
                f"resize {size_text(resize)} is smaller than crop {size_text(crop)}",
                f"give {larger} or a smaller crop",
            )
        return replace(
            self,
            resize=resize,
            crop=crop,
            interpolation=self.interpolation if interpolation is None else interpolation,
            mean=own_mean if mean is None else _values("mean", mean),
            std=own_std if std is None else _values("std", std),
            channels=self.channels if channels is None else channels,
            data_range=self.data_range if data_range is None else _range(data_range),
        )


def _in_ratio(crop: Size, own: Preprocessing) -> Size:
    """Return the size before another crop, in the ratio of the model's own resize to its own crop."""
    if isinstance(crop, int) and own.is_square:
        return scaled(own.resize, crop / own.side)
    # The factors are those of each axis; a short side is one factor for both.
    factors = (
        (own.resize[axis] / own.shape[axis] if isinstance(own.resize, tuple) else own.resize / own.side)
        for axis in (0, 1)
    )
    height, width = (round(side * factor) for side, factor in zip(height_width(crop), factors, strict=True))
    return height, width


def assumed(crop: Size | None = None) -> tuple[Preprocessing, str]:
    """Return ImageNet's preprocessing, for files that state none, and a note about the assumption.

    Args:
        crop: Input size in pixels if the file states it.
    """
    values = "mean and std" if crop else "mean, std and input size (224 px)"
    options = "--mean and --std" if crop else "--mean, --std and --crop"
    crop = crop or 224
    resize = crop if min(height_width(crop)) <= _SMALL else scaled(crop, 1 / 0.875)
    return (
        Preprocessing(resize, crop, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
        f"the file does not state its preprocessing, so ImageNet's {values} are used; change them with {options}",
    )


def with_known_mean(notes: Sequence[str]) -> tuple[str, ...]:
    """Return the notes of a model without the assumption about its mean and std."""
    return tuple(SIZE_NOTE if note == ASSUMPTIONS[0] else note for note in notes if note != ASSUMPTIONS[1])


def listed(values: Iterable[float]) -> str:
    """Return numbers as an option takes them."""
    return ",".join(f"{value:g}" for value in values)


def _fractions(
    mean: Sequence[float] | None, std: Sequence[float] | None, scale: int
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Return a mean and std in 0 to `scale` as fractions; OptionError if they are fractions already."""
    if scale == 1:
        return mean, std
    if (mean and 0 < max(mean) <= 1) or (std and max(std) < 1):
        given = " and ".join(f"{name} {listed(values)}" for name, values in (("mean", mean), ("std", std)) if values)
        raise OptionError(
            f"with --input-range {scale}, mean and std are in 0 to {scale}, but {given} look like fractions",
            f"multiply them by {scale}, or omit --input-range",
        )
    for name, values in (("mean", mean), ("std", std)):
        if values and max(values) > scale:
            raise OptionError(
                f"{name} must be in 0 to {scale}, the range of --input-range, not {listed(values)}", "correct it"
            )
    mean, std = (None if values is None else [value / scale for value in values] for values in (mean, std))
    return mean, std


def _values(name: str, values: Sequence[float]) -> tuple[float, ...]:
    if not values or not all(map(math.isfinite, values)):
        raise OptionError(
            f"{name} must be a number for each channel, not {listed(values) or 'none'}", "write them as 0.5,0.5,0.5"
        )
    return tuple(values)


def _range(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise OptionError(f"--data-range must be two numbers, not {listed(values)}", "write LOW,HIGH, such as 0,10000")
    return values[0], values[1]


ASSUMPTIONS = (assumed()[1], assumed(1)[1])
"""Notes of models that state nothing, or only their input size."""
