"""Choosing a size for every image. The oracles: the formulas written out image by image, and all choices of a small table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from robench.analysis.metrics.intervals import split_half
from robench.analysis.metrics.size_selection import (
    accuracy_at_cost,
    cascade,
    cost_at_accuracy,
    exit_shares,
    exit_thresholds,
    oracle,
    random_accuracy,
)
from robench.types import Floats

COST = np.array([1.0, 3.0, 4.0, 9.0])


def table(samples: int = 6, sizes: int = 4) -> Floats:
    return (np.random.default_rng(samples).random((sizes, samples)) < 0.55).astype(np.float64)


def test_oracle() -> None:
    reached, paid = oracle([[1, 0, 0], [0, 1, 0]], [1, 4])
    assert reached.tolist() == [[1, 0, 0], [1, 1, 0]]
    assert paid.tolist() == [[1, 1, 1], [1, 4, 1]]


@pytest.mark.parametrize("samples", [4, 5, 6])
def test_no_choice_of_sizes_is_better_than_the_oracles(samples: int) -> None:
    """Every assignment of a size to every image, as many as sizes to the power of images."""
    right = table(samples)
    reached, paid = oracle(right, COST)
    assert reached[0].mean() == right[0].mean()
    assert paid[0].mean() == COST[0]
    assert reached[-1].mean() == right.any(axis=0).mean()
    accuracy, cost = reached.mean(axis=1), paid.mean(axis=1)
    for chosen in itertools.product(range(4), repeat=samples):
        at = np.array(chosen)
        budget = COST[at].mean()
        assert right[at, np.arange(samples)].mean() <= accuracy_at_cost(cost, accuracy, budget) + 1e-12


@pytest.mark.parametrize("samples", [6, 40])
def test_chance_in_the_oracles_shares(samples: int) -> None:
    """The shares counted, and the mean over every order in which those sizes may be dealt out."""
    right = table(samples)
    found = random_accuracy(oracle(right, COST)[0].mean(axis=1), right.mean(axis=1))
    for last in range(4):
        dealt = [
            next((size for size in range(last + 1) if right[size, image]), 0) for image in range(samples)
        ]  # None right: the first size.
        assert oracle(right, COST)[1][last].mean() == pytest.approx(COST[dealt].mean()), "the same cost"
        expected = sum(dealt.count(size) / samples * right[size].mean() for size in range(4))
        assert found[last] == pytest.approx(expected)
        if samples == 6:
            orders = [right[list(order), np.arange(6)].mean() for order in itertools.permutations(dealt)]
            assert found[last] == pytest.approx(np.mean(orders))
    assert found[0] == right[0].mean()


def test_shares() -> None:
    assert exit_shares(0, 3).tolist() == [1, 0, 0]
    assert exit_shares(1, 3).tolist() == [0, 0, 1]
    assert exit_shares(0.5, 4).tolist() == [0.25] * 4
    assert exit_shares(2 / 3, 3) == pytest.approx(np.array([1, 2, 4]) / 7), "a geometric series"


def test_a_cascade_image_by_image() -> None:
    """Confidences between 0 and 1; each image alone goes up until it is sure enough."""
    sure = np.random.default_rng(0).random((4, 200))
    for late in (0.0, 0.2, 0.5, 0.9, 1.0):
        thresholds = exit_thresholds(sure, exit_shares(late, 4))
        taken = cascade(sure, thresholds)
        for image, at in enumerate(taken.tolist()):
            expected = 0
            while expected < 3 and sure[expected, image] < thresholds[expected]:
                expected += 1
            assert at == expected
        # Without ties the samples that it was calibrated on stop in the shares that were asked for.
        left = np.array([(taken > size).sum() for size in range(3)])
        assert np.abs(left - 200 * (1 - exit_shares(late, 4).cumsum()[:3])).max() <= 0.5 + 1e-9
    assert cascade(sure, [0, 0, 0]).tolist() == [0] * 200, "all are sure enough"
    assert cascade(sure, [1.1, 1.1, 1.1]).tolist() == [3] * 200, "none is, until the last size takes them"
    assert exit_thresholds(sure, exit_shares(0, 4)).tolist() == [0, 0, 0]
    assert exit_thresholds(sure, exit_shares(1, 4)).tolist() == [np.inf] * 3


def test_equal_confidences_stop_together_and_the_next_size_makes_up_for_it() -> None:
    sure = np.array([[1, 1, 1, 0.2], [0.5, 0.5, 0.5, 0.9], [0, 0, 0, 0]])
    thresholds = exit_thresholds(sure, [0.25, 0.25, 0.5])
    assert thresholds.tolist() == [1, np.inf]
    assert cascade(sure, thresholds).tolist() == [0, 0, 0, 2]


def test_places_on_a_curve() -> None:
    cost, accuracy = [4.0, 1.0, 2.0], [0.9, 0.5, 0.7]
    assert accuracy_at_cost(cost, accuracy, 3) == pytest.approx(0.8)
    assert accuracy_at_cost(cost, accuracy, 9) == 0.9, "spends no more than it can use"
    assert cost_at_accuracy(cost, accuracy, 0.6) == pytest.approx(1.5)
    assert cost_at_accuracy(cost, accuracy, 0.9) == pytest.approx(4)
    assert cost_at_accuracy(cost, accuracy, 0.4) == 1
    assert np.isnan(cost_at_accuracy(cost, accuracy, 0.95))
    assert cost_at_accuracy([1, 2, 3], [0.2, 0.8, 0.1], 0.5) == pytest.approx(1.5), "the first time"


def test_halves_are_of_position_and_seed_alone() -> None:
    index = np.array([900, 3, 17, 5, 44, 12, 8])
    first = split_half(index, 0)
    assert first.sum() == 3
    order = np.random.default_rng(0).permutation(7)
    assert (split_half(index[order], 0) == first[order]).all()
    many = np.arange(2000)
    assert split_half(many, 0).sum() == 1000
    assert abs((split_half(many, 0) == split_half(many, 1)).mean() - 0.5) < 0.05
    # Blocks of a sorted dataset, its classes, are split alike.
    assert abs(split_half(many, 0).reshape(10, 200).mean(axis=1) - 0.5).max() < 4 * 0.5 / 200**0.5
    assert split_half(np.array([], np.int64), 0).shape == (0,)
