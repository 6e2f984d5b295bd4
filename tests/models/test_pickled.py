"""Whole pickled modules: nothing without --trust-pickle, the module with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from models.damage import difference, images, no_models, refusal, request, small, truncations
from robench.models import pickled, weights
from robench.models.classifier import Preprocessing


def saved(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_the_module_is_read_where_it_is_trusted(tmp_path: Path, nested: bool, zipped: bool) -> None:
    path = saved(tmp_path / "w.pth", {"model": small(), "epoch": 3} if nested else small(), zipped)
    assert pickled.matches(path)
    assert "--trust-pickle" in refusal(weights.load, path)
    loaded = weights.load(request(path, trust_pickle=True))
    assert difference(loaded, small(), images()) == 0
    assert "ran with your rights" in loaded.notes[0]
    assert loaded.arch == "pickle:Sequential"


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.path,)


def test_nothing_is_run_without_trust(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = saved(tmp_path / "evil.pth", Touches(touched))
    refusal(weights.load, path)
    assert not touched.exists()
    assert "holds no weights" in refusal(weights.load, path, trust_pickle=True)
    assert touched.exists()  # that is what trust means


def test_classes_beside_the_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "net_of_pickle.py").write_text(
        "from torch import nn\nclass Net(nn.Flatten):\n"
        "    preprocessing = {'crop': 8, 'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}\n"
    )
    sys.path.insert(0, str(tmp_path))
    import net_of_pickle  # type: ignore[import-not-found]

    path = saved(tmp_path / "w.pt", net_of_pickle.Net())
    sys.path.remove(str(tmp_path))
    del sys.modules["net_of_pickle"]
    loaded = weights.load(request(path, trust_pickle=True))
    del sys.modules["net_of_pickle"]
    assert loaded.preprocessing == Preprocessing(9, 8, "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert len(loaded.notes) == 1
    (tmp_path / "net_of_pickle.py").unlink()
    assert "ModuleNotFoundError" in refusal(weights.load, path, trust_pickle=True)


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", small())
    for _ in truncations(path):
        assert "damaged or incomplete" in refusal(weights.load, path, trust_pickle=True)
    for _ in truncations(saved(path, small(), zipped=False)):
        assert "cannot be unpickled" in refusal(weights.load, path, trust_pickle=True)
    for wrong in no_models(tmp_path, ".pth"):
        refusal(weights.load, wrong, trust_pickle=True)
    assert "holds no weights" in refusal(weights.load, saved(path, {"a": 1}), trust_pickle=True)
