"""Published errors that others are divided by, in one explicit table; each file's first line is its source."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from robench.errors import OptionError, unknown_name
from robench.types import Floats

__all__ = ["BASELINES", "Baseline", "load_baseline"]

BASELINES: dict[str, str] = {"alexnet": "alexnet.csv"}
"""File of each published baseline, beside this module."""


@dataclass(frozen=True)
class Baseline:
    """Errors of one model on one suite, as fractions.

    errors: by corruption and severity.  means: by corruption, over its severities; some have nothing else.
    clean: error on the unperturbed images.  flip_rates: by perturbation, at difficulty 1.
    published: whether it is one of these files, not a run.
    """

    name: str
    errors: Mapping[tuple[str, int], float]
    means: Mapping[str, float]
    clean: float | None
    flip_rates: Mapping[str, float] = field(default_factory=dict)
    published: bool = False

    def severities(self, corruption: str) -> Floats | None:
        """Errors of a corruption by ascending severity, its mean alone (1,) where only that is known, or None."""
        errors = [error for (name, _), error in sorted(self.errors.items()) if name == corruption]
        if not errors and corruption not in self.means:
            return None
        return np.array(errors or [self.means[corruption]])


def load_baseline(name: str) -> Baseline:
    """Read the published baseline called `name`; OptionError with a suggestion if there is none."""
    if name not in BASELINES:
        raise OptionError(unknown_name("baseline", name, BASELINES))
    lines = files(__name__).joinpath(BASELINES[name]).read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    errors = {(r["corruption"], int(r["severity"])): float(r["value"]) for r in rows if r["metric"] == "error_rate"}
    clean = errors.pop(("clean", 0), None)
    severities: dict[str, list[float]] = {}
    for (corruption, _), error in errors.items():
        severities.setdefault(corruption, []).append(error)
    means = {corruption: float(np.mean(values)) for corruption, values in severities.items()}
    means |= {r["corruption"]: float(r["value"]) for r in rows if r["metric"] == "mean_error"}
    flip_rates = {r["corruption"]: float(r["value"]) for r in rows if r["metric"] == "flip_rate"}
    return Baseline(name, errors, means, clean, flip_rates, published=True)
