"""Oracles: a table counted by hand, and loops over images written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robench.analysis.metrics.classification import (
    ByClass,
    accuracy,
    class_error,
    class_rates,
    error_rate,
    mean_error,
    top5_error,
    worst_class_error,
)

# Six images of classes 0, 2 and 5 (1, 3 and 4 have none); -1 is a prediction that does not exist.
LABEL = np.array([0, 2, 0, 5, 2, 2])
PRED = np.array([0, 2, 1, 5, -1, 0])
TOP5 = np.array(
    [[0, 1, 2, 3, 4], [2, 0, 1, 3, 4], [1, 2, 3, 4, 0], [5, 0, 1, 2, 3], [-1, -1, -1, -1, -1], [0, 1, 3, 4, 5]]
)


def test_rates_by_hand() -> None:
    assert error_rate(PRED, LABEL) == 3 / 6
    assert accuracy(PRED, LABEL) == 3 / 6
    assert top5_error(TOP5, LABEL) == 2 / 6


def test_leading_axes() -> None:
    assert error_rate(np.stack([PRED, LABEL]), LABEL).tolist() == [0.5, 0.0]
    assert accuracy(np.stack([PRED, LABEL]), LABEL).tolist() == [0.5, 1.0]
    assert top5_error(np.stack([TOP5, TOP5[:, ::-1]]), LABEL).tolist() == [2 / 6, 2 / 6]
    assert mean_error([[0.25, 0.75], [0.5, 0.0]]).tolist() == [0.5, 0.25]


def test_counts_by_hand() -> None:
    counts = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 3, 1, 0, 0]])
    assert error_rate(PRED, LABEL, counts).tolist() == [3 / 6, 3 / 6]
    assert accuracy(PRED, LABEL, counts).tolist() == [3 / 6, 3 / 6]
    assert top5_error(TOP5, LABEL, counts).tolist() == [2 / 6, 0.0]
    classes, errors = class_error(PRED, LABEL, counts)
    assert classes.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(errors, [[1 / 2, 2 / 3, 0], [3 / 5, np.nan, 0]])


def test_fewer_than_five_classes() -> None:
    assert top5_error([[0, 1, 2], [2, 1, 0]], [2, 0]) == 0.0


def test_classes_without_samples_have_no_error() -> None:
    classes, errors = class_error(PRED, LABEL)
    assert classes.tolist() == [0, 2, 5]
    assert errors.tolist() == [1 / 2, 2 / 3, 0.0]
    assert worst_class_error(errors) == 2 / 3
    assert worst_class_error([[0.5, np.nan], [np.nan, 0.25]]).tolist() == [0.5, 0.25]


def test_class_error_against_a_loop_over_images() -> None:
    rng = np.random.default_rng(1)
    label, pred = rng.integers(0, 7, 60) * 3, rng.integers(0, 7, 60) * 3
    counts = rng.integers(0, 3, (4, 60))
    classes, errors = class_error(pred, label, counts)
    for row, taken in enumerate(counts):
        for column, name in enumerate(classes):
            images = [i for i in range(60) if label[i] == name for _ in range(taken[i])]
            expected = sum(pred[i] != label[i] for i in images) / len(images) if images else math.nan
            assert errors[row, column] == pytest.approx(expected, abs=0, rel=0, nan_ok=True)


@pytest.mark.parametrize("chosen", [[], [0], [5], [1, 3], [0, 1, 2, 3, 4, 5]])
def test_sums_of_chosen_samples(chosen: list[int]) -> None:
    """reduceat gives an element where a slice is empty; the sum must be 0."""
    by_class = ByClass.of(np.array([1, 1, 4, 4, 4, 9]))
    mask = np.isin(np.arange(6), chosen)
    counts = np.arange(1, 13).reshape(6, 2)
    kept = np.where(mask[:, None], counts, 0)
    assert by_class.sums(counts, mask).tolist() == [
        kept[:2].sum(0).tolist(),
        kept[2:5].sum(0).tolist(),
        kept[5].tolist(),
    ]


def test_rate_of_nothing_is_no_number() -> None:
    np.testing.assert_array_equal(class_rates(np.array([0, 1]), np.array([0, 2])), [np.nan, 0.5])
