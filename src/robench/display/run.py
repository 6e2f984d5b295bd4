"""A finished run as Python and a notebook show it."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.formatting import in_percent
from robench.analysis.run_summary import headlines, verdict
from robench.arguments import check_type, path_of
from robench.display.console import as_text, stderr
from robench.display.progress import progress_display
from robench.display.summary import headline_texts, run_summary
from robench.errors import OptionError, unknown_name, with_option_names
from robench.runs.directory import RunDirectory
from robench.runs.observer import Observer
from robench.suites import CLEAN, display_family
from robench.types import Results

__all__ = ["Run", "shown_progress"]


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run. It prints its summary, and a notebook shows its tables.

    Every function that takes the path of a run also takes the run itself.

    Attributes:
        directory: The files of the run.
        results: One row for each value; see docs/schema.md.
        profiles: Profile of each suite and corruption, if the options ask for profiles.
    """

    directory: RunDirectory
    results: Results
    profiles: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a finished run on disk; torch is not needed.

        Raises:
            RunError: `path` is no run, or has no results yet.
        """
        directory = RunDirectory.open(path_of("the run", path, "the path of a run directory"))
        return cls(directory, directory.read_results())

    @property
    def path(self) -> Path:
        """The path of the run directory."""
        return self.directory.path

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def notes(self) -> list[str]:
        """Notes about the model, the images and the values."""
        return [with_option_names(note) for note in self.directory.notes]

    @property
    def suites(self) -> list[str]:
        """Names of the suites with results, without the clean images."""
        return [suite for suite in dict.fromkeys(self.results["suite"]) if suite != CLEAN]

    @property
    def metrics(self) -> dict[str, float]:
        """The values of whole suites by `SUITE/METRIC`, such as `cifar-c/mean_error`, for experiment trackers.

        Values of a suite with several protocols or input sizes are called `SUITE/METRIC/PIXELSpx`, or also after the protocol.
        """
        single = [
            suite for suite in set(self.results["suite"]) if suite == CLEAN or not display_family(suite).has_clean
        ]
        whole = self.results[
            self.results["axis"].isna() & (self.results["corruption"].isna() | self.results["suite"].isin(single))
        ]
        names = ["suite", "metric", "resolution", "protocol"]
        for parts in (names[:2], names[:3], names):
            keys = ["/".join(_part(name, row[name]) for name in parts) for row in whole[names].to_dict("records")]
            if len(set(keys)) == len(keys):
                break
        return dict(zip(keys, map(float, whole["value"]), strict=True))

    def table(self, suite: str | None = None, metric: str = "error_rate") -> pd.DataFrame:
        """Return a metric by corruption (rows) and severity (columns), with the mean of each row in the column `mean`.

        Suites of perturbations have their difficulties as columns, if the metric has them.

        Args:
            suite: Name of the suite; None for the only one.
            metric: A metric of single cells, such as `error_rate`, `top5_error` or `ece`.

        Raises:
            OptionError: The run has no such suite or metric, or several suites and none is named.
        """
        if suite is None:
            if len(self.suites) != 1:
                raise OptionError(
                    "the run has several suites, or none", f"name one of {', '.join(self.suites) or CLEAN}"
                )
            suite = self.suites[0]
        rows = self.results[self.results["suite"] == suite]
        if not len(rows):
            raise OptionError(*unknown_name("suite of the run", str(suite), set(self.results["suite"])))
        cells = rows[rows["severity"].notna() & rows["axis"].isna()]
        chosen = cells[cells["metric"] == metric]
        if not len(chosen):
            known = sorted(set(cells["metric"]))
            if not known:
                raise OptionError(f"{suite} has no cells", "see `run.results`")
            raise OptionError(*unknown_name(f"metric of the cells of {suite}", str(metric), known))
        table = chosen.pivot_table(index="corruption", columns="severity", values="value", aggfunc="mean", sort=False)
        table = table[sorted(table.columns)]
        table.columns = pd.Index([int(column) for column in table.columns], name="severity")
        table["mean"] = table.mean(axis=1)
        return table

    def __str__(self) -> str:
        return as_text(lambda _: [run_summary(self.directory, self.results), f"\nresults in {self.path}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return headlines, verdict and a tinted table for each suite of corruptions."""
        first = self.results.iloc[0]
        title = f"<b>{_escaped(first['model'])}</b> on {_escaped(first['dataset'])}"
        values = "".join(
            f"<tr><td style='text-align:left'>{_escaped(f'{one.suite} {one.label}')}</td>"
            f"{''.join(f'<td>{_escaped(text)}</td>' for text in headline_texts(one))}</tr>"
            for one in headlines(self.results)
        )
        parts = [
            f"<p>{title}</p><table>{values}</table>",
            *(f"<p>{_escaped(line)}</p>" for line in verdict(self.results)),
        ]
        parts += [_tinted(suite, self.table(suite)) for suite in self.suites if not display_family(suite).has_frames]
        parts += [f"<p>note: {_escaped(note)}</p>" for note in self.notes]
        warnings = map(with_option_names, self.directory.warnings)
        parts += [f"<p><b>warning: {_escaped(warning)}</b></p>" for warning in warnings]
        return "".join(parts) + f"<p>results in <code>{_escaped(self.path)}</code></p>"


def shown_progress(progress: bool | None) -> AbstractContextManager[Observer]:
    """Return the display of a Python call: True shows one, False none, and None shows one in a terminal or a notebook.

    Raises:
        ArgumentError: `progress` is nothing of these.
    """
    if progress is not None:
        check_type("progress", progress, bool, "True, False, None or an Observer")
    console = stderr()
    shown = (console.is_terminal or console.is_jupyter) if progress is None else progress
    return progress_display(console) if shown else nullcontext(Observer())


def _part(name: str, value: object) -> str:
    return f"{value}px" if name == "resolution" else str(value)


def _tinted(suite: str, table: pd.DataFrame) -> str:
    """Return an HTML table of errors in percent, from white at 0 to red at 100."""
    head = "".join(f"<th>{_escaped(column)}</th>" for column in table.columns)
    rows = []
    for name, *values in table.itertuples(name=None):
        cells = "".join(
            "<td></td>"
            if pd.isna(value)
            else f"<td style='background:rgba(214,69,65,{min(max(value, 0), 1) * 0.75:.2f})'>{in_percent(value):.1f}</td>"
            for value in values
        )
        rows.append(f"<tr><th style='text-align:left'>{_escaped(name)}</th>{cells}</tr>")
    caption = f"<caption style='text-align:left'>{_escaped(suite)}: top-1 error, %</caption>"
    return f"<table>{caption}<tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _escaped(value: object) -> str:
    return html.escape(str(value))
