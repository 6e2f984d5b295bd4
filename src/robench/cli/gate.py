"""`robench gate`: whether a run became worse than its baseline, as an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.options import names, stderr, stdout
from robench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from robench.gate import Verdict

__all__ = ["gate"]


def gate(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="A run directory, or the results.csv of one. Several: runs of one model with other seeds, whose mean is judged.",
            metavar="RUN…",
        ),
    ],
    baseline: Annotated[
        list[str],
        typer.Option(
            help="What it is compared with: another run, those of its seeds, or a CSV of its results.",
            metavar="RUN|CSV",
        ),
    ],
    rules: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with rules (docs/gate.md). Default: those of ./pyproject.toml; without any, clean accuracy and every "
            "suite's headlines must not be significantly worse.",
            metavar="FILE",
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        str,
        typer.Option(
            help="How to print; github also writes a step summary.", metavar="table|json|markdown|junit|github"
        ),
    ] = "table",
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Compare nothing; write the run's results to the baseline CSV.")
    ] = False,
) -> None:
    """Fail if a run is worse than its baseline, as far as the rules say.

    Exits with 0 if all is well, 1 if a comparison failed, 2 if a rule compares nothing or the two sides do not compare:
    another protocol, seed or dataset. Needs neither images, weights nor torch.

    [b]robench gate runs/new --baseline runs/main[/b]

    [b]robench gate runs/new --baseline baseline.csv --rules robench.toml --format junit > gate.xml[/b]

    [b]robench gate runs/new --baseline baseline.csv --update-baseline[/b]

    [b]robench gate runs/new-s0 runs/new-s1 --baseline runs/old-s0,runs/old-s1[/b]
    """
    from robench.gate import FORMATS, read_rules
    from robench.gate import gate as judge
    from robench.gate import update_baseline as update
    from robench.gate.formats import markdown, outcome

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    base = [Path(one) for one in names(baseline) or []]
    if update_baseline:
        if len(base) > 1:
            raise OptionError("--update-baseline writes one file: give one --baseline")
        update(run, base[0])
        stderr().print(f"{base[0]} now holds the results of {', '.join(map(str, run))}; nothing was compared")
        return
    verdict = judge(run, base, read_rules(rules))
    if format == "table":
        stdout().print(_table(verdict))
    else:
        sys.stdout.write(FORMATS[format](verdict))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if format == "github" and summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(verdict))
    for note in verdict.notes:
        stderr().print(f"note: {note}")
    stderr().print(outcome(verdict))
    if verdict.failed:
        raise typer.Exit(1)


def _table(verdict: Verdict) -> Table:
    from robench.gate.formats import amount, chance, interval

    table = Table(
        title=f"{verdict.model} against {verdict.baseline_model}",
        title_justify="left",
        caption="p: of the change being worse than allowed, after Holm's correction; or of it not being within the margin",
        caption_justify="left",
    )
    table.add_column("figure")
    for name in ("baseline", "run", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval")
    for name in ("allowed", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for one in verdict.comparisons:
        table.add_row(
            one.name,
            amount(one.base, one.unit),
            amount(one.run, one.unit),
            amount(one.change, one.unit, signed=True),
            interval(one),
            amount(one.limit, one.unit),
            chance(one.p if one.p_holm is None else one.p_holm),
            "FAILED" if one.failed else "ok",
            style="bold red" if one.failed else "",
        )
    return table
