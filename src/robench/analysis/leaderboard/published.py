"""Rows of published models, and the conditions under which a run belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.analysis.baselines import load_baseline
from robench.analysis.field import (
    FIELDS,
    SOURCES,
    Cell,
    Field,
    PublishedModel,
    field_cells,
    field_fit,
    models_with,
    published_mce,
    published_models,
)
from robench.analysis.leaderboard.ranking import model_key
from robench.analysis.leaderboard.rows import Row, percent, subset_text
from robench.analysis.metrics.effective_robustness import effective_robustness
from robench.analysis.metrics.mce import ce
from robench.errors import OptionError
from robench.runs.directory import RunDirectory
from robench.runs.schema import SCHEMA_VERSION
from robench.suites import CLEAN
from robench.suites.protocol import SuiteProtocol

__all__ = ["check_members", "field_notes", "field_rows"]

_BASELINE = "alexnet"


def field_rows(
    field: Field, cells: frozenset[Cell] | None
) -> tuple[list[Row], dict[tuple[str, ...], Mapping[str, Any]]]:
    """Return a row for each model of a field, and their errors by corruption as those of `Board`.

    Args:
        field: The field.
        cells: The cells that values average; None for all of the field.
    """
    whole = field_cells(field.name)
    chosen = whole if cells is None else cells
    rows: list[Row] = []
    errors: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for model in models_with(field.name, chosen):
        rows.append(_row(field, model, chosen, whole))
        if field.suite != CLEAN:
            errors[model_key(rows[-1])] = {"suite": field.suite, **_by_corruption(field, model, chosen, whole)}
    return rows, errors


def _row(field: Field, model: PublishedModel, cells: frozenset[Cell], whole: frozenset[Cell]) -> Row:
    prefix = "3dcc_2d_" if field.name == "imagenet-3dcc" else ""
    clean, error = 100 * model.clean, 100 * model.mean_error(sorted(cells))
    own: Row = {
        "model": model.model,
        "dataset": field.dataset,
        "images": model.images,
        "source": model.source,
        "protocol": f"{CLEAN} {model.protocol}",
        "schema": SCHEMA_VERSION,
    }
    fit = field_fit(field.name, cells)
    if fit is not None and field.name != CLEAN:
        above = effective_robustness(1 - clean / 100, 1 - error / 100, fit.slope, fit.intercept)
        own |= {f"{prefix}effective_robustness": percent(100 * float(above)), "field": field.name}
    if field.suite == CLEAN:
        return own | _top1(error)
    own |= _top1(clean) | {f"{prefix}mean_error": percent(error)}
    if field.name == "imagenet-c" and cells == whole:
        own |= {"mce": percent(published_mce(model)), "baseline": _BASELINE}
    of_suite = SuiteProtocol(field.suite, model.protocol, subset_text(cells, whole))
    return own | {"protocol": f"{own['protocol']}; {of_suite}"}


def _top1(error: float) -> Row:
    return {"top1": percent(error, complement=True), "top1_err": percent(error)}


def _by_corruption(
    field: Field, model: PublishedModel, cells: frozenset[Cell], whole: frozenset[Cell]
) -> dict[str, dict[str, float]]:
    """Return the mean errors and, if all cells are there and can be divided, the CE of each corruption in percent."""
    names = dict.fromkeys(name for name, _ in sorted(cells))
    series = {name: [model.errors[cell] for cell in sorted(cells) if cell[0] == name] for name in names}
    found = {"error": {name: percent(100 * sum(errors) / len(errors)) for name, errors in series.items()}, "ce": {}}
    if field.name == "imagenet-c" and cells == whole:
        divisors = load_baseline(_BASELINE).means
        found["ce"] = {name: percent(float(ce(errors, [divisors[name]]))) for name, errors in series.items()}
    return found


def check_members(field: Field, rows: Sequence[Row], runs: Sequence[Path] = ()) -> None:
    """Raise OptionError for a row or a run that does not belong to a field.

    Args:
        field: The field.
        rows: Rows of runs and of other files.
        runs: Run directories, whose number of classes must be the field's if it has no suite of its own.
    """
    for row in rows:
        if not _belongs(field, row):
            of_suite = f"suite {field.suite}, " if field.suite != CLEAN else ""
            raise OptionError(
                f"{row['model']} on {row['dataset']} has no place in the field {field.name}",
                f"its models have results of {of_suite}{field.dataset}, among {field.classes:,} classes",
            )
    for path in runs if field.suite == CLEAN else ():
        classes = RunDirectory.open(path).manifest["data"].get("predicted_classes")
        if classes not in (None, field.classes):
            raise OptionError(
                f"{path} predicts among {classes:,} classes, the field {field.name} among {field.classes:,}",
                "name the runs on this dataset",
            )


def _belongs(field: Field, row: Row) -> bool:
    """Return whether a row can stand in a field. The dataset of a run has any name."""
    if "data_sha" not in row:
        suites = {protocol.suite for protocol in SuiteProtocol.parse_all(row["protocol"])}
        return field.suite in suites and row["dataset"] == field.dataset
    if field.suite != CLEAN:
        return bool(row.get("field") == field.name)
    other = FIELDS.get(row.get("field", ""))
    return other is None or other.classes == field.classes


def field_notes(field: Field, *, split: bool) -> tuple[str, ...]:
    """Return what a reader of a field's rows must know.

    Args:
        field: The field.
        split: Whether protocols have sections of their own.
    """
    sources = dict.fromkeys(SOURCES[model.source] for model in published_models(field.name))
    notes = [] if split else [field.reservation]
    fit = field_fit(field.name, field_cells(field.name))
    if fit is not None and field.name != CLEAN:
        notes.append(
            f"Effective robustness is against a fit over all {fit.models} models of {field.reference} on the logit scale, "
            "not only over those without extra data or robust training."
        )
    return (*notes, f"Published values: {'; '.join(sources)}.")
