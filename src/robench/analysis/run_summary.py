"""The headlines of a run and its verdict in words, from its table of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from robench.analysis.field.standing import standings
from robench.analysis.formatting import in_percent
from robench.analysis.metrics import METRICS
from robench.analysis.wording import IDENTIFIERS, Wording
from robench.suites import CLEAN, NETWORK, WORST, display_family, epsilon_text, families, lookup_suite
from robench.types import Results

__all__ = ["Headline", "breaking_severities", "clean_rows", "harms_of", "headlines", "verdict", "worst"]

_WORST = 3
_BREAKS = 0.5
"""Share of the clean accuracy below which a model counts as broken."""
_STAYS = 0.05
"""Largest increase of the error at which a corruption counts as harmless."""
_NAMED = 5
_NAMED_SHARE = 0.005
"""Share of the added errors below which a sentence does not name a corruption: it would read 0 %."""


@dataclass(frozen=True)
class Headline:
    """The value of a suite in a headline, or of one of its corruptions.

    Attributes:
        suite: Name of the suite.
        label: The value in words, such as `mean error`, or a corruption.
        metric: A key of `METRICS`.
        value: The value.
        low: Lower end of its 95 % interval; NaN for none.
        high: Upper end of its 95 % interval; NaN for none.
        detail: Condition of the value, such as `baseline alexnet`; may be empty.
        row: All columns of its row in the results.
    """

    suite: str
    label: str
    metric: str
    value: float
    low: float
    high: float
    detail: str = ""
    row: Mapping[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Suite, label and detail, such as `imagenet-c mCE (baseline alexnet)`."""
        return f"{self.suite} {self.label}{f' ({self.detail})' if self.detail else ''}"

    @property
    def text(self) -> str:
        """The value: fractions in percent, percentages of a baseline without a sign, others with their unit."""
        unit = METRICS[self.metric].unit
        if unit == "fraction":
            return f"{in_percent(self.value):.1f} %"
        return f"{self.value:.1f}" if unit == "percent" else f"{self.value:.3g} {unit}"

    @property
    def ends(self) -> tuple[str, str] | None:
        """The ends of the interval without unit, fractions in percent; None for no interval."""
        if pd.isna(self.low):
            return None
        unit = METRICS[self.metric].unit
        return f"{in_percent(self.low, unit):.1f}", f"{in_percent(self.high, unit):.1f}"


def _headline(row: dict[Any, Any], label: str, detail: str = "") -> Headline:
    return Headline(row["suite"], label, row["metric"], row["value"], row["ci_low"], row["ci_high"], detail, row)


def clean_rows(results: Results) -> Results:
    """Return the rows of the clean images, without those of a geometry whose values are the same as another's."""
    clean = results[results["suite"] == CLEAN]
    repeated = ["metric", "axis", "axis_value", "resolution", "value", "ci_low", "ci_high"]
    return clean[~clean.duplicated(repeated)]


def headlines(results: Results) -> list[Headline]:
    """Return the headline values of a run: the clean accuracy, then one or more of each suite."""
    found = []
    clean = clean_rows(results)
    accuracy = clean[(clean["metric"] == "accuracy") & clean["axis"].isna()]
    for row in accuracy.to_dict("records"):
        geometry = str(row["protocol"]).partition("+")[0]
        found.append(_headline(row, "accuracy", geometry if len(accuracy) > 1 else ""))
    for suite in _perturbed(results):
        rows = results[results["suite"] == suite]
        found += _suite_headlines(suite, rows)
    return found


def _perturbed(results: Results) -> list[str]:
    return [suite for suite in dict.fromkeys(results["suite"]) if suite != CLEAN]


def _suite_headlines(suite: str, rows: Results) -> list[Headline]:
    family, found = display_family(suite), []
    if family == families.OOD:
        clean = rows[(rows["metric"] == "auroc") & (rows["method"] == "msp") & (rows["corruption"] == CLEAN)]
        named = clean[~clean["subset"].str.contains("/", regex=False)]
        return [_headline(row, f"{row['subset']} AUROC (msp)") for row in named.to_dict("records")]
    if family == families.CUE_CONFLICT:
        labels = {"shape_bias": "shape bias", "shape_accuracy": "shape", "texture_accuracy": "texture"}
        values = rows[rows["subset"].isna()].set_index("metric")
        return [
            _headline({"metric": metric, **row}, label, f"{round(row['value'] * row['n'])} of {row['n']}")
            for metric, label in labels.items()
            if metric in values.index
            for row in [values.loc[metric].to_dict()]
        ]
    if family == families.EXITS:
        return _exit_headlines(rows)
    if family == families.ADVERSARIAL:
        worst = rows[(rows["metric"] == "accuracy") & (rows["method"] == WORST)].to_dict("records")
        return [
            _headline(row, f"accuracy at {row['corruption']} {epsilon_text(row['axis_value'])}", "upper bound")
            for row in worst
        ]
    whole = rows[rows["corruption"].isna()]
    if not family.has_frames:
        labels = {"mce": "mCE", "mean_error": "mean error"}
    elif family == families.SEQUENCES:
        labels = {"mfr": "mFR", "mean_flip_rate": "mean flip rate"}
    else:
        labels = {"accuracy_auc": "area under accuracy"}
    for metric, label in labels.items():
        rows_of_metric = whole[whole["metric"] == metric].to_dict("records")
        found += [_headline(row, label, _detail(row)) for row in rows_of_metric]
    if found:
        return found
    if family.has_resolutions:
        return _best_size(rows)
    for metric in ("consistency", "accuracy"):
        single = rows[(rows["metric"] == metric) & rows["axis"].isna()]
        found += [_headline(row, f"{row['corruption']} {metric}") for row in single.to_dict("records")]
    return found


