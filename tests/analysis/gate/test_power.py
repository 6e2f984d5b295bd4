"""Power of a gate. Oracles: McNemar's power summed over all outcomes with scipy, and gates that run on drawn images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binom

from robench.analysis.comparison import load_results
from robench.analysis.gate import Power, PowerEstimate, Rule, rules_from
from robench.analysis.gate.gate import gate
from robench.analysis.gate.power import power
from robench.cli.entry import run_cli
from robench.cli.gate import _power_table
from robench.errors import OptionError
from robench.runs.csv import read_csv, write_csv
from robench.runs.schema import RESULTS
from tests.analysis.gate.invented import first, write_run

N = 400


def exact(n: int, churn: float, drop: float, alpha: float) -> float:
    """The chance that McNemar's exact one-sided test rejects, over every number of changed images."""
    found = 0.0
    for changed in range(n + 1):
        lost = np.arange(changed + 1)
        rejects = binom.sf(lost - 1, changed, 0.5) <= alpha
        share = (churn + drop) / (2 * churn)
        found += binom.pmf(changed, n, churn) * float(binom.pmf(lost[rejects], changed, share).sum())
    return found


def pair(path: Path, lost: int, gained: int, rule: dict[str, Any], **facts: Any) -> tuple[Path, Path, Any]:
    """Two runs that differ in so many images of a cell."""
    before = np.arange(N) % 4 == 0
    after = before.copy()
    after[np.flatnonzero(~before)[:lost]] = True
    after[np.flatnonzero(before)[:gained]] = False
    runs = [
        write_run(
            path / name, {("clean", 0): first(20, N), ("fog", 3): one}, metrics=("error_rate", "accuracy"), **facts
        )
        for name, one in (("before", before), ("after", after))
    ]
    return runs[0], runs[1], rules_from([{"metric": "error_rate", "corruption": "fog", **rule}])


def test_figures_that_never_vary_are_left_out(tmp_path: Path) -> None:
    cells = {("clean", 0): first(20, N), ("fog", 3): first(0, N), ("fog", 5): first(0, N)}
    runs = [write_run(tmp_path / name, cells) for name in ("one", "two")]
    rules = rules_from([{"metric": "mean_error"}, {"metric": "accuracy", "suite": "clean"}])
    for base in (None, runs[1]):
        found = power(runs[0], base, rules)
        assert [one.name for one in found.chances] == ["accuracy of clean"]
        assert "left out, because the variance is unknown: mean_error of cifar-c" in " ".join(found.notes)
        with pytest.raises(OptionError, match="evaluate more images"):
            power(runs[0], base, rules[:1])


def test_a_figure_without_an_end_of_its_interval_is_left_out(tmp_path: Path) -> None:
    file = write_run(tmp_path / "run", {("clean", 0): first(20, N), ("fog", 3): first(40, N)}) / "results.csv"
    results = read_csv(RESULTS, file)
    results.loc[results["metric"] == "mean_error", "ci_high"] = np.nan
    write_csv(RESULTS, results, tmp_path / "open.csv")
    found = power(tmp_path / "open.csv", None, rules_from([{"metric": "mean_error"}, {"metric": "accuracy"}]))
    assert [one.name for one in found.chances] == ["accuracy of clean"]


def test_the_table_names_its_figures() -> None:
    """In the 80 columns of a terminal, whatever their units are."""
    rule, drops = Rule("accuracy"), np.array([0.005, 0.01, 0.02, 0.05])
    chances = tuple(
        PowerEstimate(
            rule, name, unit, size / 2, size / 100, 0.02, tuple(drops * size), (0.1, 0.2, 0.3, 0.4), size / 30
        )
        for name, unit, size in (("accuracy of clean", "fraction", 1.0), ("t5d of noise", "strength", 0.4))
    )
    printed = io.StringIO()
    Console(file=printed, width=80).print(_power_table(Power("net", 100, chances, ())))
    words = printed.getvalue().replace("│", " ").split()
    assert {"accuracy", "clean", "noise", "0.50", "5.00", "0.02", "10%", "20%", "30%", "40%"} <= set(words)


def test_images_are_counted_not_cells(tmp_path: Path) -> None:
    """Four images under six corruptions: a mean over six cells is of four images."""
    cells: dict[tuple[str, int], Any] = {("clean", 0): first(1, 4), **{("fog", s): first(2, 4) for s in range(1, 6)}}
    run = write_run(
        tmp_path / "run", {**cells, ("snow", 1): first(1, 4)}, metrics=("accuracy", "error_rate", "mean_error")
    )
    assert load_results(run).images == 4
    assert power(run, None, rules_from([{"metric": "mean_error"}])).images == 4


