"""Two sides of a comparison: their figures matched, and how each change is tested. Torch-free.

side.py      the figures of a run, of several seeds, of a results CSV
matching.py  which figures of two sides compare
records.py   what the records say of them
contrast.py  the change of a figure, and its tests
"""

from __future__ import annotations

from robench.contrast.contrast import Contrast, Method, contrast
from robench.contrast.matching import match, refuse_unlike
from robench.contrast.side import HEADLINES, KEY, Figure, Side, Source, open_side, refuse_unfinished

__all__ = [
    "HEADLINES",
    "KEY",
    "Contrast",
    "Figure",
    "Method",
    "Side",
    "Source",
    "contrast",
    "match",
    "open_side",
    "refuse_unfinished",
    "refuse_unlike",
]
