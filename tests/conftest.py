"""Where tests find real data and golden files; without them they skip, so a stranger's clone passes too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robench.models import Classifier, Preprocessing

ROOT = Path(__file__).parents[1]

# Tests run one process a core; threads within each would only wait for one another.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that at the end no worker is left alone with one: `slow(minutes=…)` says how long."""
    items.sort(key=_minutes, reverse=True)


def _minutes(item: pytest.Item) -> float:
    slow = item.get_closest_marker("slow")
    return 0.0 if slow is None else float(slow.kwargs.get("minutes", 0))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images and checkpoints (ROBENCH_SHARED)."""
    folder = Path(os.environ.get("ROBENCH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real data: ROBENCH_SHARED={folder} is no folder")
    return folder


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """Folder of reference pixels (ROBENCH_GOLDEN)."""
    folder = os.environ.get("ROBENCH_GOLDEN")
    path = Path(folder) if folder else Path(os.environ.get("ROBENCH_SHARED", ROOT.parent / "shared")) / "golden"
    if not path.is_dir():
        pytest.skip(f"no golden files: ROBENCH_GOLDEN={path} is no folder")
    return path


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """The CUDA device of a test marked `gpu`."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def _isolated_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never touch the user's decode cache, nor each other's."""
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("ROBENCH_CACHE_SIZE", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset: 3 classes of 10 smooth random pictures at about 40 px."""
    root = tmp_path_factory.mktemp("pictures") / "pictures"
    rng = np.random.default_rng(0)
    for label in ("ant", "bee", "cow"):
        (root / label).mkdir(parents=True)
        for number in range(10):
            small = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
            small.resize((42, 40), Image.Resampling.BICUBIC).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """A small untrained network with three classes, on the CPU, always the same."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    preprocessing = Preprocessing(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    module = module.eval().requires_grad_(False)
    return Classifier("tiny", "test:tiny", module, preprocessing, 3, "0" * 64, torch.device("cpu"))
