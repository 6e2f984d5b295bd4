"""Oracle: scikit-learn's log loss, and the definition, on the whole matrix of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from robench.analysis.metrics.proper_scores import brier, nll


def test_scores_of_three_columns_equal_those_of_all_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities, label = rng.dirichlet(np.ones(7), 300), rng.integers(0, 7, 300)
    of_label = probabilities[np.arange(300), label]
    assert nll(of_label).mean() == pytest.approx(log_loss(label, probabilities, labels=np.arange(7)), abs=1e-12)
    ours = brier(of_label, (probabilities**2).sum(axis=1)).mean()
    whole = ((probabilities - np.eye(7)[label]) ** 2).sum(axis=1).mean()
    assert ours == pytest.approx(whole, abs=1e-12)


def test_ends_of_the_scale() -> None:
    assert nll([1.0, 0.0]).tolist() == [0.0, pytest.approx(149 * np.log(2))]
    assert brier([1.0, 0.0], [1.0, 1.0]).tolist() == [0.0, 2.0]
