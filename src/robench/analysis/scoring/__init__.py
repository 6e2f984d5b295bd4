"""Scoring: records to results."""

from __future__ import annotations

from robench.analysis.scoring.notes import notes
from robench.analysis.scoring.pooling import pool, pooled_rows
from robench.analysis.scoring.sanity import Permutation, check_clean_records, nonfinite_notes
from robench.analysis.scoring.score import score, score_rows

__all__ = [
    "Permutation",
    "check_clean_records",
    "nonfinite_notes",
    "notes",
    "pool",
    "pooled_rows",
    "score",
    "score_rows",
]
