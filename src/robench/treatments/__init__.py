"""Treatments: methods applied to an already trained checkpoint before it is measured, in one explicit table."""

from __future__ import annotations

from robench.treatments.adaptation import Adaptation, adapt
from robench.treatments.base import Method, Parameter, Session, Started, Treatment, Value
from robench.treatments.batching import ESTIMATED_ON, equal_parts, sample_order
from robench.treatments.registry import TREATMENTS, find_treatment, parse_treatments

__all__ = [
    "ESTIMATED_ON",
    "TREATMENTS",
    "Adaptation",
    "Method",
    "Parameter",
    "Session",
    "Started",
    "Treatment",
    "Value",
    "adapt",
    "equal_parts",
    "find_treatment",
    "parse_treatments",
    "sample_order",
]
