"""Comparison of two sets of results: matched rows, differences and their tests."""

from __future__ import annotations

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
    "compare_pairs",
    "load_results",
    "match_results",
]
