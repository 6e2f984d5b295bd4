"""Where tests find real data and golden files; without them they skip, so a stranger's clone passes too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


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
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