def _exit_headlines(rows: Results) -> list[Headline]:
    """Return the accuracy of every exit or setting on clean images, and of the best one under each corruption."""
    cost = rows[rows["metric"] == "gflops"].drop_duplicates("method").set_index("method")["value"].to_dict()
    accuracy = rows[(rows["metric"] == "accuracy") & rows["method"].notna()]
    found = []
    conditions = list(accuracy.groupby(["corruption", "severity"], sort=False))
    if len(conditions) > 1 + _WORST:
        conditions = conditions[:1]  # The report has them all.
    for (corruption, severity), cells in conditions:
        shown = cells if corruption == CLEAN else cells.loc[[cells["value"].idxmax()]]
        name = corruption if corruption == CLEAN else f"{corruption} {severity}, best"
        for row in shown.to_dict("records"):
            gflops = cost.get(row["method"])
            detail = "" if gflops is None else f"{gflops:.3g} GFLOPs"
            found.append(_headline(row, f"{name}: {row['method']}", detail))
    return found


def _best_size(rows: Results) -> list[Headline]:
    """Return the accuracy at the best input size of the network."""
    sizes = rows[(rows["metric"] == "accuracy") & rows["axis"].isna() & (rows["corruption"] == NETWORK)]
    if sizes.empty:
        return []
    best = sizes.loc[sizes["value"].idxmax()]
    return [_headline(best.to_dict(), "best accuracy", f"at {best['resolution']} px")]


def _detail(row: dict[Any, Any]) -> str:
    parts = []
    if row["metric"] in ("mce", "mfr"):
        parts.append(f"baseline {row['baseline']}")
    if row["axis"] == "difficulty" and row["axis_value"] != 1:
        parts.append(f"difficulty {row['axis_value']:g}")
    if row["metric"] == "mean_error":
        suite = lookup_suite(row["suite"])
        if suite is not None and row["n"] < suite.n_cells:
            parts.append(f"over {row['n']} of {suite.n_cells} cells")
    return ", ".join(parts)


def harms_of(suite: str, rows: Results) -> Results:
    """Return one row for each corruption that the suite's headline covers."""
    family = display_family(suite)
    named = rows[rows["corruption"].notna()]
    if not family.has_frames:
        members = named[named["metric"] == "corruption_error"]
    elif family == families.SEQUENCES:
        flips = named[named["metric"] == "flip_rate"]
        members = flips[flips["axis_value"] == flips["axis_value"].min()]
    else:
        members = named[named["metric"] == "accuracy_auc"]
    whole = lookup_suite(suite)
    covered = whole.own_or_extra(members["corruption"]) if whole is not None else set(members["corruption"])
    return members[members["corruption"].isin(covered)]


def worst(results: Results, suite: str, count: int = _WORST) -> list[Headline]:
    """Return the corruptions that harm most, the worst first; none if the suite has at most `count`."""
    members = harms_of(suite, results[results["suite"] == suite])
    if len(members) <= count:
        return []
    is_better = METRICS[members["metric"].iloc[0]].higher_is_better
    ordered = members.sort_values("value", ascending=is_better, kind="stable")
    return [_headline(row, str(row["corruption"])) for row in ordered.head(count).to_dict("records")]


def verdict(results: Results, wording: Wording = IDENTIFIERS) -> list[str]:
    """Return sentences on what harms a model, from where on it breaks, what leaves it unharmed, and its place in the field."""
    clean = results[(results["suite"] == CLEAN) & (results["metric"] == "error_rate") & results["axis"].isna()]
    lines: list[str] = []
    for suite in _perturbed(results):
        rows = results[results["suite"] == suite]
        if display_family(suite) == families.OOD:
            continue
        if display_family(suite) == families.CUE_CONFLICT:
            lines += _shape_verdict(suite, rows, wording)
        elif display_family(suite) == families.ADVERSARIAL:
            lines += _attack_verdict(suite, rows, wording)
        elif display_family(suite).has_frames:
            lines += _frames_verdict(suite, rows, wording)
        elif len(clean):
            lines += _corruptions_verdict(suite, rows, float(clean["value"].iloc[0]), wording)
    return lines + [standing.sentence(wording) for standing in standings(results)]


