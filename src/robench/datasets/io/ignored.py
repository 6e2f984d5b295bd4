"""Properties of image files that viewers show and that robench ignores, as torchvision does, or that the network does not take."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

__all__ = ["ignored_notes", "ignored_properties"]

_ORIENTATION = 0x0112
"""EXIF tag; 2 to 8 ask viewers to mirror or rotate the image."""

_TEXTS = {
    "orientation": "have an EXIF orientation that viewers follow; the pixels are used as stored, as torchvision does",
    "colour": "are in colour and become grey, 0.299 R + 0.587 G + 0.114 B, as torchvision's Grayscale computes it",
    "transparency": "have transparent pixels; their stored colours are used, without a background, as torchvision does",
}


def ignored_properties(image: Image.Image) -> set[str]:
    """Return the ignored properties of a loaded image: names of `ignored_notes`.

    Pillow rotates TIFF files itself and then removes their tag, so that the image must be loaded.
    """
    found = set()
    if image.getexif().get(_ORIENTATION) in range(2, 9):
        found.add("orientation")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        found.add("transparency")
    return found


def ignored_notes(counts: Mapping[str, int], total: int) -> tuple[str, ...]:
    """Return a note for each property that some of `total` images have."""
    return tuple(f"{counts[name]:,} of {total:,} images {text}" for name, text in _TEXTS.items() if counts.get(name))
