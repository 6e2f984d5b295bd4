"""Colours of the cells of a heat map in a terminal."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style

from robench.analysis.metrics import METRICS

__all__ = ["tint"]

_SCALE = (0xFFFFD7, 0xFFD7AF, 0xFFAF87, 0xFF875F, 0xFF5F5F, 0xFF0000, 0xD70000, 0xAF0000, 0x870000, 0x5F0000)
"""Backgrounds from no harm to full harm, each darker than the one before, so that they read without colour vision.

All are colours of the 256 of xterm. Terminals would replace others by the nearest, in which more harm can be lighter.
"""

_FULL = {"flip_rate": 0.25}
"""Value of full harm by metric; 1 for others."""


def tint(metric: str, value: float) -> Style:
    """Return the background for a value with the text colour that reads on it, on dark and on light terminals.

    Args:
        metric: A key of `METRICS` whose unit is a fraction.
        value: Value of the metric.
    """
    harm = 1 - value if METRICS[metric].higher_is_better else value
    position = min(max(harm / _FULL.get(metric, 1.0), 0.0), 1.0) * len(_SCALE)
    background = _SCALE[min(int(position), len(_SCALE) - 1)]
    red, green, blue = background >> 16, background >> 8 & 0xFF, background & 0xFF
    # The relative luminance of WCAG 2, with a gamma of 2.2; at 0.179 black and white text have the same contrast.
    is_light = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2 > 0.179
    text = Color.from_rgb(0, 0, 0) if is_light else Color.from_rgb(255, 255, 255)
    return Style(color=text, bgcolor=Color.from_rgb(red, green, blue))