def breaking_severities(cells: Results, clean: float) -> pd.Series:
    """Return by corruption the lowest severity at which the accuracy is below half of the clean accuracy.

    Args:
        cells: Rows of `error_rate`.
        clean: Error rate of the clean images.
    """
    broken = cells[cells["value"] > 1 - _BREAKS * (1 - clean)]
    return broken.groupby("corruption", sort=False)["severity"].min()


def _corruptions_verdict(suite: str, rows: Results, clean: float, wording: Wording) -> list[str]:
    members, title = harms_of(suite, rows), wording.suite(suite)
    cells = rows[(rows["metric"] == "error_rate") & rows["corruption"].isin(members["corruption"])]
    if len(members) < 2:
        return []
    lines = []
    added = (members.set_index("corruption")["value"] - clean).clip(lower=0).sort_values(ascending=False, kind="stable")
    if added.sum() > 0:
        share = added / added.sum()
        most = share.head(_WORST)
        most = most[most >= _NAMED_SHARE]
        names = [f"{wording.corruption(str(name))} ({100 * value:.0f} %)" for name, value in most.items()]
        whole = 100 * most.sum()
        part = "share" if len(most) == len(share) else f"cause {whole:.0f} % of"
        if len(most) == 1:
            part = "causes all of" if whole > 99.5 else f"causes {whole:.0f} % of"
        lines.append(f"{title}: {_joined(names)} {part} the errors that corruptions add to those on clean images.")
    first = breaking_severities(cells, clean).sort_values(kind="stable")
    severest = int(cells["severity"].max())
    if clean < 1 and len(first):
        grouped = first.groupby(first, sort=True)
        parts = [f"severity {level} under {_listed(map(wording.corruption, group.index))}" for level, group in grouped]
        lines.append(f"{title}: accuracy is below half of the clean accuracy from {', from '.join(parts)}.")
    elif clean < 1:
        lines.append(f"{title}: no corruption halves the clean accuracy up to severity {severest}.")
    highest = cells.groupby("corruption", sort=False)["value"].max()
    unharmed = [name for name, value in highest.items() if value - clean <= _STAYS]
    if unharmed:
        severities = (
            f"severity {severest}"
            if cells["severity"].nunique() == 1
            else f"all {cells['severity'].nunique()} severities"
        )
        harmless = _listed(map(wording.corruption, unharmed))
        lines.append(
            f"{title}: the error stays within {100 * _STAYS:.0f} pp of that on clean images at {severities} of {harmless}."
        )
    return lines


def _attack_verdict(suite: str, rows: Results, wording: Wording) -> list[str]:
    worst = rows[(rows["metric"] == "accuracy") & (rows["method"] == WORST)].to_dict("records")
    levels = [
        f"{in_percent(row['value']):.1f} % at {row['corruption']} {epsilon_text(row['axis_value'])}"
        for row in worst
        if row["axis_value"]
    ]
    return [f"{wording.suite(suite)}: at most these shares resist attacks: {_joined(levels)}."] if levels else []


def _shape_verdict(suite: str, rows: Results, wording: Wording) -> list[str]:
    bias = rows[(rows["metric"] == "shape_bias") & rows["subset"].isna()].to_dict("records")
    return [
        f"{wording.suite(suite)}: {round(row['value'] * row['n'])} of the {row['n']} decisions for shape or texture are for the shape."
        for row in bias
    ]


def _frames_verdict(suite: str, rows: Results, wording: Wording) -> list[str]:
    title = wording.suite(suite)
    if display_family(suite) == families.SEQUENCES:
        members = harms_of(suite, rows)
        if len(members) < 2:
            return []
        ordered = members.sort_values("value", ascending=False, kind="stable")
        total = ordered["value"].sum()
        if total <= 0:
            return [f"{title}: no prediction changes between frames."]
        top = ordered[ordered["value"] > 0].head(2)
        names = " and ".join(
            f"{wording.corruption(row['corruption'])} {in_percent(row['value']):.1f} %"
            for row in top.to_dict("records")
        )
        share = f"{100 * top['value'].sum() / total:.0f} % of all flips"
        return [f"{title}: predictions change most often under {names} ({share})."]
    halves = rows[rows["metric"] == "half_accuracy_strength"]
    areas = rows[(rows["metric"] == "accuracy_auc") & rows["corruption"].notna()]
    if areas.empty:
        return []
    strengths = [
        f"{wording.corruption(row['corruption'])} {row['value']:.2g}"
        for row in halves.to_dict("records")
        if pd.notna(row["value"])
    ]
    held = [name for name in areas["corruption"] if name not in set(halves["corruption"])]
    lines = []
    if strengths:
        lines.append(f"{title}: accuracy falls to half of the clean accuracy at {_listed(strengths)}.")
    if held:
        lines.append(f"{title}: no strength halves the clean accuracy under {_listed(map(wording.corruption, held))}.")
    return lines


def _listed(of: Iterable[object]) -> str:
    names = list(of)
    if len(names) > _NAMED:
        return f"{', '.join(map(str, names[:_NAMED]))} and {len(names) - _NAMED} more"
    return _joined(names)


def _joined(names: Sequence[object]) -> str:
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last
