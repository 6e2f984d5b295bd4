"""Two sides of a comparison: their figures matched, and how each change is tested. Torch-free.

side.py      the figures of a run, of several seeds, of a results CSV
matching.py  which figures of two sides compare
records.py   what the records say of them
contrast.py  the change of a figure, and its tests
"""

from __future__ import annotations

from robench.analysis.comparison.compare import compare
from robench.analysis.comparison.difference import Method, PairedDifference, compare_pairs
from robench.analysis.comparison.matching import check_comparable, match_results
from robench.analysis.comparison.results_set import (
    HEADLINE_METRICS,
    Key,
    ResultRow,
    ResultsSet,
    Source,
    check_finished,
    load_results,
)

__all__ = [
    "HEADLINE_METRICS",
    "Key",
    "Method",
    "PairedDifference",
    "ResultRow",
    "ResultsSet",
    "Source",
    "check_comparable",
    "check_finished",
    "compare",
    "compare_pairs",
    "load_results",
    "match_results",
]
