"""Colours of the cells of a heat map in a terminal."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style

from robench.analysis.metrics import METRICS

__all__ = ["tint"]

_SCALE = ((0xFF, 0xF7, 0xEC), (0xFD, 0xD4, 0x9E), (0xFC, 0x8D, 0x59), (0xD7, 0x30, 0x1F), (0x7F, 0x00, 0x00))
"""ColorBrewer's OrRd, from no harm to full harm. Its lightness falls evenly, so that it reads without colour vision."""

_FULL = {"flip_rate": 0.25}
"""Value of full harm by metric; 1 for others."""


def tint(metric: str, value: float) -> Style:
    """Return the background for a value with the text colour that reads on it, on dark and on light terminals.

    Args:
        metric: A key of `METRICS` whose unit is a fraction.
        value: Value of the metric.
    """
    harm = 1 - value if METRICS[metric].higher_is_better else value
    position = min(max(harm / _FULL.get(metric, 1.0), 0.0), 1.0) * (len(_SCALE) - 1)
    index = min(int(position), len(_SCALE) - 2)
    low, high, share = _SCALE[index], _SCALE[index + 1], position - index
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    # The relative luminance of WCAG 2, with a gamma of 2.2; at 0.179 black and white text have the same contrast.
    is_light = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2 > 0.179
    text = Color.from_rgb(0, 0, 0) if is_light else Color.from_rgb(255, 255, 255)
    return Style(color=text, bgcolor=Color.from_rgb(red, green, blue))
