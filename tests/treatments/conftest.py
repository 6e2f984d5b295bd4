"""A small network with BatchNorm, random weights and running statistics that are not the data's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robench.datasets import decode, hash_images, open_dataset, select
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.samples import Samples
from robench.models import Classifier, Preprocessing
from robench.suites import Condition
from robench.suites.geometry import Geometry
from robench.treatments import adapt
from robench.types import Records
from tests.treatments.networks import CLEAN, randomised


@pytest.fixture(scope="session")
def normalised() -> Classifier:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 3),
    )  # fmt: skip
    preprocessing = Preprocessing(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Classifier("normed", "test:normed", randomised(module), preprocessing, 3, "0" * 64, torch.device("cpu"))


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(scope="session")
def samples(picture_folder: Path) -> Samples:
    """The thirty pictures at 32 px."""
    found = open_dataset(picture_folder)
    positions = select(found)
    decoded = decode(found, hash_images(found, positions), Geometry(resize=(32, 32)), skip=False)
    return Samples(decoded.images, positions, positions, found.labels)


Treat = Callable[..., Records]


@pytest.fixture(scope="session")
def treat(normalised: Classifier, samples: Samples) -> Treat:
    """Records of the pictures under treatments."""

    def records(
        *texts: str,
        condition: Condition = CLEAN,
        batch_size: int = 7,
        seed: int = 0,
        classifier: Classifier = normalised,
    ) -> Records:
        treated, session = adapt(classifier, texts, None, seed).start()
        return evaluate_condition(treated, samples, condition, seed=seed, batch_size=batch_size, session=session)

    return records
