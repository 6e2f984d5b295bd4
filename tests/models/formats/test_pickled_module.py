"""Whole pickled modules: nothing without --trust-pickle, the module with it."""

from __future__ import annotations

import collections
import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robench.cli.entry import run_cli
from robench.errors import CheckpointError
from robench.models import load_classifier
from robench.models.checkpoints.read import is_bare_pickle
from robench.models.formats import huggingface, pickled_module, state_dict
from robench.models.formats.base import LoadRequest
from robench.models.preprocessing import Preprocessing
from tests.builders import mistake
from tests.models.damage import difference, images, no_models, refusal, request, small, truncations


def saved(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_the_module_is_read_where_it_is_trusted(tmp_path: Path, nested: bool, zipped: bool) -> None:
    path = saved(tmp_path / "w.pth", {"model": small(), "epoch": 3} if nested else small(), zipped)
    assert pickled_module.matches(path)
    assert "--trust-pickle" in refusal(state_dict.load, path)
    loaded = state_dict.load(request(path, trust_pickle=True))
    assert difference(loaded, small(), images()) == 0
    assert "ran with your rights" in loaded.notes[0]
    assert loaded.arch == "pickle:Sequential"


def test_a_module_under_the_name_of_safetensors_needs_trust_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", small())
    assert "--trust-pickle" in refusal(state_dict.load, path)
    assert difference(state_dict.load(request(path, trust_pickle=True)), small(), images()) == 0


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.path,)


def test_nothing_is_run_without_trust(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = saved(tmp_path / "evil.pth", Touches(touched))
    refusal(state_dict.load, path)
    assert not touched.exists()
    assert "holds no weights" in refusal(state_dict.load, path, trust_pickle=True)
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
    loaded = state_dict.load(request(path, trust_pickle=True))
    del sys.modules["net_of_pickle"]
    assert loaded.preprocessing == Preprocessing(9, 8, "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert len(loaded.notes) == 1
    (tmp_path / "net_of_pickle.py").unlink()
    assert "ModuleNotFoundError" in refusal(state_dict.load, path, trust_pickle=True)


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", small())
    for _ in truncations(path):
        assert "damaged or incomplete" in refusal(state_dict.load, path, trust_pickle=True)
    for _ in truncations(saved(path, small(), zipped=False)):
        assert "cannot be unpickled" in refusal(state_dict.load, path, trust_pickle=True)
    for wrong in no_models(tmp_path, ".pth"):
        refusal(state_dict.load, wrong, trust_pickle=True)
    assert "holds no weights" in refusal(state_dict.load, saved(path, {"a": 1}), trust_pickle=True)


@pytest.mark.parametrize("name", ["w.pkl", "w.pickle", "w.pth"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_modules_of_pickle_dump_are_read_where_they_are_trusted(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(small(), protocol))
    assert "--trust-pickle runs it with your rights" in refusal(state_dict.load, path)
    assert difference(state_dict.load(request(path, trust_pickle=True)), small(), images()) == 0
    classifier = load_classifier(path, device="cpu", trust_pickle=True, crop=32)
    assert (classifier.label, classifier.classes) == ("w", 5)


def test_plain_pickles_are_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}, 2))
    assert "a plain pickle, which torch did not write" in refusal(state_dict.load, path)
    path.write_bytes(pickle.dumps({"weight": torch.ones(3)}, 4))
    assert "--trust-pickle runs it with your rights" in refusal(state_dict.load, path)
    for content in (small().state_dict(), small()):
        for zipped in (True, False):
            assert not is_bare_pickle(saved(path, content, zipped))
            torch.save(content, path, pickle_protocol=4, _use_new_zipfile_serialization=zipped)
            assert not is_bare_pickle(path)


def test_tensors_of_a_gpu_come_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pickle.dump stores a tensor as torch.save's file of its storage, which names the device."""
    seen: list[object] = []
    load = torch.load

    def watched(file: object, **options: object) -> object:
        seen.append(options.get("map_location"))
        return load(file, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "load", watched)
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"weight": torch.ones(3)}))
    assert isinstance(pickled_module.unpickle(path), dict)
    assert seen == ["cpu"]


class Own(collections.OrderedDict[str, Tensor]):
    """A dict of a class of its own, which torch's restricted reader does not build."""


def test_a_hugging_face_folder_may_need_trust(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    model = transformers.ResNetForImageClassification(config).eval()
    config.architectures = ["ResNetForImageClassification"]
    config.save_pretrained(tmp_path)
    saved(tmp_path / "pytorch_model.bin", Own(model.state_dict()))
    assert "--trust-pickle runs it with your rights" in refusal(huggingface.load, tmp_path)
    loaded = huggingface.load(request(tmp_path, trust_pickle=True))
    assert loaded.notes[0] == pickled_module.TRUST_NOTE
    x = images()
    with torch.inference_mode():
        assert torch.equal(loaded.module.eval()(x).logits, model(x).logits)
    saved(tmp_path / "pytorch_model.bin", small())
    assert "does not hold tensors by name" in refusal(huggingface.load, tmp_path, trust_pickle=True)


def test_shards_may_need_trust(tmp_path: Path) -> None:
    """The first is read without it, the second is not; as a Hugging Face folder of timm's, and as weights."""
    import timm

    with torch.random.fork_rng(devices=[]):
        model = timm.create_model("resnet10t", num_classes=5).eval()
    state = model.state_dict()
    first = dict(list(state.items())[:7])
    saved(tmp_path / "a.bin", first)
    saved(tmp_path / "b.bin", Own({key: value for key, value in state.items() if key not in first}))
    where = {key: "a.bin" if key in first else "b.bin" for key in state}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "num_classes": 5}))
    for load, path in ((huggingface.load, tmp_path), (state_dict.load, index)):
        asked = LoadRequest(path, "timm:resnet10t", torch.device("cpu"))
        with pytest.raises(CheckpointError, match=r"b\.bin was refused, .* --trust-pickle runs it with your rights"):
            load(asked)
        loaded = load(replace(asked, trust_pickle=True))
        assert loaded.notes.count(pickled_module.TRUST_NOTE) == 1
        assert difference(loaded, model, images()) == 0
    saved(tmp_path / "b.bin", small())
    for load, path in ((huggingface.load, tmp_path), (state_dict.load, index)):
        assert "b.bin does not hold tensors by name" in refusal(load, path, trust_pickle=True)


class Says:
    """Writes to stderr where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.write, (2, b"the code runs\n")


def test_the_warning_comes_before_the_code_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "w.pth", Says())
    assert run_cli(["evaluate", str(path), "--data", "demo", "--trust-pickle", "--out", str(tmp_path / "run")]) == 2
    warning, said, *error = capfd.readouterr().err.splitlines()
    assert warning.startswith("warning: --trust-pickle lets code in the model's file run with your rights")
    assert said == "the code runs"
    assert "holds no weights" in mistake("\n".join(error))
    assert run_cli(["evaluate", str(path), "--data", "demo", "--out", str(tmp_path / "run")]) == 2
    assert "warning:" not in capfd.readouterr().err