@pytest.mark.parametrize(("churn", "drop"), [(0.1, 0.02), (0.1, 0.05), (0.2, 0.05), (0.05, 0.04)])
def test_power_of_a_cell_is_mcnemars(tmp_path: Path, churn: float, drop: float) -> None:
    changed = round(churn * N)
    before, after, rule = pair(tmp_path, changed // 2, changed - changed // 2, {})
    (one,) = power(after, before, rule, [drop]).chances
    assert one.caught[0] == pytest.approx(exact(N, churn, drop, 0.05), abs=0.05)
    assert one.false_alarm_rate <= 0.05
    assert exact(N, max(churn, one.minimum_detectable_effect), one.minimum_detectable_effect, 0.05) == pytest.approx(
        0.8, abs=0.06
    )


@pytest.mark.nightly
def test_power_of_a_mean_is_how_often_gates_fail(tmp_path: Path) -> None:
    # Images have rates of their own; the run errs more often by the drop in each of two cells.
    random, drop, repeats = np.random.default_rng(0), 0.04, 60
    rule = rules_from([{"metric": "mean_error"}])

    def drawn(rates: np.ndarray, name: str) -> Path:
        cells = {("fog", 3): random.random(N) < rates, ("snow", 3): random.random(N) < rates}
        return write_run(tmp_path / name, {("clean", 0): first(20, N), **cells}, metrics=("error_rate", "mean_error"))

    failed, foretold = 0, []
    for repeat in range(repeats):
        rates = random.beta(1, 3, N)
        before, after = drawn(rates, f"b{repeat}"), drawn(np.clip(rates + drop, 0, 1), f"a{repeat}")
        failed += bool(gate(after, before, rule).failed)
        if repeat < 5:
            foretold.append(power(after, before, rule, [drop]).chances[0].caught[0])
    expected = float(np.mean(foretold))
    assert 0.4 < expected < 0.95
    assert abs(failed / repeats - expected) < 3 * (expected * (1 - expected) / repeats) ** 0.5 + 0.03


def test_other_demands_move_the_threshold(tmp_path: Path) -> None:
    before, after, plain = pair(tmp_path, 20, 20, {})
    point = rules_from([{"metric": "error_rate", "corruption": "fog", "fail_if": "worse", "allowed": 0.02}])
    inferior = rules_from(
        [{"metric": "error_rate", "corruption": "fog", "fail_if": "not significantly non-inferior", "margin": 0.02}]
    )
    allowed = rules_from([{"metric": "error_rate", "corruption": "fog", "allowed": 0.02}])
    assert power(after, before, point, [0.02]).chances[0].caught[0] == pytest.approx(0.5)
    # A margin that chance alone often exceeds fails an unchanged model too.
    spread = (0.1 / N) ** 0.5
    (one,) = power(after, before, inferior).chances
    assert one.error == pytest.approx(spread)
    assert one.false_alarm_rate > 0.5
    assert (
        power(after, before, allowed, [0.05]).chances[0].caught[0]
        < power(after, before, plain, [0.05]).chances[0].caught[0]
    )


def test_a_run_alone_has_its_own_spread(tmp_path: Path) -> None:
    before, _, rule = pair(tmp_path, 10, 10, {})
    found = power(before, rules=rule)
    (one,) = found.chances
    assert one.error == pytest.approx((0.25 * 0.75 / N) ** 0.5, rel=0.1)
    assert "correlation of 0.5" in found.notes[0]
    (csv,) = power(before / "results.csv", rules=rule).chances
    assert csv.error == pytest.approx(one.error * 2**0.5)


def test_several_tests_share_alpha(tmp_path: Path) -> None:
    before, after, rule = pair(tmp_path, 20, 20, {})
    both = power(after, before, [*rule, *rules_from([{"metric": "error_rate", "corruption": "fog"}])], [0.05])
    assert both.chances[0].caught[0] < power(after, before, rule, [0.05]).chances[0].caught[0]
    assert any("2 tests" in note for note in both.notes)


def test_what_nothing_moved_has_the_spread_of_a_run_alone(tmp_path: Path) -> None:
    before, _, rule = pair(tmp_path, 20, 20, {})
    found = power(before, before, rule)
    assert found.chances[0].error == power(before, rules=rule).chances[0].error
    assert any("equal on every image" in note for note in found.notes)


def test_refusals(tmp_path: Path) -> None:
    before, _, rule = pair(tmp_path, 20, 20, {})
    with pytest.raises(OptionError, match="match no value"):
        power(before, rules=rules_from([{"metric": "mfr"}]))
    with pytest.raises(OptionError, match="a drop must be a fraction"):
        power(before, rules=rule, drops=[1.5])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, after, _ = pair(tmp_path, 20, 20, {})
    assert run_cli(["gate", str(after), "--power", "--drop", "0.02,0.1"]) == 0
    out = capsys.readouterr().out
    assert "10.00 pp" in out
    assert run_cli(["gate", str(after), "--power", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"][0]["drops"] == [0.005, 0.01, 0.02, 0.05]
    for arguments, says in (
        (["--power", "--format", "junit"], "give --format table or json"),
        (["--drop", "0.1"], "--drop has no effect without --power"),
        ([], "there is no baseline"),
    ):
        assert run_cli(["gate", str(after), *arguments]) == 2
        assert says in capsys.readouterr().err
