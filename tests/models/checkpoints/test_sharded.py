"""Weights in several files; the index is the one that huggingface_hub writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.sharded import files_sha256, is_index, read_sharded, shards

STATE = {f"layer{number}.weight": torch.full((20, 20), float(number)) for number in range(6)}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    save_torch_state_dict(dict(STATE), tmp_path, max_shard_size=4000)
    return tmp_path / "model.safetensors.index.json"


def refusal(index: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_sharded(index)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(index: Path, **values: Any) -> None:
    index.write_text(json.dumps(json.loads(index.read_text()) | values))


def same(state: dict[str, Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_all_shards_are_one_state_dict(index: Path) -> None:
    assert is_index(index)
    assert not is_index(index.with_name("model.safetensors"))
    assert len(shards(index)) == 3
    assert same(read_sharded(index))


def test_pickled_shards_are_read(tmp_path: Path) -> None:
    for number, key in enumerate(STATE):
        torch.save({key: STATE[key]}, tmp_path / f"part{number}.bin")
    where = {key: f"part{number}.bin" for number, key in enumerate(STATE)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(read_sharded(tmp_path / "pytorch_model.bin.index.json"))


def test_shards_stay_in_their_folder(tmp_path: Path, index: Path) -> None:
    (tmp_path / "inner").mkdir()
    save_file(STATE, tmp_path / "inner" / "x.safetensors")
    for name in ("../x.safetensors", "/etc/passwd", "inner/x.safetensors", "", "..", "."):
        changed(index, weight_map=dict.fromkeys(STATE, name))
        assert "no file of its own folder" in refusal(index)


def test_what_does_not_fit_together_is_told(index: Path) -> None:
    where, files = json.loads(index.read_text())["weight_map"], shards(index)
    changed(index, metadata={"total_size": 9599})
    assert "hold 9600 bytes, not 9599" in refusal(index)
    changed(index, metadata={"total_size": 9600}, weight_map=where | {"more": files[0].name})
    assert "lacks 'more'" in refusal(index)
    changed(index, weight_map={key: name for key, name in where.items() if key != "layer3.weight"})
    assert "of different models" in refusal(index)
    changed(index, weight_map=where)
    files[1].write_bytes(files[1].read_bytes()[:-100])
    assert "damaged or incomplete" in refusal(index)
    files[1].unlink()
    assert "is missing from its folder" in refusal(index)
    files[1].symlink_to(files[1])
    assert "is missing from its folder" in refusal(index)


def test_broken_indices_are_told(index: Path) -> None:
    for text in ("", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "[" * 100_000):
        index.write_text(text)
        refusal(index)
    with index.open("wb") as file:
        file.truncate(100 * 2**30)
    assert "too large" in refusal(index)
    index.unlink()
    assert "cannot be read" in refusal(index)


def test_sha256_of_several_files_is_that_of_their_list(index: Path) -> None:
    files = shards(index)
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert files_sha256(files[::-1]) == hashlib.sha256(lines.encode()).hexdigest()
    assert files_sha256(files[:1]) == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert len(load_file(files[0])) == 2
