"""Mutated model files: a model, or one line; never a crash, a hang or a payload that runs."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from robench.errors import RobenchError
from robench.models.formats.base import LoadRequest
from robench.models.loader import load_model
from tests.datasets import fuzz as readers
from tests.models.formats import fuzz

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
]


@pytest.mark.parametrize("seed", fuzz.SEEDS, ids=lambda seed: seed.name)
def test_the_seeds_themselves(seed: fuzz.Seed, tmp_path: Path) -> None:
    path = tmp_path / seed.name
    path.write_bytes(seed.make(tmp_path / "ran"))
    try:
        load_model(path, LoadRequest(path, seed.arch, torch.device("cpu")), {"crop": 8})
        assert not seed.name.startswith(("payload", "legacy payload"))
    except RobenchError:
        assert "payload" in seed.name
    assert not (tmp_path / "ran").exists()
    if "payload" in seed.name and seed.name.endswith(".pkl"):
        pickle.loads(path.read_bytes())  # it is one
        assert (tmp_path / "ran").exists()


def test_members_are_mutated_behind_right_checksums() -> None:
    content = fuzz.SEEDS[0].make(Path())
    changed = fuzz.mutated(content, 0.0, [("flip", 0.5, 1, b"")])
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(io.BytesIO(changed)) as after:
        assert after.testzip() is None
        differing = [name for name in before.namelist() if before.read(name) != after.read(name)]
        assert len(differing) == 1


@pytest.mark.slow
def test_many_mutated_files() -> None:
    found = readers.run(450, 0, fuzz.work, str, fuzz.again)
    assert set(found) <= {"model", "refused", "stopped"}
