"""`robench gate`: whether a run became worse than its baseline, as an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.common import limit_blas_threads, names, numbers, stderr, stdout
from robench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from robench.analysis.gate import Power, Verdict

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
        list[str] | None,
        typer.Option(
            help="What it is compared with: another run, those of its seeds, or a CSV of its results.",
            metavar="RUN|CSV",
        ),
    ] = None,
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
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Compare nothing; say which drop of each figure would fail the gate how often. Needs no --baseline.",
        ),
    ] = False,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Drops for --power, as fractions: 0.01 is one point. Default: 0.005,0.01,0.02,0.05.", metavar="N"
        ),
    ] = None,
) -> None:
    """Fail if a run is worse than its baseline, as far as the rules say.

    Exits with 0 if all is well, 1 if a comparison failed, 2 if a rule compares nothing or the two sides do not compare:
    another protocol, seed or dataset. Needs neither images, weights nor torch.

    [b]robench gate runs/new --baseline runs/main[/b]

    [b]robench gate runs/new --baseline baseline.csv --rules robench.toml --format junit > gate.xml[/b]

    [b]robench gate runs/new --baseline baseline.csv --update-baseline[/b]

    [b]robench gate runs/main --power --drop 0.01[/b]

    [b]robench gate runs/new-s0 runs/new-s1 --baseline runs/old-s0,runs/old-s1[/b]
    """
    limit_blas_threads()
    from robench.analysis.gate import FORMATS, read_rules
    from robench.analysis.gate import gate as judge
    from robench.analysis.gate import update_baseline as update
    from robench.analysis.gate.formats import markdown, outcome

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    if drop and not power:
        raise OptionError("--drop says what --power is asked for: give both, or neither")
    base = [Path(one) for one in names(baseline) or []]
    if power:
        _print_power(run, base, rules, numbers(drop, "--drop", float), format)
        return
    if not base:
        raise OptionError("nothing to compare with: give --baseline, another run or a CSV of its results")
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
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown(verdict))
        except OSError as error:  # The verdict is what the job is for.
            stderr().print(f"note: no step summary: {summary}: {error.strerror}")
    for note in verdict.notes:
        stderr().print(f"note: {note}")
    stderr().print(outcome(verdict))
    if verdict.failed:
        raise typer.Exit(1)


def _print_power(
    run: list[Path],
    base: list[Path],
    rules: Path | None,
    drops: list[float] | None,
    format: str,  # noqa: A002
) -> None:
    from robench.analysis.gate import power, read_rules
    from robench.analysis.gate.formats import power_json

    if format not in ("table", "json"):
        raise OptionError("--power prints a table or json: leave the other --format out")
    found = power(run, base or None, read_rules(rules), drops)
    if format == "json":
        sys.stdout.write(power_json(found))
    else:
        stdout().print(_power_table(found))
    for note in found.notes:
        stderr().print(f"note: {note}")


def _power_table(found: Power) -> Table:
    from robench.analysis.gate.formats import format_value

    table = Table(
        title=f"how often a drop fails the gate: {found.model}, {found.images:,} images",
        title_justify="left",
        caption="unchanged: chance to fail without any drop; caught: the drop that fails the gate 80 % of the time",
        caption_justify="left",
    )
    # A drop a line: in columns of their own they leave a terminal no room for the figure.
    table.add_column("figure", min_width=10, overflow="fold")
    for name in ("baseline", "sd of a change", "unchanged", "drop: fails", "caught"):
        table.add_column(name, justify="right")
    for one in found.chances:
        drops = [
            f"{format_value(size, one.unit)}: {share:.0%}" for size, share in zip(one.drops, one.caught, strict=True)
        ]
        table.add_row(
            one.name,
            format_value(one.value, one.unit),
            format_value(one.error, one.unit),
            f"{one.false_alarm_rate:.1%}",
            "\n".join(drops),
            format_value(one.minimum_detectable_effect, one.unit) or "none",
        )
    return table


def _table(verdict: Verdict) -> Table:
    from robench.analysis.gate.formats import format_p_value, format_value, interval

    table = Table(
        title=f"{verdict.model} against {verdict.baseline_model}",
        title_justify="left",
        caption="p: of the change being worse than allowed, after Holm's correction; or of it not being within the margin",
        caption_justify="left",
    )
    table.add_column("figure", overflow="fold")
    for name in ("baseline", "run", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval")
    for name in ("allowed", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in verdict.comparisons:
        table.add_row(
            one.name,
            format_value(one.base, one.unit),
            format_value(one.run, one.unit),
            format_value(one.change, one.unit, signed=True),
            interval(one),
            format_value(one.limit, one.unit),
            format_p_value(one.p if one.p_holm is None else one.p_holm),
            "FAILED" if one.failed else "ok",
            style="bold red" if one.failed else "",
        )
    return table
