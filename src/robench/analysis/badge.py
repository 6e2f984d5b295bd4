"""A badge with one value of a run: a small SVG image for a README."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from robench.runs.files import read_start

__all__ = ["badge", "is_badge"]

_MARK = 'data-source="robench"'

_SIZE, _HEIGHT, _SPACE = 11, 20, 7
"""Size of the text, height of the badge, and space on each side of a text, in px."""

_WIDTHS = {
    0.28: "ijl'",
    0.30: "IJ",
    0.32: " ,.",
    0.34: "/:;\\|",
    0.36: "f-",
    0.39: "()[]t",
    0.41: "r!",
    0.48: '"*_`',
    0.52: "sz?",
    0.55: "cL",
    0.59: "vxyFkP",
    0.61: "TYaoe",
    0.64: "$0123456789{}ESbdghnpquK",
    0.69: "AVBRXZC",
    0.74: "UHN",
    0.79: "DGOQ&w",
    0.84: "#+<=>^~M",
    0.97: "%mW@",
}
"""Widths of the characters of DejaVu Sans and Verdana, in sizes of the text."""
_WIDTH = {character: width for width, characters in _WIDTHS.items() for character in characters}
_WIDEST = 1.0
"""Width of other characters."""


def badge(label: str, value: str) -> str:
    """Return a self-contained SVG image with a label and a value.

    Args:
        label: Text on the left, such as `cifar-c mean error`.
        value: Text on the right, such as `31.2 %`.
    """
    texts = (label, value)
    lengths = [round(_SIZE * sum(_WIDTH.get(character, _WIDEST) for character in text)) for text in texts]
    left, right = (length + 2 * _SPACE for length in lengths)
    drawn = "".join(
        f'<text x="{start}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        for text, start, length in zip(texts, (_SPACE, left + _SPACE), lengths, strict=True)
    )
    name = f"{label}: {value}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img" '
        f"aria-label={quoteattr(name)} {_MARK}><title>{escape(name)}</title>"
        f'<clipPath id="r"><rect width="{left + right}" height="{_HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{_HEIGHT}" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="#0b5cad"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{_SIZE}">{drawn}</g></svg>\n'
    )


def is_badge(path: Path) -> bool:
    """Return whether a file is a badge of robench."""
    return _MARK in read_start(path)
