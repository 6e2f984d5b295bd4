"""Presets: conditions and images for one purpose, as data."""

from __future__ import annotations

from dataclasses import dataclass

from robench.errors import OptionError, unknown_name

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """Conditions and images for one purpose.

    Attributes:
        name: Unique name.
        summary: One line for lists.
        suites: Pairs of the largest input side in pixels and a suite; the last suite serves all larger inputs.
        corruptions: Corruptions of the suite.
        severities: Severities of the suite.
        limit: Number of images, evenly spread.
    """

    name: str
    summary: str
    suites: tuple[tuple[int, str], ...]
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    limit: int

    def suite(self, side: int) -> str:
        """Return the name of the suite for a model with an input side of `side` pixels."""
        return next((name for largest, name in self.suites if side <= largest), self.suites[-1][1])


_C = ((48, "cifar-c"), (128, "tiny-imagenet-c"), (298, "imagenet-c"), (299, "imagenet-c-299"), (0, "imagenet-c"))

CI = Preset(
    name="ci",
    summary="a noise, a blur, a weather and a digital corruption at severity 3 on 1,000 images: for a gate at every commit",
    suites=_C,
    corruptions=("gaussian_noise", "defocus_blur", "fog", "jpeg_compression"),
    severities=(3,),
    limit=1000,
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (CI,)}


def find_preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        OptionError: If there is no preset of that name; with a suggestion.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise OptionError(*unknown_name("preset", name, PRESETS)) from None
