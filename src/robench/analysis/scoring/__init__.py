"""Scoring: records to results."""

from __future__ import annotations

from robench.analysis.scoring.condition_score import condition_score, mean_divisors
from robench.analysis.scoring.group_table import read_groups
from robench.analysis.scoring.notes import notes
from robench.analysis.scoring.pooling import pool, pooled_rows
from robench.analysis.scoring.sanity import clean_warnings
from robench.analysis.scoring.score import score, score_rows
from robench.analysis.scoring.store import score_and_store

__all__ = [
    "clean_warnings",
    "condition_score",
    "mean_divisors",
    "notes",
    "pool",
    "pooled_rows",
    "read_groups",
    "score",
    "score_and_store",
    "score_rows",
]
