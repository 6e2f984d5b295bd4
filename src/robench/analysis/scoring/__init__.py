"""Scoring: records to results."""

from __future__ import annotations

from robench.analysis.scoring.condition_score import condition_score, mean_divisors
from robench.analysis.scoring.notes import notes, result_notes
from robench.analysis.scoring.pooling import pool, pooled_rows
from robench.analysis.scoring.sanity import Permutation, check_clean_records, nonfinite_notes
from robench.analysis.scoring.score import score, score_rows

__all__ = [
    "Permutation",
    "check_clean_records",
    "condition_score",
    "mean_divisors",
    "nonfinite_notes",
    "notes",
    "pool",
    "pooled_rows",
    "result_notes",
    "score",
    "score_rows",
]
