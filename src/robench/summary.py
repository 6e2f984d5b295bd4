"""Results as a person reads them: the corruption x severity table and the aggregates with their intervals. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.metrics import METRICS
from robench.suites import CLEAN, SUITES
from robench.types import Results

__all__ = ["FORMATS", "summary"]

_AGGREGATES = (
    "error_rate",
    "accuracy",
    "mean_error",
    "mce",
    "relative_mce",
    "top5_error",
    "worst_class_error",
    "ece",
    "rms_calibration_error",
)

FORMATS: dict[str, Callable[[Results], str]] = {
    "csv": lambda results: results.to_csv(index=False, lineterminator="\n"),
    "json": lambda results: results.to_json(orient="records", indent=2, double_precision=15) + "\n",
}
"""Machine-readable forms of the results, by name; `table` is the human one."""


def summary(results: Results) -> Group:
    """Tables for a terminal: one per suite with the errors in percent, then the aggregates."""
    parts: list[Table | Text] = []
    first = results.iloc[0]
    parts.append(
        Text.assemble(
            (first["model"], "bold"), f" on {first['dataset']}, {_images(results)} images, seed {first['seed']}"
        )
    )
    for suite in dict.fromkeys(results["suite"]):
        rows = results[results["suite"] == suite]
        if suite != CLEAN:
            parts.append(_cells(suite, rows))
    parts.append(_aggregates(results))
    return Group(*parts)


def _images(results: Results) -> int:
    return int(results.loc[results["metric"] == "error_rate", "n"].max())


def _cells(suite: str, rows: Results) -> Table:
    cells = rows[rows["metric"] == "error_rate"]
    ce = rows[rows["metric"] == "ce"].set_index("corruption")["value"]
    severities = sorted(int(severity) for severity in cells["severity"].dropna().unique())
    table = Table(title=f"{suite}: top-1 error, %", title_justify="left", title_style="bold")
    table.add_column("corruption")
    for severity in severities:
        table.add_column(str(severity), justify="right")
    table.add_column("mean", justify="right")
    if len(ce):
        table.add_column("CE", justify="right")
    extra = set(SUITES[suite].extra) if suite in SUITES else set()
    for corruption, group in cells.groupby("corruption", sort=False):
        by_severity = group.set_index("severity")["value"]
        values = [f"{100 * by_severity[s]:.1f}" if s in by_severity.index else "" for s in severities]
        row = [
            f"{corruption} (extra)" if corruption in extra else str(corruption),
            *values,
            f"{100 * group['value'].mean():.1f}",
        ]
        if len(ce):
            row.append(f"{ce[corruption]:.1f}" if corruption in ce.index else "")
        table.add_row(*row)
    return table


def _aggregates(results: Results) -> Table:
    table = Table(title="aggregates", title_justify="left", title_style="bold")
    for name, justify in (
        ("suite", "left"),
        ("metric", "left"),
        ("value", "right"),
        ("95 % interval", "left"),
        ("over", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    overall = results[results["axis"].isna() & (results["corruption"].isna() | (results["corruption"] == CLEAN))]
    for suite in dict.fromkeys(overall["suite"]):
        rows = overall[overall["suite"] == suite]
        for metric in _AGGREGATES:
            for row in rows[rows["metric"] == metric].to_dict("records"):
                table.add_row(suite, _label(row), _figure(row["value"], row), _interval(row), _over(row))
    return table


def _label(row: dict[str, object]) -> str:
    baseline = row["baseline"]
    return f"{row['metric']} (baseline {baseline})" if isinstance(baseline, str) and baseline else str(row["metric"])


def _figure(value: object, row: dict[str, object]) -> str:
    """A fraction is shown in percent; what a paper defines in percent is one already."""
    assert isinstance(value, float)
    return f"{value * (1 if METRICS[str(row['metric'])].unit == 'percent' else 100):.2f} %"


def _interval(row: dict[str, object]) -> str:
    if pd.isna(row["ci_low"]):
        return ""
    return f"{_figure(row['ci_low'], row)} … {_figure(row['ci_high'], row)}"


def _over(row: dict[str, object]) -> str:
    if row["suite"] == CLEAN:
        return f"{row['n']} images"
    name = str(row["suite"])
    whole = len(SUITES[name].corruptions) * len(SUITES[name].severities) if name in SUITES else 0
    return f"{row['n']} of {whole} cells" if row["n"] != whole else f"{row['n']} cells"
