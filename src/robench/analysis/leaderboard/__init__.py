"""Leaderboard: results of many models in one table."""

from __future__ import annotations

from robench.analysis.leaderboard.formats import FORMATS

__all__ = ["FORMATS"]
