"""Several seeds as one model. Oracles: plain numpy means, and simulations whose true error is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robench.analysis.comparison import load_results
from robench.analysis.gate import rules_from, update_baseline
from robench.analysis.gate.gate import gate
from robench.analysis.metrics.intervals import percentile_interval
from robench.analysis.scoring import pool
from robench.analysis.scoring.pooling import pooled_distribution
from robench.cli.entry import run_cli
from robench.errors import OptionError, RobenchError, RunError
from robench.runs.csv import read_csv
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS
from tests.analysis.gate.invented import first, write_run

N = 200
NET: dict[str, Any] = {"model": {"label": "net", "classes": 2, "sha256": "a1"}}


def seeds_of(path: Path, wrong: list[np.ndarray], **facts: Any) -> list[Path]:
    """A run a seed, with the same clean images wrong, and its own of fog."""
    return [
        write_run(path / f"s{seed}", {("clean", 0): first(20, N), ("fog", 3): one}, seed=seed, **{**NET, **facts})
        for seed, one in enumerate(wrong)
    ]


def drawn(rates: np.ndarray, seeds: int, number: int) -> list[np.ndarray]:
    draws = np.random.default_rng(number).random((seeds, len(rates)))
    return [one < rates for one in draws]


def test_figures_are_means_and_seeds_are_named(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [first(40, N), first(50, N), first(75, N)])
    results, notes = pool([RunDirectory.open(run) for run in reversed(runs)])
    cell = results[(results["corruption"] == "fog") & (results["metric"] == "error_rate")].iloc[0]
    assert cell["value"] == pytest.approx((40 + 50 + 75) / 3 / N)
    assert cell["ci_low"] < 40 / N + 0.02
    assert cell["ci_high"] > 75 / N - 0.02
    assert set(results["seed"]) == {"0+1+2"}
    clean = results[(results["corruption"] == "clean") & (results["metric"] == "accuracy")].iloc[0]
    assert clean["value"] == pytest.approx(0.9)
    assert notes == []


def test_what_all_seeds_agree_on_has_its_interval(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [first(0, N), first(0, N)])
    results, _ = pool([RunDirectory.open(run) for run in runs])
    cell = results[(results["corruption"] == "fog") & (results["metric"] == "error_rate")].iloc[0]
    assert (cell["value"], cell["ci_low"]) == (0, 0)
    assert cell["ci_high"] == pytest.approx(0.0188, abs=1e-3)  # Wilson's for 0 of 200


@pytest.mark.parametrize("shared", [0.0, 0.03])
def test_intervals_hold_images_and_draws(shared: float) -> None:
    # The truth is the mean over all images and draws; `shared` is a deviation that all images of a seed have in common.
    random, seeds, n, resamples = np.random.default_rng(3), 4, 150, 400
    held = narrow = 0
    for repeat in range(150):
        rates = random.beta(2, 3, n)
        moved = np.clip(rates + shared * random.standard_normal((seeds, 1)), 0, 1)
        wrong = (random.random((seeds, n)) < moved).astype(float)
        counts = random.multinomial(n, np.full(n, 1 / n), resamples)
        distributions = np.concatenate([wrong.mean(1, keepdims=True), wrong @ counts.T / n], axis=1)
        low, high = percentile_interval(pooled_distribution(distributions, seed=repeat)[1:])
        held += bool(low <= 0.4 <= high)
        low, high = percentile_interval(distributions.mean(axis=0)[1:])
        narrow += bool(low <= 0.4 <= high)
    assert held >= 135  # 95 % of 150 is 142.5; below 135 is a chance of 1 in 1,000
    if shared:
        assert narrow < held  # The images alone do not tell how far a seed moves all of them.


def test_a_gate_over_seeds_is_paired_and_sees_more(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rates = random.beta(1, 3, N)
    before = seeds_of(tmp_path / "before", drawn(rates, 3, 1))
    after = seeds_of(tmp_path / "after", drawn(np.clip(rates + 0.12, 0, 1), 3, 2))
    rule = rules_from([{"metric": "error_rate", "corruption": "fog"}])
    pooled = gate(after, before, rule)
    single = gate(after[0], before[0], rule)
    assert pooled.failed
    (one,) = pooled.comparisons
    assert one.method == "paired bootstrap"
    assert one.run - one.base == pytest.approx(
        np.mean([d.mean() for d in drawn(np.clip(rates + 0.12, 0, 1), 3, 2)])
        - np.mean([d.mean() for d in drawn(rates, 3, 1)])
    )
    assert one.ci_high - one.ci_low < single.comparisons[0].ci_high - single.comparisons[0].ci_low
    assert not gate(before, before, rule).failed


@pytest.mark.nightly
def test_the_same_model_with_other_seeds_seldom_fails(tmp_path: Path) -> None:
    rates = np.random.default_rng(6).beta(1, 3, N)
    rule = rules_from([{"metric": "error_rate", "corruption": "fog", "pairing": "unpaired"}])
    failed = 0
    for repeat in range(20):
        ours = seeds_of(tmp_path / f"{repeat}a", drawn(rates, 2, 2 * repeat), metrics=("error_rate",))
        theirs = seeds_of(tmp_path / f"{repeat}b", drawn(rates, 2, 2 * repeat + 1), metrics=("error_rate",))
        failed += bool(gate(ours, theirs, rule).failed)
    assert failed <= 4  # Binomial(20, 0.05): more is a chance of 3 in 1,000


def test_baseline_of_several_seeds(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [first(40, N), first(60, N)])
    update_baseline(runs, tmp_path / "base.csv")
    results = read_csv(RESULTS, tmp_path / "base.csv")
    assert set(results["seed"]) == {"0+1"}
    assert gate(runs, tmp_path / "base.csv").comparisons
    with pytest.raises(OptionError, match="seed"):
        gate(runs[0], tmp_path / "base.csv")
    with pytest.raises(OptionError, match=f"{runs[0]} has seed 0, {re.escape(' + '.join(map(str, runs)))} has 0\\+1"):
        gate(runs[0], runs)
    assert (load_results(runs).seed, load_results(runs).name) == ("0+1", f"{runs[0]} + {runs[1]}")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(run) for run in seeds_of(tmp_path, [first(40, N), first(60, N)])]
    assert run_cli(["pool", *runs, "--out", str(tmp_path / "pooled.csv")]) == 0
    assert "seed 0+1" in capsys.readouterr().out
    assert run_cli(["gate", *runs, "--baseline", ",".join(runs)]) == 0
    assert run_cli(["leaderboard", str(tmp_path / "pooled.csv")]) == 0
    assert ",0+1," in capsys.readouterr().out
    assert run_cli(["pool", runs[0]]) == 2
    assert "give two or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 0}, "both have seed 0"),
        ({"model": {"label": "net", "classes": 2, "sha256": "b2"}}, "weights is b2, not a1"),
        ({"data": "xyz"}, "samples is xyz, not abc"),
        ({"protocol": "cifar#2"}, "protocol is .*cifar#2"),
    ],
)
def test_other_runs_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    cells = {("clean", 0): first(20, N), ("fog", 3): first(50, N)}
    one = write_run(tmp_path / "one", cells, **NET)
    other = write_run(tmp_path / "other", cells, **{"seed": 1, **NET, **change})
    with pytest.raises(RunError, match=says):
        pool([RunDirectory.open(one), RunDirectory.open(other)])


def test_unfinished_runs_and_files_are_refused(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [first(40, N), first(60, N)])
    with pytest.raises(RobenchError, match="is a file"):
        load_results([runs[0], runs[0] / "results.csv"])
    RunDirectory.open(runs[1]).records_path("cifar-c-fog-3-32px").unlink()
    with pytest.raises(RunError, match="1 unfinished"):
        pool([RunDirectory.open(run) for run in runs])
