"""`robench gate`: an exit code for runs that are worse than their baseline."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from robench.cli.common import limit_blas_threads, names, numbers, print_notes, stderr, stdout, titled_table
from robench.cli.options import Force
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.analysis.gate import Power, Rule, Verdict

__all__ = ["gate"]


def gate(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="Run directory or results.csv; several seeds of a model are averaged.",
            metavar="RUN",
        ),
    ],
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Run to compare with, its seeds, or a CSV of its results.", metavar="RUN|CSV"),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of rules (docs/gate.md). Default: ./pyproject.toml, else built-in rules.", metavar="FILE"
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        Literal["table", "json", "markdown", "junit", "github"],
        typer.Option(help="Output format; github also writes a step summary."),
    ] = "table",
    update_baseline: Annotated[
        bool,
        typer.Option("--update-baseline", help="Write the run's results to the baseline CSV instead of comparing."),
    ] = False,
    force: Force = False,
    power: Annotated[
        bool, typer.Option("--power", help="Print detection rates of drops instead of comparing.")
    ] = False,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Drops for --power as fractions. Default: 0.005,0.01,0.02,0.05.", metavar="N"),
    ] = None,
) -> None:
    """Fail if a run is worse than its baseline according to rules.

    The exit code is 0 if all comparisons passed and 1 if one failed. It is 2 if a rule matches nothing, or if protocol, seed or
    dataset differ. Images, weights and torch are not needed.

    [b]robench gate runs/new --baseline runs/main[/b]

    [b]robench gate runs/new --baseline baseline.csv --rules robench.toml --format junit > gate.xml[/b]

    [b]robench gate runs/new --baseline baseline.csv --update-baseline[/b]

    [b]robench gate runs/main --power --drop 0.01[/b]

    [b]robench gate runs/new-s0 runs/new-s1 --baseline runs/old-s0,runs/old-s1[/b]
    """
    limit_blas_threads()
    from robench.analysis.gate import FORMATS, read_rules
    from robench.analysis.gate import update_baseline as update
    from robench.analysis.gate.formats import markdown, outcome
    from robench.analysis.gate.gate import gate as judge

    if drop and not power:
        raise OptionError("--drop has no effect without --power", "add --power or omit --drop")
    bases = [Path(name) for name in names(baseline) or []]
    if power:
        _print_power(run, bases, read_rules(rules), numbers(drop, "--drop", float), format)
        return
    if not bases:
        raise OptionError("there is no baseline", "give --baseline a run or a CSV of its results")
    if update_baseline:
        if len(bases) > 1:
            raise OptionError("--update-baseline writes one file", "give one --baseline")
        print_notes(update(run, bases[0], force), "warning")
        stderr().print(f"results of {', '.join(map(str, run))} in {bases[0]}; nothing was compared")
        return
    verdict = judge(run, bases, read_rules(rules))
    if format == "table":
        stdout().print(_table(verdict))
    else:
        sys.stdout.write(FORMATS[format](verdict))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if format == "github" and summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown(verdict))
        except OSError as error:  # The verdict is worth more than its summary.
            print_notes([f"no step summary: {summary}: {error.strerror}"])
    print_notes(verdict.warnings, "warning")
    print_notes(verdict.notes)
    stderr().print(outcome(verdict))
    if verdict.failed:
        raise typer.Exit(1)


def _print_power(
    run: Sequence[Path], bases: Sequence[Path], rules: Sequence[Rule], drops: Sequence[float] | None, form: str
) -> None:
    from robench.analysis.gate.formats import power_json
    from robench.analysis.gate.power import power

    if form not in ("table", "json"):
        raise OptionError(f"--power does not print {form}", "give --format table or json")
    result = power(run, bases or None, rules, drops)
    if form == "json":
        sys.stdout.write(power_json(result))
    else:
        stdout().print(_power_table(result))
    print_notes(result.warnings, "warning")
    print_notes(result.notes)


def _power_table(power: Power) -> Table:
    from robench.analysis.gate.formats import format_value

    table = titled_table(
        f"power of the gate: {power.model}, {power.images:,} images",
        caption="false alarms: chance to fail without a change; 80 % power: the effect that is detected 80 % of the time",
    )
    # One line for each effect: columns of their own would leave no room for the metric in 80 characters.
    table.add_column("metric", min_width=10, overflow="fold")
    for name in ("baseline", "std. error", "false\nalarms", "effect:\ndetection\nrate", "80 % power"):
        table.add_column(name, justify="right")
    for chance in power.chances:
        rates = [
            f"{format_value(size, chance.unit)}: {rate:.0%}"
            for size, rate in zip(chance.drops, chance.caught, strict=True)
        ]
        table.add_row(
            chance.name,
            format_value(chance.value, chance.unit),
            format_value(chance.error, chance.unit),
            f"{chance.false_alarm_rate:.1%}",
            "\n".join(rates),
            format_value(chance.minimum_detectable_effect, chance.unit) or "none",
        )
    return table


def _table(verdict: Verdict) -> Table:
    from robench.analysis.gate.formats import format_p_value, format_value, interval

    table = titled_table(
        f"{verdict.model} compared with {verdict.baseline_model}",
        caption="p: one-sided p-value that the change exceeds the limit (Holm-adjusted), or that it is within the margin",
    )
    table.add_column("metric", overflow="fold")
    for name in ("baseline", "run", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval")
    for name in ("limit", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for comparison in verdict.comparisons:
        unit = comparison.unit
        table.add_row(
            comparison.name,
            format_value(comparison.base, unit),
            format_value(comparison.run, unit),
            format_value(comparison.change, unit, signed=True),
            interval(comparison),
            format_value(comparison.limit, unit),
            format_p_value(comparison.p if comparison.p_holm is None else comparison.p_holm),
            "FAILED" if comparison.failed else "ok",
            style="bold red" if comparison.failed else "",
        )
    return table
