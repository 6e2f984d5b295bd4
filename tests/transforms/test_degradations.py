"""Degradations by strength: what LocalNorm's own do to a value, and what they leave of the suite's older figures.

Oracles: numpy, given the keyed draws; scipy's Poisson distribution; protocols and means as they were without them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import robench
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import PERTURBATIONS
from robench.transforms.warps import PaddedBatch
from robench.types import Images

SIDE, INDEX = 40, (3, 0, 2**33)


def pictures() -> Images:
    rng = np.random.default_rng(5)
    return torch.from_numpy(rng.integers(0, 256, (len(INDEX), 3, SIDE, SIDE), dtype=np.uint8))


def degraded(name: str, images: Images) -> list[tuple[float, NDArray[np.uint8]]]:
    one, keyed = PERTURBATIONS[name], KeyedDraws(0, torch.tensor(INDEX), f"frames/{name}")
    level = one.params("32")
    frames = one(PaddedBatch.of(images), SIDE, keyed, level)
    return [(value, frame.numpy()) for value, frame in zip(level["frames"], frames, strict=True)]


def drawn(name: str) -> KeyedDraws:
    return KeyedDraws(0, torch.tensor(INDEX), f"frames/{name}")


@pytest.mark.parametrize(("name", "low"), [("multiplicative_one_sided", 0.0), ("multiplicative_two_sided", -0.5)])
def test_a_uniform_factor(name: str, low: float) -> None:
    """x (1 + sigma u), clipped and truncated; every value has a u of its own, the same at every strength."""
    images = pictures()
    u = drawn(name).uniform("noise", (3, SIDE, SIDE)).numpy().astype(np.float64) + low
    assert u.min() < low + 0.01
    assert u.max() > low + 0.99
    assert np.abs(np.corrcoef(u[:, 0].ravel(), u[:, 1].ravel())[0, 1]) < 0.05
    for sigma, frame in degraded(name, images):
        expected = np.clip(images.numpy() * (1 + sigma * u), 0, 255)
        assert np.abs(frame - np.floor(expected + 1e-3)).max() <= 1
        assert (frame != np.floor(expected)).mean() < 1e-4, (
            "float32 leaves few values on the other side of a whole number"
        )


def test_a_poisson_factor() -> None:
    """Of pictures of value 1 the result is one plus the count."""
    for rate, frame in degraded("multiplicative_poisson", torch.ones((3, 3, SIDE, SIDE), dtype=torch.uint8)):
        counts = np.bincount(frame.ravel() - 1, minlength=6)[:6]
        expected = frame.size * stats.poisson.pmf(range(6), rate)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1).all(), rate
    assert [frame.mean() for _, frame in degraded("multiplicative_poisson", pictures())] == sorted(
        frame.mean() for _, frame in degraded("multiplicative_poisson", pictures())
    )


def test_a_mask_is_shared_by_the_channels_and_grows() -> None:
    images = pictures().clamp(min=1)
    before = np.zeros((len(INDEX), SIDE, SIDE), bool)
    for share, frame in degraded("shared_mask", images):
        gone = frame == 0
        assert (gone == gone[:, :1]).all(), "all three channels or none"
        assert (frame[~gone] == images.numpy()[~gone]).all()
        assert (gone[:, 0] | ~before).all(), "what is gone stays gone"
        assert abs(gone.mean() - share) < 5 * np.sqrt(share * (1 - share) / before.size)
        before = gone[:, 0]


@pytest.mark.slow
def test_the_mean_area_is_over_the_suites_own(tmp_path: Path) -> None:
    """Without the extra ones it is the same; over extra ones alone it is theirs."""
    demo = robench.load_classifier("demo", device="cpu")
    names = ["gaussian", "offset", "shared_mask", "multiplicative_poisson"]
    found = {
        key: mean_area(demo, tmp_path / key, chosen)
        for key, chosen in {"all": names, "own": names[:2], "extra": names[2:]}.items()
    }
    assert found["all"] == found["own"] != found["extra"]


def mean_area(demo: Classifier, place: Path, names: list[str]) -> dict[str, object]:
    results = robench.evaluate(demo, "demo", ["noise"], place, options=Options(limit=30, corruption=names)).results
    areas = results[results["metric"] == "accuracy_auc"]
    assert set(areas["corruption"].dropna()) == set(names)
    row = areas[areas["corruption"].isna()]
    return {name: row[name].item() for name in ("value", "ci_low", "ci_high", "n", "protocol")}


class _Breaks(torch.nn.Module):
    """Right about class 0 alone, and NaN where a picture is black enough."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.mean(dim=(2, 3)) @ torch.zeros(3, 10) + torch.arange(10.0, 0, -1)
        return torch.where(images.amin(dim=(1, 2, 3))[:, None] < images.amax() - 1, torch.nan, logits)


def test_logits_that_are_not_finite_leave_the_areas_alone(tmp_path: Path) -> None:
    """Their rate is a curve beside accuracy's, and no area of its own."""
    demo = robench.load_classifier("demo", device="cpu")
    broken = Classifier("broken", "x:y", _Breaks().eval(), demo.preprocessing, 10, "0" * 64, demo.device)
    done = robench.evaluate(
        broken, "demo", ["noise"], tmp_path / "run", options=Options(limit=8, corruption=["gaussian"])
    )
    areas = done.results[done.results["metric"] == "accuracy_auc"]
    assert (done.results["metric"] == "nonfinite_rate").any()
    assert areas["corruption"].isna().tolist() == [False, True]
    assert areas["value"].tolist() == [0, 0]
