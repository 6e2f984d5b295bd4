"""Baselines: values of one model that the values of others are divided by. The first line of each file names its source."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np

from robench.errors import OptionError, unknown_name
from robench.types import Floats

__all__ = ["BASELINES", "Baseline", "load_baseline", "unknown_baseline"]

BASELINES: dict[str, str] = {"alexnet": "alexnet.csv"}
"""File of each published baseline, next to this module. All are of ImageNet's classes."""

_PUBLISHED_CLASSES = 1000


@dataclass(frozen=True)
class Baseline:
    """Values of one model on one suite, as constants.

    Attributes:
        name: Name of the published baseline, or label of the model.
        errors: Error rates by corruption and severity.
        means: Mean error rates over the severities by corruption. For some corruptions nothing else was published.
        clean: Error rate on the unperturbed images; None if unknown.
        flip_rates: Flip rates by perturbation and difficulty.
        t5d: Top-5 distances by perturbation and difficulty; never published.
        is_published: Whether the values are published, not of a run.
        classes: Number of classes among which the model predicts; None if unknown.
    """

    name: str
    errors: Mapping[tuple[str, int], float] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)
    clean: float | None = None
    flip_rates: Mapping[tuple[str, int], float] = field(default_factory=dict)
    t5d: Mapping[tuple[str, int], float] = field(default_factory=dict)
    is_published: bool = False
    classes: int | None = None

    @classmethod
    def from_errors(cls, name: str, errors: Mapping[tuple[str, int], float], clean: float | None) -> Baseline:
        """Return the baseline of the error rates of a run."""
        return cls(name, errors, _means(errors), clean)

    @classmethod
    def from_file(cls, name: str) -> Baseline:
        """Read a published baseline, a key of `BASELINES`."""
        lines = files(__name__).joinpath(BASELINES[name]).read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))

        def values(metric: str) -> Iterator[tuple[str, str, float]]:
            return (
                (row["corruption"], row["severity"], float(row["value"])) for row in rows if row["metric"] == metric
            )

        errors = {(corruption, int(severity)): value for corruption, severity, value in values("error_rate")}
        clean = errors.pop(("clean", 0), None)
        means = _means(errors) | {corruption: value for corruption, _, value in values("mean_error")}
        flip_rates = {(perturbation, 1): value for perturbation, _, value in values("flip_rate")}
        return cls(name, errors, means, clean, flip_rates, is_published=True, classes=_PUBLISHED_CLASSES)

    def error(self, corruption: str, severity: int) -> float | None:
        """Return the error rate of a cell; None if unknown."""
        return self.errors.get((corruption, severity))

    def severities(self, corruption: str) -> Floats | None:
        """Return the error rates of a corruption by ascending severity, their mean alone (1,), or None if unknown."""
        errors = [error for (name, _), error in sorted(self.errors.items()) if name == corruption]
        if not errors and corruption not in self.means:
            return None
        return np.array(errors or [self.means[corruption]])


def _means(errors: Mapping[tuple[str, int], float]) -> dict[str, float]:
    by_corruption: dict[str, list[float]] = {}
    for (corruption, _), error in errors.items():
        by_corruption.setdefault(corruption, []).append(error)
    return {corruption: float(np.mean(values)) for corruption, values in by_corruption.items()}


def unknown_baseline(name: str) -> OptionError:
    """Return the error that a baseline is neither published, nor "none", nor a run directory."""
    if Path(name).is_file():
        return OptionError(f"the baseline {name} is a file", "give a run directory, whose records are needed")
    problem, hint = unknown_name("baseline", name, (*BASELINES, "none"))
    return OptionError(f"{problem}, which is no run directory either", hint)


def load_baseline(name: str) -> Baseline:
    """Read a published baseline.

    Raises:
        OptionError: If there is no baseline of that name; with a suggestion.
    """
    if name not in BASELINES:
        raise OptionError(*unknown_name("baseline", name, BASELINES))
    return Baseline.from_file(name)
