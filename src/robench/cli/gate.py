"""`robench gate`: an exit code for runs that are worse than their baseline."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.cli.common import found_runs, limit_blas_threads, names, numbers
from robench.cli.options import Force
from robench.display.console import print_notes, stderr, stdout, titled_table
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.analysis.gate import Comparison, Power, Rule, Verdict

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
            help="TOML file of rules (docs/gate.md).",
            show_default="./pyproject.toml, else built-in rules",
            metavar="FILE",
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        Literal["table", "json", "markdown", "junit", "github"],
        typer.Option(
            help="Output format; github also writes a step summary.", metavar="table|json|markdown|junit|github"
        ),
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
        typer.Option(help="Drops for --power as fractions.", show_default="0.005,0.01,0.02,0.05", metavar="N"),
    ] = None,
) -> None:
    """Fail if a run is worse than its baseline according to rules.

    The exit code is 0 if all comparisons passed and 1 if one failed. It is 2 if a rule matches nothing, or if protocol, seed or
    dataset differ. Images, weights and torch are not needed.

    Examples:
        robench gate runs/new --baseline runs/main
        robench gate runs/new --baseline baseline.csv --rules robench.toml --format junit > gate.xml
        robench gate runs/new --baseline baseline.csv --update-baseline
        robench gate runs/main --power --drop 0.01
        robench gate runs/new-s0 runs/new-s1 --baseline runs/old-s0,runs/old-s1
    """
    limit_blas_threads()
    from robench.analysis.gate import FORMATS
    from robench.analysis.gate import update_baseline as update
    from robench.analysis.gate.formats import markdown, outcome
    from robench.analysis.gate.gate import gate as judge
    from robench.analysis.gate.overview import overview

    if drop and not power:
        raise OptionError("--drop has no effect without --power", "add --power or omit --drop")
    bases = [Path(name) for name in names(baseline) or []]
    if not update_baseline:
        run, bases = (found_runs(paths) for paths in (run, bases))
    if power:
        _print_power(run, bases, rules, numbers(drop, "--drop", float), format)
        return
    if not bases:
        raise OptionError("there is no baseline", "give --baseline a run or a CSV of its results")
    if update_baseline:
        if len(bases) > 1:
            raise OptionError("--update-baseline writes one file", "give one --baseline")
        print_notes(update(run, bases[0], force), "warning")
        stderr().print(f"results of {', '.join(map(str, run))} in {bases[0]}; nothing was compared")
        return
    verdict = judge(run, bases, rules)
    summary = os.environ.get("GITHUB_STEP_SUMMARY") if format == "github" else None
    text = markdown(verdict, overview(run, bases)) if format == "markdown" or summary else ""
    if format == "table":
        stdout().print(_verdict(verdict))
    else:
        sys.stdout.write(text if format == "markdown" else FORMATS[format](verdict))
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:  # The verdict is worth more than its summary.
            print_notes([f"no step summary: {summary}: {error.strerror}"])
    print_notes(verdict.warnings, "warning")
    print_notes(verdict.notes)
    stderr().print(outcome(verdict))
    if verdict.failed:
        if format == "table" and len(run) == len(bases) == 1:
            stderr().print(f"next: robench compare {shlex.join([str(bases[0]), str(run[0])])}")
        raise typer.Exit(1)


def _print_power(
    run: Sequence[Path], bases: Sequence[Path], rules: Path | None, drops: Sequence[float] | None, form: str
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
    from robench.analysis.formatting import format_change, format_value

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
            f"{format_change(size, chance.unit, signed=False)}: {rate:.0%}"
            for size, rate in zip(chance.drops, chance.caught, strict=True)
        ]
        table.add_row(
            chance.name,
            format_value(chance.value, chance.unit),
            format_change(chance.error, chance.unit, signed=False),
            f"{chance.false_alarm_rate:.1%}",
            "\n".join(rates),
            format_change(chance.minimum_detectable_effect, chance.unit, signed=False) or "none",
        )
    return table


_FOLDED = 3
"""Most comparisons of one rule that are listed although they passed."""


def _verdict(verdict: Verdict) -> Group:
    """Return the rules that failed with their failures, the largest loss first, then the rules that passed."""
    from robench.analysis.formatting import format_change
    from robench.analysis.gate.formats import reason

    groups: dict[tuple[bool, Rule], list[Comparison]] = {}
    for comparison in sorted(verdict.comparisons, key=lambda one: (not one.failed, one.limit - one.sign * one.change)):
        groups.setdefault((comparison.failed, comparison.rule), []).append(comparison)
    totals = Counter(comparison.rule for comparison in verdict.comparisons)
    parts: list[Text | Table] = [Text(f"{verdict.model} compared with {verdict.baseline_model}", style="bold")]
    for (failed, rule), same in groups.items():
        count = f" ({len(same)} of {totals[rule]})" if totals[rule] > 1 else ""
        parts.append(
            Text(f"{'FAILED' if failed else 'ok    '}  {rule}{count}", style="bold red" if failed else "green")
        )
        if failed or len(same) <= _FOLDED:
            parts.append(_rows(same))
        else:
            parts.append(Text(f"  largest loss: {same[0].cell}, {format_change(same[0].change, same[0].unit)}"))
        if failed and rule.margin is not None:
            parts += [Text(f"  {one.cell}: {reason(one)}") for one in same]
    return Group(*parts)


def _rows(comparisons: Sequence[Comparison]) -> Table:
    from robench.analysis.formatting import format_change, format_interval, format_p_value, format_value

    table = Table(box=None, pad_edge=False)
    table.add_column("  ", overflow="fold")
    for name in ("baseline", "run", "change", "95 % CI", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in comparisons:
        table.add_row(
            f"  {one.cell}",
            format_value(one.base, one.unit, digits=1),
            format_value(one.run, one.unit, digits=1),
            format_change(one.change, one.unit, digits=1),
            format_interval(one.ci_low, one.ci_high, one.unit, digits=1).removesuffix(" pp"),
            format_p_value(one.p if one.p_holm is None else one.p_holm),
        )
    return table
