"""Ready choices of conditions and images for one purpose, as data."""

from __future__ import annotations

from dataclasses import dataclass

from robench.errors import OptionError, unknown_name

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """A choice of conditions and images.

    suites: by the largest side of a model's input that each is for, px; the last is for all larger ones.
    corruptions, severities: what of the suite.  limit: images, evenly spread.
    """

    name: str
    summary: str
    suites: tuple[tuple[int, str], ...]
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    limit: int

    def suite(self, side: int) -> str:
        """Return the suite for a model whose input is `side` pixels."""
        return next((name for largest, name in self.suites if side <= largest), self.suites[-1][1])


_C = ((48, "cifar-c"), (128, "tiny-imagenet-c"), (0, "imagenet-c"))

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
    """Return the preset called `name`; OptionError with a suggestion if there is none."""
    try:
        return PRESETS[name]
    except KeyError:
        raise OptionError(unknown_name("preset", name, PRESETS)) from None
