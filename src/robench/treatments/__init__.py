"""Treatments: methods applied to a trained network before it is measured."""

from __future__ import annotations

from robench.treatments.adaptation import Adaptation, adapt
from robench.treatments.base import Method, Parameter, PreparedModel, Session, Treatment, Value
from robench.treatments.batching import STATISTICS_BATCH, equal_parts, sample_order
from robench.treatments.registry import TREATMENTS, find_treatment, parse_treatments

__all__ = [
    "STATISTICS_BATCH",
    "TREATMENTS",
    "Adaptation",
    "Method",
    "Parameter",
    "PreparedModel",
    "Session",
    "Treatment",
    "Value",
    "adapt",
    "equal_parts",
    "find_treatment",
    "parse_treatments",
    "sample_order",
]
