"""All corruptions, in one explicit table. To add one, write its kernel in the file of its kind and name it here."""

from __future__ import annotations

from robench.corruption import Corruption
from robench.corruptions.digital import brightness, contrast, pixelate, saturate
from robench.corruptions.jpeg import jpeg_compression
from robench.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robench.errors import OptionError, unknown_name

__all__ = ["CORRUPTIONS", "find_corruption"]

CORRUPTIONS: dict[str, Corruption] = {
    corruption.name: corruption
    for corruption in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        brightness,
        contrast,
        pixelate,
        jpeg_compression,
        speckle_noise,
        saturate,
    )
}


def find_corruption(name: str) -> Corruption:
    """Return the corruption called `name`; OptionError with a suggestion if there is none."""
    try:
        return CORRUPTIONS[name]
    except KeyError:
        raise OptionError(unknown_name("corruption", name, CORRUPTIONS)) from None
