"""Rates of false failures and of caught drops, by simulation on records of the demo model.

Oracles: a test at alpha 0.05 fails at most 18 of 200 times with 99 % (Binomial(200, 0.05)); the power of McNemar's test summed
over all outcomes with scipy, beforehand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

import robench
from robench.analysis.gate import HEADLINE_RULES, rules_from
from robench.analysis.gate.gate import gate
from tests.analysis.gate.invented import write_run

REPEATS = 200
BOUND = 18
SEEDS = (0, 1)
CELLS = (("clean", 0), ("glass_blur", 5), ("snow", 3), ("frost", 3), ("spatter", 5))
"""Corruptions with draws, which the model gets wrong often enough."""
FEW = ("accuracy", "error_rate", "mean_error")
UNPAIRED = tuple(
    rules_from([{"metric": "accuracy", "pairing": "unpaired"}, {"metric": "mean_error", "pairing": "unpaired"}])
)

Wrong = dict[tuple[str, int], np.ndarray]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Wrong]:
    """Which images the demo model gets wrong, for two seeds of the corruptions."""
    classifier = robench.load_classifier("demo", device="cpu")
    found = []
    for seed in SEEDS:
        options = robench.Options(seed=seed, corruption=tuple(c for c, _ in CELLS[1:]), severity=(3, 5))
        run = robench.evaluate(
            classifier, "demo", ["cifar-c"], tmp_path_factory.mktemp("seeds") / str(seed), options=options
        ).directory
        frames = {c: run.read_records(c.name) for c in run.finished()}
        found.append(
            {
                (c.corruption, c.severity): (frame["pred"] != frame["label"]).to_numpy()
                for c, frame in frames.items()
                if (c.corruption, c.severity) in CELLS
            }
        )
    return found


def taken(wrong: Wrong, index: np.ndarray) -> Wrong:
    return {cell: one[index] for cell, one in wrong.items()}


def test_the_bound_is_what_a_correct_test_stays_under() -> None:
    assert binom.cdf(BOUND, REPEATS, 0.05) >= 0.99 > binom.cdf(BOUND - 1, REPEATS, 0.05)


@pytest.mark.nightly
def test_disjoint_halves(records: list[Wrong], tmp_path: Path) -> None:
    """The same model on two halves of the images, drawn at random, each with its own seed."""
    rng = np.random.default_rng(0)
    n, failed = len(records[0]["clean", 0]), 0
    for number in range(REPEATS):
        order = rng.permutation(n)
        halves = order[: n // 2], order[n // 2 : 2 * (n // 2)]
        run, base = (
            write_run(tmp_path / f"{number}-{seed}", taken(records[seed], half), data=str(seed), seed=seed, metrics=FEW)
            for seed, half in zip(SEEDS, halves, strict=True)
        )
        failed += bool(gate(run, base, UNPAIRED).failed)
    print(f"disjoint halves: {failed} of {REPEATS}")
    assert failed <= BOUND


@pytest.mark.nightly
def test_other_seeds(records: list[Wrong], tmp_path: Path) -> None:
    """The same images with the two seeds, resampled: unpaired, as a user has to ask for."""
    rng = np.random.default_rng(1)
    n, failed = len(records[0]["clean", 0]), 0
    for number in range(REPEATS):
        index = rng.integers(0, n, n)
        run, base = (
            write_run(tmp_path / f"{number}-{seed}", taken(records[seed], index), seed=seed, metrics=FEW)
            for seed in rng.permutation(SEEDS).tolist()
        )
        failed += bool(gate(run, base, UNPAIRED).failed)
    print(f"other seeds: {failed} of {REPEATS}")
    assert failed <= BOUND


@pytest.mark.nightly
def test_paired(records: list[Wrong], tmp_path: Path) -> None:
    """For every image a coin decides which seed's outcomes are the run's: no side is better, and tests are paired."""
    rng = np.random.default_rng(2)
    n, failed = len(records[0]["clean", 0]), 0
    for number in range(REPEATS):
        coin = rng.random(n) < 0.5
        run, base = (
            write_run(
                tmp_path / f"{number}-{side}",
                {cell: np.where(coin ^ side, records[0][cell], records[1][cell]) for cell in CELLS},
                metrics=FEW,
            )
            for side in (False, True)
        )
        verdict = gate(run, base, HEADLINE_RULES)
        assert {one.method for one in verdict.comparisons} == {"mcnemar", "paired bootstrap"}
        failed += bool(verdict.failed)
    print(f"paired: {failed} of {REPEATS}")
    assert failed <= BOUND


def power(lost: float, gained: float, n: int, alpha: float) -> float:
    """Chance that McNemar's one-sided test rejects, where an image is lost and gained with these chances."""
    total = 0.0
    for changed in range(n + 1):
        chance = binom.pmf(changed, n, lost + gained)
        if chance > 1e-9:
            # The fewest losses of so many changes that reject.
            needed = int(binom.isf(alpha, changed, 0.5)) + 1
            total += chance * binom.sf(needed - 1, changed, lost / (lost + gained))
    return total


@pytest.mark.nightly
def test_a_drop_of_one_point_at_2000_images(records: list[Wrong], tmp_path: Path) -> None:
    """2,000 images drawn from the records; 1.5 % of all are lost and 0.5 % gained: one point in the mean."""
    n, lost, gained, repeats = 2000, 0.015, 0.005, 100
    expected = power(lost, gained, n, 0.05)
    assert 0.9 < expected < 0.999
    rng = np.random.default_rng(3)
    wrong = records[0]["frost", 3]
    caught = 0
    rules = rules_from([{"metric": "error_rate", "suite": "cifar-c"}])
    for number in range(repeats):
        before = wrong[rng.integers(0, len(wrong), n)]
        after = before.copy()
        rate = before.mean()
        after[~before] = rng.random(int((~before).sum())) < lost / (1 - rate)
        after[before] = rng.random(int(before.sum())) >= gained / rate
        run, base = (
            write_run(tmp_path / f"{number}-{name}", {("frost", 3): one}, metrics=FEW)
            for name, one in (("run", after), ("base", before))
        )
        caught += bool(gate(run, base, rules).failed)
    low, high = binom.ppf([0.0005, 0.9995], repeats, expected)
    print(f"a drop of one point: caught {caught} of {repeats}, computed {expected:.3f}")
    assert low <= caught <= high
