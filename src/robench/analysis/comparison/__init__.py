"""Two sides of a comparison: their figures matched, and how each change is tested. Torch-free.

side.py      the figures of a run, of several seeds, of a results CSV
matching.py  which figures of two sides compare
records.py   what the records say of them
contrast.py  the change of a figure, and its tests
"""

from __future__ import annotations

from robench.analysis.comparison.compare import compare
from robench.analysis.comparison.difference import Contrast, Method, contrast
from robench.analysis.comparison.matching import match, refuse_unlike
from robench.analysis.comparison.results_set import HEADLINES, KEY, Figure, Side, Source, open_side, refuse_unfinished

__all__ = [
    "HEADLINES",
    "KEY",
    "Contrast",
    "Figure",
    "Method",
    "Side",
    "Source",
    "compare",
    "contrast",
    "match",
    "open_side",
    "refuse_unfinished",
    "refuse_unlike",
]
