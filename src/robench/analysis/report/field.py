"""The section on published models: accuracy on corrupted by clean images, with the runs among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from robench.analysis.field import Cell, Field, field_fit, models_with, published_models
from robench.analysis.field.standing import Standing, standings
from robench.analysis.leaderboard.published import field_notes
from robench.analysis.metrics.effective_robustness import effective_robustness, predicted_accuracy
from robench.analysis.report.charts import scatter
from robench.analysis.report.parts import Chart, Group, LegendEntry, Section, model_legend
from robench.analysis.report.words import WORDS, suite_words
from robench.types import Results

__all__ = ["field_section"]

_POINTS = 60
"""Points of the curve of the fit."""


def field_section(runs: Sequence[tuple[str, Results]]) -> Section | None:
    """Return the section on published models; None if no run has a field.

    Args:
        runs: Name and results of all runs of the page, in the order of their colours.
    """
    models = [model for model, _ in runs]
    found: dict[tuple[str, frozenset[Cell]], list[tuple[str, Standing]]] = {}
    for model, results in runs:
        for standing in standings(results):
            found.setdefault((standing.field.name, standing.cells), []).append((model, standing))
    if not found:
        return None
    groups = [_group(of[0][1].field, cells, of, models) for (_, cells), of in found.items()]
    text = (
        "Dots are published models. The dashed curve is their fit, the accuracy that a clean accuracy predicts. Effective robustness is "
        "the distance above it."
    )
    fields = dict.fromkeys(standing.field for of in found.values() for _, standing in of)
    about = dict.fromkeys(note for field in fields for note in field_notes(field, split=True))
    return Section("Published models", " ".join([text, *about]), groups, [field.reservation for field in fields])


def _group(field: Field, cells: frozenset[Cell], runs: Sequence[tuple[str, Standing]], models: Sequence[str]) -> Group:
    rows = [*_published(field, cells), *(_run(model, standing) for model, standing in runs)]
    whole = len({cell for model in published_models(field.name) for cell in model.errors if cell in cells})
    title = f"{suite_words(field.name)}, {whole} cells"
    spec = scatter(
        rows,
        _curve(field, cells, rows),
        models,
        "clean accuracy, %",
        "mean accuracy on corrupted images, %",
        f"mean accuracy by clean accuracy of published models and runs: {title}",
    )
    columns = {
        "name": "model",
        "source": "source",
        "position": "clean accuracy, %",
        "value": "mean accuracy, %",
        "low": "95 % low",
        "high": "95 % high",
        "above": "effective robustness, pp",
    }
    sentences = [f"{model}: {standing.sentence(WORDS)}" for model, standing in runs]
    of_runs = {model for model, _ in runs}
    legend = [
        *model_legend([model if model in of_runs else "" for model in models]),
        LegendEntry("grey", "●", "published"),
    ]
    return Group(title, [Chart("", spec, rows)], columns, " ".join(sentences), legend, "large")


def _published(field: Field, cells: frozenset[Cell]) -> Iterator[dict[str, Any]]:
    fit = field_fit(field.name, cells)
    for one in models_with(field.name, cells):
        clean, accuracy = 1 - one.clean, 1 - one.mean_error(cells)
        above = None if fit is None else 100 * float(effective_robustness(clean, accuracy, fit.slope, fit.intercept))
        yield {"name": one.model, "source": one.source, **_point(clean, accuracy, above)}


def _run(model: str, standing: Standing) -> dict[str, Any]:
    ends = zip(("low", "high", "left", "right"), (*standing.accuracy[1:], *standing.clean[1:]), strict=True)
    return {
        "name": model,
        "model": model,
        "source": "this page",
        **_point(standing.clean[0], standing.accuracy[0], 100 * standing.above[0]),
        **{name: None if np.isnan(end) else 100 * end for name, end in ends},
    }


def _point(clean: float, accuracy: float, above: float | None) -> dict[str, Any]:
    rounded = None if above is None else round(above, 4)
    return {"position": round(100 * clean, 4), "value": round(100 * accuracy, 4), "above": rounded}


def _curve(field: Field, cells: frozenset[Cell], rows: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    fit = field_fit(field.name, cells)
    if fit is None:
        return []
    clean = np.linspace(min(row["position"] for row in rows), max(row["position"] for row in rows), _POINTS)
    predicted = 100 * predicted_accuracy(clean / 100, fit.slope, fit.intercept)
    return [
        {"position": round(float(x), 3), "value": round(float(y), 3)} for x, y in zip(clean, predicted, strict=True)
    ]
