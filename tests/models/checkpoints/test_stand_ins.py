"""Objects of any class next to weights. Oracles: the tensors that were stored, and a file that no code has made."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import itertools
import operator
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.checkpoints.state_dict import read_weights
from tests.builders import each

_ABSENT = "absent_library"
_PLANE = torch.arange(60.0).view(6, 10)
STATE = {
    "conv.weight": _PLANE.t()[2:7, 1:4],  # a view with an offset and strides
    "conv.bias": nn.Parameter(torch.ones(5)),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "empty": torch.empty(0),
    "flag": torch.tensor(True),
}


class _Colour(enum.Enum):
    RED = 1


class _Flag(enum.Flag):
    A = 1
    B = 2


class _List(list[int]):
    """A list of a class of its own."""


class _Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


@dataclass
class _Config:
    path: Path


class _Tensor(torch.Tensor):
    """A tensor of a class of its own."""


class _Calls:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _foreign(name: str, base: type) -> Any:
    """Return an object of a class whose module cannot be imported when the file is read."""
    module = sys.modules.setdefault(_ABSENT, types.ModuleType(_ABSENT))
    made = type(name, (base,), {"__module__": _ABSENT})
    setattr(module, name, made)
    return made()


def _objects() -> dict[str, object]:
    config, node = _foreign("DictConfig", object), _foreign("CfgNode", dict)
    config.parent, config.content = config, {"lr": 0.1}
    node["MODEL"] = node
    return {
        "config": config,
        "enums": [_Colour.RED, _Flag.A | _Flag.B],
        "classes": [
            _Config(Path("/x")),
            _Slots(),
            _List([1, 2]),
            argparse.Namespace(lr=0.1),
            types.SimpleNamespace(a=1),
        ],
        "numpy": [np.float64(0.9), np.arange(3), np.array([1, "a"], dtype=object), np.random.default_rng(1)],
        "library": [datetime.datetime(2024, 1, 1), functools.partial(operator.add, 3), collections.deque([1], 3)],
        "functions": [torch.relu, _Config, len, ValueError("x")],
        "values": [
            {(1, 2): 3},
            {1, 2},
            frozenset([3]),
            b"\xff",
            bytearray(b"x"),
            1j,
            10**400,
            range(3),
            torch.Size([1]),
        ],
        "module": nn.Linear(2, 2),
    }


def _saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    sys.modules.pop(_ABSENT, None)
    return path


def _same(state: dict[str, Tensor]) -> bool:
    return list(state) == list(STATE) and all(
        type(state[key]) is Tensor and state[key].dtype == value.dtype and torch.equal(state[key], value)
        for key, value in STATE.items()
    )


@each("zipped, protocol", itertools.product([True, False], [2, 3, 4, 5]))
def test_weights_next_to_objects_of_any_class_are_read(zipped: bool, protocol: int, tmp_path: Path) -> None:
    content = {"state_dict": STATE, **_objects()}
    path = _saved(tmp_path / "w.pth", content, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    weights = read_weights(path)
    assert _same(weights.state)
    assert f"{_ABSENT}.DictConfig" in weights.objects
    assert _ABSENT not in sys.modules


def test_tensors_and_dicts_of_other_classes_are_read_as_plain_ones(tmp_path: Path) -> None:
    tensors = {key: value.as_subclass(_Tensor) for key, value in STATE.items()}
    assert _same(read_weights(_saved(tmp_path / "w.pth", {"model": tensors, "x": _Slots()})).state)
    state = collections.defaultdict(torch.Tensor, STATE)
    assert _same(read_weights(_saved(tmp_path / "w.pth", {"model": state})).state)


def test_tensors_of_a_dtype_without_a_storage_of_its_own_are_read(tmp_path: Path) -> None:
    unsigned = torch.tensor([0, 1, 65535], dtype=torch.uint16)[1:]
    path = _saved(tmp_path / "w.pth", {"state_dict": {"x": unsigned}, "args": argparse.Namespace()})
    assert torch.equal(read_weights(path).state["x"], unsigned)


def test_a_configuration_under_a_name_of_weights_is_not_taken_for_them(tmp_path: Path) -> None:
    assert _same(
        read_weights(_saved(tmp_path / "w.pth", {"model": _foreign("CfgNode", dict), "model_state_dict": STATE})).state
    )


def test_weights_inside_an_object_need_its_code(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    for content in (module, {"model": module}, {"model": module, "ema": module.state_dict()}, {"net": [module]}):
        path = _saved(tmp_path / "w.pth", content)
        with pytest.raises(CheckpointError, match=r"run code \(torch.nn.modules.linear.Linear\); .* --trust-pickle"):
            read_weights(path)


def test_calls_of_a_file_are_not_made(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for function, *arguments in ((torch.save, 1, str(touched)), (Path.mkdir, touched)):
        for zipped in (True, False):
            content = {"state_dict": STATE, "x": _Calls(function, *arguments)}
            path = _saved(tmp_path / "w.pth", content, _use_new_zipfile_serialization=zipped)
            assert _same(read_weights(path).state)
            assert not touched.exists()
    with path.open("rb") as file:  # A reader that trusts the file makes the call.
        torch.load(file, weights_only=False)
    assert touched.exists()


@each("name", [eval, exec, print, __import__])
def test_functions_that_only_a_hostile_file_names_are_refused(name: Any, tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pth", {"state_dict": STATE, "x": _Calls(name, "1")})
    with pytest.raises(CheckpointError, match=rf"nothing in it was run: .* \(builtins.{name.__name__}\)"):
        read_weights(path)
