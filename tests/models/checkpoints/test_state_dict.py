"""Checkpoints that are read, checkpoints that are refused, and files whose code is never run."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.checkpoints.read import PICKLES, extension_mismatch_note, file_sha256
from robench.models.checkpoints.state_dict import EXTENSIONS, read_weights

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}
SINGLE = [one for one in EXTENSIONS if not one.endswith(".json")]
"""Extensions of weights in one file."""


class _Evil:
    """A pickle of it makes a folder at `path` when something runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def _saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _same(state: dict[str, Tensor]) -> bool:
    return list(state) == list(STATE) and all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_every_extension_is_read(tmp_path: Path) -> None:
    for extension in SINGLE:
        path = tmp_path / f"w{extension}"
        if extension == ".safetensors":
            save_file(STATE, path)
        else:
            torch.save(STATE, path)
        read = read_weights(path).state
        assert read.keys() == STATE.keys(), extension
        assert all(torch.equal(read[key], STATE[key]) for key in STATE), extension


@pytest.mark.parametrize("nesting", ["state_dict", "model", "model_state_dict", "state_dict_ema"])
def test_every_nesting_is_opened(tmp_path: Path, nesting: str) -> None:
    content = {"epoch": 3, nesting: STATE, "optimizer": {"lr": torch.tensor(0.1)}}
    for zipped in (True, False):
        path = _saved(tmp_path / "w.pth", content, _use_new_zipfile_serialization=zipped)
        assert _same(read_weights(path).state), f"zipped: {zipped}"


def test_the_trained_weights_win_over_their_average(tmp_path: Path) -> None:
    average = {key: value + 1 for key, value in STATE.items()}
    assert _same(read_weights(_saved(tmp_path / "w.pth", {"state_dict_ema": average, "model": STATE})).state)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_prefixes_on_every_key_are_stripped(tmp_path: Path, prefix: str) -> None:
    path = _saved(tmp_path / "w.pth", {prefix + key: value for key, value in STATE.items()})
    assert _same(read_weights(path).state)


