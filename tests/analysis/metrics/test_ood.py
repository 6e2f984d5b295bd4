"""Oracle: scikit-learn, as OpenOOD's evaluator calls it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

from robench.analysis.metrics.ood import OOD_SCORES, Separation, aupr_in, aupr_out, auroc, fpr95, ood_scores, placements
from robench.types import Floats
from tests.builders import each


def by_sklearn(inside: Floats, outside: Floats) -> list[float]:
    score, is_outside = np.r_[inside, outside], np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    rates, hits, _ = roc_curve(is_outside, -score, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(1 - is_outside, score)
    other_precision, other_recall, _ = precision_recall_curve(is_outside, -score)
    return [
        rates[np.argmax(hits >= 0.95)],
        auc(recall, precision),
        auc(other_recall, other_precision),
        roc_auc_score(is_outside, -score),
    ]


@each("digits", [1, 2, 9])
def test_values_of_a_set_and_of_its_resamples(digits: int) -> None:
    rng = np.random.default_rng(digits)
    inside, outside = np.round(rng.normal(1, 1, 300), digits), np.round(rng.normal(0, 1.5, 140), digits)
    ours = [measure(inside, outside) for measure in (fpr95, aupr_in, aupr_out, auroc)]
    assert ours == pytest.approx(by_sklearn(inside, outside), abs=1e-12)
    drawn = rng.integers(0, 300, 300), rng.integers(0, 140, 140)
    counts = np.r_[np.bincount(drawn[0], minlength=300), np.bincount(drawn[1], minlength=140)]
    rates = Separation.of(inside, outside).rates(counts[None])
    assert [one[0] for one in rates] == pytest.approx(by_sklearn(inside[drawn[0]], outside[drawn[1]])[:3], abs=1e-12)
    # Both placements have one mean.
    assert [one.mean() for one in placements(inside, outside)] == pytest.approx([ours[3]] * 2, abs=1e-12)


def test_out_of_distribution_is_positive() -> None:
    inside, outside = [0.9, 0.8, 0.7], [0.6, 0.1]
    assert (auroc(inside, outside), auroc(outside, inside)) == (1, 0)
    assert (fpr95(inside, outside), fpr95(outside, inside)) == (0, 1)
    assert aupr_in(inside, outside) == aupr_out(inside, outside) == 1


def test_scores_of_records() -> None:
    logits = np.array([[2.0, 1.0, -1.0], [0.5, 0.5, 0.5]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    records = {
        "confidence": [*p.max(axis=1), 0],
        "max_logit": [2, 0.5, -np.inf],
        "gen": [*(p**0.1 * (1 - p) ** 0.1).sum(axis=1), np.inf],
        "entropy": [*-(p * np.log(p)).sum(axis=1), np.inf],
    }
    scores = ood_scores(records)
    assert tuple(scores) == OOD_SCORES
    assert scores["energy"][:2] == pytest.approx(np.log(np.exp(logits).sum(axis=1)))
    # Each is larger for the surer image, and smallest without a prediction.
    assert all(first > second > third == -np.inf for first, second, third in scores.values())
