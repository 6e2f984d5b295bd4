"""Two finished runs of corruptions and of a sequence, with networks that disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import robench
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.viewer.samples import SampleTable, read_samples
from tests.builders import tiny_classifier

OPTIONS = Options(corruption=["gaussian_noise", "contrast", "snow", "tilt"], severity=[1, 5])


@pytest.fixture(scope="session")
def networks() -> list[Classifier]:
    """Two networks with the same preprocessing."""
    one, two = tiny_classifier(), tiny_classifier()
    with torch.no_grad():
        for number, network in enumerate((one, two)):
            generator = torch.Generator().manual_seed(number)
            for parameter in network.module.parameters():
                parameter.mul_(0.35).add_(0.15 * torch.randn(parameter.shape, generator=generator))
            # On average, every class is predicted equally often.
            grey = network.logits(torch.full((1, 3, 32, 32), 128, dtype=torch.uint8))[0]
            list(network.module.parameters())[-1].sub_(grey)
    return [one, replace(two, label="other", sha256="1" * 64)]


@pytest.fixture(scope="session")
def pair(networks: list[Classifier], picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Their runs, which no test changes."""
    root = tmp_path_factory.mktemp("pair")
    suites = ["cifar-c", "cifar-p"]
    return [robench.evaluate(one, picture_folder, suites, root / one.label, options=OPTIONS).path for one in networks]


@pytest.fixture(scope="session")
def table(pair: list[Path]) -> SampleTable:
    """Their samples."""
    return read_samples(pair)