def test_a_prefix_on_some_keys_stays(tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pth", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(read_weights(path).state) == ["module.a", "b"]


def test_numpy_values_beside_the_weights_are_dropped(tmp_path: Path) -> None:
    beside = {"best_acc": np.float64(0.9), "curve": np.arange(3), "args": argparse.Namespace(lr=0.1)}
    assert _same(read_weights(_saved(tmp_path / "w.pth", {"state_dict": STATE, **beside})).state)


def test_numpy_objects_run_nothing(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = _saved(tmp_path / "w.pth", {"state_dict": STATE, "x": np.array([_Evil(touched)], dtype=object)})
    assert "nothing in it was run" in _refusal(path)
    assert not touched.exists()


def test_the_ignored_names_are_not_left_allowed(tmp_path: Path) -> None:
    before = torch.serialization.get_safe_globals()
    read_weights(_saved(tmp_path / "w.pth", STATE))
    assert set(torch.serialization.get_safe_globals()) == set(before)


@pytest.mark.parametrize("extension", SINGLE)
def test_nothing_in_a_file_is_run(tmp_path: Path, extension: str) -> None:
    for kind in ("zip", "legacy", "pickle2", "pickle4", "nested"):
        _refuse_without_running(tmp_path / kind, f"evil{extension}", kind)


def _refuse_without_running(folder: Path, name: str, kind: str) -> None:
    folder.mkdir()
    touched, path = folder / "touched", folder / name
    evil = {"conv.weight": torch.ones(2), "x": _Evil(touched)}
    match kind:
        case "zip":
            torch.save(evil, path)
        case "legacy":
            torch.save(evil, path, _use_new_zipfile_serialization=False)
        case "nested":
            torch.save({"state_dict": STATE, "args": [argparse.Namespace(x=_Evil(touched))]}, path)
        case _:
            path.write_bytes(pickle.dumps(_Evil(touched), protocol=int(kind[-1])))
    text = _refusal(path)
    assert not touched.exists(), kind
    assert "nothing in it was run" in text
    assert "torch.save(model.state_dict()" in text
    with warnings.catch_warnings():  # A reader that trusts the file runs it, so the file is dangerous.
        warnings.simplefilter("ignore")
        if kind.startswith("pickle"):
            pickle.loads(path.read_bytes())
        else:
            with path.open("rb") as file:
                torch.load(file, weights_only=False)
    assert touched.exists(), kind


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    assert "torch.nn.modules.linear.Linear" in _refusal(_saved(tmp_path / "w.pt", nn.Linear(2, 2)))


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with warnings.catch_warnings():  # TorchScript itself is deprecated
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))
    assert "is a TorchScript archive, which carries code" in _refusal(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_damaged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    state = {"weight": torch.ones(200, 20)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for kept in (0.1, 0.3, 0.6, 0.98):
        path.write_bytes(whole[: int(len(whole) * kept)])
        assert "damaged or incomplete" in _refusal(path), kept


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    for extension in SINGLE:
        path = tmp_path / f"w{extension}"
        path.touch()
        assert "is empty" in _refusal(path)


def test_the_content_says_what_wrote_a_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    save_file(STATE, path)
    assert read_weights(path).state.keys() == STATE.keys()
    assert extension_mismatch_note(path) == f"{path} is a safetensors file despite its name, and was read as one"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert "damaged or incomplete" in _refusal(path)
    path.rename(tmp_path / "right.safetensors").write_bytes(whole)
    assert extension_mismatch_note(tmp_path / "right.safetensors") is None
    for zipped in (True, False):
        path = _saved(tmp_path / "w.safetensors", STATE, _use_new_zipfile_serialization=zipped)
        assert _same(read_weights(path).state)
        assert extension_mismatch_note(path) == f"{path} is a PyTorch file despite its name, and was read as one"
    # Its header has 0x0280 bytes, which is how a pickle begins.
    path, metadata = tmp_path / "pickle-like.pth", {"x": "." * 488}
    save_file(STATE, path, metadata)
    assert path.read_bytes().startswith(PICKLES)
    assert read_weights(path).state.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!doctype html><html>not found</html>", "web page"),
        (gzip.compress(b"x", mtime=0), "gzip; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
    ],
)
def test_what_is_often_given_for_weights_is_named(tmp_path: Path, content: bytes, match: str) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        text = _refusal(tmp_path / name)
        assert match in text
        assert "download it again" not in text


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    (tmp_path / "x.npz").rename(path)
    assert "is an archive that torch did not write; unpack it" in _refusal(path)
    _saved(tmp_path / "inner.pth", STATE)
    with tarfile.open(tmp_path / "w.tar", "w") as packed:
        packed.add(tmp_path / "inner.pth", "inner.pth")
    assert "is an archive that torch did not write; unpack it" in _refusal(tmp_path / "w.tar")


def test_weights_under_an_unusual_name_are_pointed_to(tmp_path: Path) -> None:
    path = _saved(
        tmp_path / "w.pth", {"optimizer": {"lr": torch.ones(1)}, "checkpoint": {"generator": {"weights": STATE}}}
    )
    assert "give --weights-key checkpoint.generator.weights for the tensors under it" in _refusal(path)
    assert _same(read_weights(path, "checkpoint.generator.weights").state)


def test_arrays_are_no_tensors(tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pth", {"weight": np.ones(3)})
    assert "(no tensor under its keys: weight); save a state dict" in _refusal(path)


@pytest.mark.parametrize("value", [torch.ones(3, device="meta"), torch.eye(3).to_sparse()])
def test_tensors_without_values_and_sparse_ones_are_refused(tmp_path: Path, value: Tensor) -> None:
    path = _saved(tmp_path / "w.pth", {"a": torch.ones(2), "b": value})
    assert "has no values or is sparse; save a state dict of dense tensors" in _refusal(path)


def test_other_refusals(tmp_path: Path) -> None:
    assert "no weights file" in _refusal(tmp_path / "absent.pth")
    assert "is a folder" in _refusal(tmp_path)
    other = tmp_path / "w.onnx"
    other.write_bytes(b"x")
    assert ".safetensors" in _refusal(other)


def test_a_file_without_tensors_shows_its_keys(tmp_path: Path) -> None:
    assert "keys: epoch, lr" in _refusal(_saved(tmp_path / "w.pth", {"epoch": 3, "lr": 0.1}))
    assert "a list" in _refusal(_saved(tmp_path / "l.pth", [1, 2]))
    assert "an empty dict" in _refusal(_saved(tmp_path / "e.pth", {}))


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pth", STATE)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match="cannot be read"):
        file_sha256(tmp_path / "absent.pth")


def test_a_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["model"] = content
    torch.save(content, tmp_path / "recursive.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "recursive.pth")


def test_text_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello world")
    with pytest.raises(CheckpointError, match="not a PyTorch file"):
        read_weights(tmp_path / "text.pth")


def test_an_archive_of_several_disks_is_damaged(tmp_path: Path) -> None:
    """Python's zipfile raises where it only looks whether a file is a zip; found by `formats.fuzz`."""
    path = _saved(tmp_path / "w.pth", STATE)
    before, mark, after = path.read_bytes().rpartition(b"PK\x06\x07")
    path.write_bytes(before + mark + b"\x01" + after[1:])
    with pytest.raises(zipfile.BadZipFile):
        zipfile.is_zipfile(path)
    assert "is damaged or incomplete" in _refusal(path)
