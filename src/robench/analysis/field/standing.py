"""A run among published models, in a sentence, from its table of results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from robench.analysis.field import FIELDS, Cell, Field, field_cells, models_with, published_mce
from robench.analysis.formatting import in_percent
from robench.analysis.wording import IDENTIFIERS, Wording
from robench.suites import CLEAN, lookup_suite
from robench.types import Results

__all__ = ["Standing", "covered_cells", "standings"]


@dataclass(frozen=True)
class Standing:
    """The place of a run on one suite among the reference models of a field.

    Attributes:
        field: The field.
        cells: The cells that the values of the run average.
        metric: "mce", or "mean_error".
        value: The value of the run.
        better: Number of reference models whose value is worse.
        models: Number of reference models.
        clean: Accuracy on the clean images with its ends, or NaN for each end.
        accuracy: Mean accuracy over the cells, likewise.
        above: Effective robustness, likewise.
    """

    field: Field
    cells: frozenset[Cell]
    metric: str
    value: float
    better: int
    models: int
    clean: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    above: tuple[float, float, float]

    def sentence(self, wording: Wording = IDENTIFIERS) -> str:
        """Return the place as a sentence: `cifar-c mean error 31.5 %: better than 2 of 23 published models; …`."""
        value = f"mCE {self.value:.1f}" if self.metric == "mce" else f"mean error {in_percent(self.value):.1f} %"
        above, low, high = (in_percent(number) for number in self.above)
        side, sign = ("above", 1) if above >= 0 else ("below", -1)
        ends = sorted((sign * low, sign * high))
        interval = "" if pd.isna(low) else f" [{ends[0]:z.1f}, {ends[1]:z.1f}]"
        some = len(self.cells) < len(field_cells(self.field.name))
        where = f" on the same {len(self.cells)} cells" if some else ""
        return (
            f"{wording.suite(self.field.suite)} {value}: better than {self.better} of {self.models} published models{where}; "
            f"{'+' if sign > 0 else ''}{sign * above:.1f} pp{interval} {side} what its clean accuracy predicts."
        )


def standings(results: Results) -> Iterator[Standing]:
    """Yield the place of a run on each suite with a field; none for a suite without effective robustness."""
    clean = results[(results["suite"] == CLEAN) & (results["metric"] == "accuracy") & results["axis"].isna()]
    for row in results[(results["metric"] == "effective_robustness") & results["subset"].isna()].to_dict("records"):
        field = FIELDS.get(row["baseline"])
        of_suite = results[
            (results["suite"] == row["suite"])
            & (results["resolution"] == row["resolution"])
            & (results["protocol"] == row["protocol"])
        ]
        cells = covered_cells(row["suite"], of_suite)
        of_size = clean[clean["resolution"] == row["resolution"]]
        errors = of_suite[(of_suite["metric"] == "mean_error") & of_suite["subset"].isna()]
        if field is None or of_size.empty or errors.empty:
            continue
        models = [model for model in models_with(field.name, cells) if model.source == field.reference]
        of_mce = of_suite[(of_suite["metric"] == "mce") & (of_suite["baseline"] == "alexnet")]
        if len(of_mce) and field.name == "imagenet-c":
            metric, value = "mce", float(of_mce["value"].iloc[0])
            published = [published_mce(model) for model in models]
        else:
            metric, value = "mean_error", float(errors["value"].iloc[0])
            published = [model.mean_error(cells) for model in models]
        error, low, high = _ends(errors.iloc[0].to_dict())
        yield Standing(
            field,
            cells,
            metric,
            value,
            sum(other > value for other in published),
            len(models),
            _ends(of_size.iloc[0].to_dict()),
            (1 - error, 1 - high, 1 - low),
            _ends(row),
        )


def covered_cells(suite: str, rows: Results) -> frozenset[Cell]:
    """Return the cells that the aggregates of a suite average, from its rows of the results."""
    named = rows[(rows["metric"] == "error_rate") & rows["subset"].isna()]
    known = lookup_suite(suite)
    covered = set(named["corruption"]) if known is None else known.own_or_extra(named["corruption"])
    return frozenset(
        (str(corruption), int(severity))
        for corruption, severity in zip(named["corruption"], named["severity"], strict=True)
        if corruption in covered
    )


def _ends(row: dict[str, float]) -> tuple[float, float, float]:
    low, high = (float("nan") if pd.isna(row[name]) else float(row[name]) for name in ("ci_low", "ci_high"))
    return float(row["value"]), low, high
