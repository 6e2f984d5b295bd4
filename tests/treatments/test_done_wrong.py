"""The method done wrong, on real images: in class-sorted order batch statistics collapse, in keyed order they help.

The oracle is what was measured apart from this project (benchmarks/treatments.py has all of it).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robench.datasets import decode, hash_images, open_dataset, select
from robench.evaluation import loop
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.samples import Samples
from robench.models import load_classifier
from robench.suites import Condition
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_images
from robench.treatments import adapt

pytestmark = pytest.mark.slow

CLEAN = Condition("clean", "clean", 0, Geometry(resize=(32, 32)))
NOISE = Condition("cifar-c", "gaussian_noise", 5, Geometry(resize=(32, 32)), "32")


@pytest.fixture(scope="module")
def real(shared: Path) -> Samples:
    images = open_dataset(shared / "data" / "cifar10")
    positions = select(images, limit=500)
    decoded = decode(images, hash_images(images, positions), CLEAN.geometry, skip=False)
    return Samples(decoded.images, np.arange(500), positions, images.labels[positions])


def accuracy(shared: Path, samples: Samples, condition: Condition, *texts: str) -> float:
    classifier = load_classifier(shared / "data" / "checkpoints" / "cifar10_resnet20.th", "zoo:cifar_resnet20", "cpu")
    treated, session = adapt(classifier, texts, None, 0).start()
    records = evaluate_condition(treated, samples, condition, seed=0, batch_size=100, session=session)
    return float(np.mean(records["pred"] == records["label"]))


def test_class_sorted_order_collapses(shared: Path, real: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, keyed = accuracy(shared, real, CLEAN), accuracy(shared, real, CLEAN, "bn-test:n=50")
    monkeypatch.setattr(loop, "sample_order", lambda index, condition, seed: np.argsort(real.label, kind="stable"))
    by_class = accuracy(shared, real, CLEAN, "bn-test:n=50")
    assert plain > 0.88
    assert plain - 0.10 < keyed < plain
    assert by_class < 0.40


def test_noise_is_helped_and_single_images_collapse(shared: Path, real: Samples) -> None:
    plain = accuracy(shared, real, NOISE)
    assert plain < 0.35
    assert accuracy(shared, real, NOISE, "bn-prior:N=16,n=8") > plain + 0.25
    assert accuracy(shared, real, NOISE, "bn-frozen:M=200") > plain + 0.20
    assert accuracy(shared, real, NOISE, "localnorm:g=1") < 0.25


def test_mixed_corruptions_in_one_batch_do_not_help(shared: Path, real: Samples) -> None:
    """Half of every batch is clean: statistics of both fit neither as well as those of the noise alone do."""
    classifier = load_classifier(shared / "data" / "checkpoints" / "cifar10_resnet20.th", "zoo:cifar_resnet20", "cpu")
    treated, session = adapt(classifier, ["bn-test:n=200"], None, 0).start()
    assert session is not None
    session.start_condition(NOISE, lambda _: iter(()))
    rows = np.random.default_rng(0).permutation(500)[:200]
    pixels, _ = real.images.take(rows)
    clean = torch.from_numpy(pixels)
    contrast = Condition("cifar-c", "contrast", 5, NOISE.geometry, "32")
    index = torch.from_numpy(real.index[rows])
    noisy, flat = (condition_images(clean, one, index, 0) for one in (NOISE, contrast))
    label = torch.from_numpy(real.label[rows])

    def right(images: torch.Tensor) -> float:
        return float((treated.logits(images).argmax(1) == label).float().mean())

    mixed = torch.where((torch.arange(200) % 2 == 0)[:, None, None, None], noisy, flat)
    assert right(mixed) < (right(noisy) + right(flat)) / 2 - 0.05
