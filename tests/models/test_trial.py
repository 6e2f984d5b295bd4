"""Models that compute for ever or take all memory: refused in one line, in seconds. The oracle is that this process goes on."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.damage import images, rewritten, small
from robench.errors import CheckpointError, OptionError
from robench.models import load_classifier, sandbox
from robench.models.formats import torch_export
from robench.models.formats.base import LoadRequest

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
]

LONG = 60.0
"""Seconds that starting a process and its limit of a second may take on a machine that does much else."""


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        count = 0
        while count >= 0:
            count = (count + 1) % 1000
        return x.mean((2, 3)) + count


class Ranges(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        count = 0
        for number in range(9223372036854775807):
            count += number % 7
        return x.mean((2, 3)) + count


class Doubles(nn.Module):
    """No loop without end, and more than any memory."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(40):
            x = torch.cat([x, x], 3)
        return x.mean((2, 3))


class OnLoading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]  # type: ignore[assignment]
        self.training = state[1]
        count = 0
        while count >= 0:
            count = (count + 1) % 1000

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.weight


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of one second, and of one GiB."""
    monkeypatch.setattr(sandbox, "_SECONDS", 1.0)
    monkeypatch.setattr(sandbox, "_BASE", 2**30)


def refusal(path: Path) -> str:
    begun = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load_classifier(path, device="cpu", crop=8)
    assert time.monotonic() - begun < LONG
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "kind", [Endless, pytest.param(Ranges, marks=pytest.mark.slow), pytest.param(OnLoading, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("short")
def test_torchscript_without_an_end_is_stopped(tmp_path: Path, kind: type[nn.Module]) -> None:
    torch.jit.save(torch.jit.script(kind()), str(tmp_path / "endless.pt"))
    assert "computes for more than 1 s" in refusal(tmp_path / "endless.pt")


@pytest.mark.usefixtures("short")
def test_torchscript_of_all_memory_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Doubles()), str(tmp_path / "doubles.pt"))
    assert "more memory than there is (it was given 1.0 GiB" in refusal(tmp_path / "doubles.pt")


def onnx_file(path: Path, nodes: Callable[[Any], list[Any]], **constants: Any) -> Path:
    """Save a graph whose output `y` is the mean of the image plus `added`, which `nodes` make."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    last = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        helper.make_node("Add", ["m", "added"], ["y"]),
    ]
    values = {"axes": [2, 3], **constants}
    graph = helper.make_graph(
        [*nodes(helper), *last],
        "g",
        [helper.make_tensor_value_info("x", number, ("b", 3, 8, 8))],
        [helper.make_tensor_value_info("y", number, ("b", "c"))],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def loop(helper: Any) -> list[Any]:
    kinds = {"number": 7, "go": 9, "value": 1}  # of onnx.TensorProto: int64, bool, float
    inputs = [helper.make_tensor_value_info(name, kind, ()) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(name, kind, ()) for name, kind in (("still", 9), ("more", 1))]
    steps = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Add", ["value", "value"], ["more"])]
    body = helper.make_graph(steps, "body", inputs, outputs)
    return [helper.make_node("Loop", ["count", "yes", "zero"], ["added"], body=body)]


@pytest.mark.usefixtures("short")
def test_an_onnx_loop_without_an_end_is_stopped(tmp_path: Path) -> None:
    zero = np.float32(0)
    path = onnx_file(tmp_path / "loop.onnx", loop, count=np.int64(2**62), yes=True, zero=zero)
    assert "computes for more than 1 s" in refusal(path)


def summed(kind: str, *inputs: str) -> Callable[[Any], list[Any]]:
    return lambda helper: [
        helper.make_node(kind, list(inputs), ["many"]),
        helper.make_node("ReduceSum", ["many"], ["added"], keepdims=0),
    ]


BOMBS: dict[str, tuple[Callable[[Any], list[Any]], dict[str, Any]]] = {
    "ConstantOfShape": (summed("ConstantOfShape", "shape"), {"shape": [2**30]}),
    "Expand": (summed("Expand", "one", "shape"), {"one": np.float32(1), "shape": [2**30]}),
    "Tile": (summed("Tile", "x", "shape"), {"shape": [1, 1, 2**12, 2**11]}),
    "Range": (summed("Range", "from", "to", "one"), {"from": np.float32(0), "to": np.float32(2**30), "one": np.float32(1)}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.usefixtures("short")
def test_an_onnx_tensor_of_all_memory_is_refused(tmp_path: Path, kind: str) -> None:
    nodes, constants = BOMBS[kind]
    # onnxruntime has a limit of its own for Tile.
    assert ("bytes" if kind == "Tile" else "it was given 1.0 GiB") in refusal(
        onnx_file(tmp_path / "bomb.onnx", nodes, **constants)
    )


def calculated(path: Path, calls: list[tuple[str, Any, Any]]) -> Path:
    """Save a program that also computes `calls` of two arguments, which are numbers, lists, or places of earlier calls as text."""
    program = torch.export.export(small(), (images(side=8),))
    torch.export.save(program, str(path.with_suffix(".source")))

    def argument(value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return {"as_sym_int": {"as_name": value}}
        return {"as_ints": value} if isinstance(value, list) else {"as_int": value}

    def changed(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        content_of = json.loads(content)
        content_of["graph_module"]["graph"]["nodes"] += [
            {
                "target": f"_operator.{target}",
                "inputs": [{"name": "ab"[place], "arg": argument(value)} for place, value in enumerate(values)],
                "outputs": [{"as_sym_int": {"as_name": f"n{number}"}}],
            }
            for number, (target, *values) in enumerate(calls)
        ]
        return json.dumps(content_of).encode()

    return rewritten(path.with_suffix(".source"), path, changed)


SUMS: dict[str, list[tuple[str, Any, Any]]] = {
    "pow": [("pow", 10, 10**10)],
    "lshift": [("lshift", 1, 10**12)],
    "mul": [("mul", 2**62, 2**62)] + [("mul", f"n{number}", f"n{number}") for number in range(40)],
    "a list": [("mul", [1], 10**12)],
}


@pytest.mark.parametrize("name", SUMS)
def test_arithmetic_of_graphs_ends_at_64_bits(tmp_path: Path, name: str) -> None:
    loaded = torch_export.load(LoadRequest(calculated(tmp_path / "sums.pt2", SUMS[name]), None, torch.device("cpu")))
    with pytest.raises(ArithmeticError, match=r"64 bits|than numbers"):
        loaded.module(images(side=8))


def test_arithmetic_within_64_bits_is_pythons(tmp_path: Path) -> None:
    calls: list[tuple[str, Any, Any]] = [
        ("pow", 3, 39),
        ("lshift", 1, 62),
        ("mul", 3037000499, 3037000499),
        ("mod", -7, 3),
    ]
    loaded = torch_export.load(LoadRequest(calculated(tmp_path / "sums.pt2", calls), None, torch.device("cpu")))
    loaded.module(images(side=8))
    from robench.models.formats.export_arithmetic import ARITHMETIC

    for name, first, second in [*calls, ("pow", 2, -3), ("pow", 1, 10**9), ("truediv", 1, 3)]:
        expected = {
            "pow": first**second if abs(second) < 50 else 1,
            "lshift": first << max(second, 0) % 64,
            "mul": first * second,
        }
        expected |= {"mod": first % second, "truediv": first / second}
        assert ARITHMETIC[f"_operator.{name}"](first, second) == expected[name]


def scripted(path: Path) -> Path:
    torch.jit.save(torch.jit.script(small()), str(path))
    return path


def test_what_ends_passes_and_its_errors_arrive(tmp_path: Path) -> None:
    path = scripted(tmp_path / "small.pt")
    half = np.full(3, 0.5, np.float32)  # numbers of any library
    classifier = load_classifier(path, device="cpu", crop=np.int64(32), mean=half.tolist(), std=torch.tensor(half))  # type: ignore[arg-type]
    assert torch.allclose(classifier.module(images()), small()(images()), atol=1e-5)  # in another memory layout
    with pytest.raises(OptionError, match="unknown interpolation"):
        load_classifier(path, device="cpu", interpolation="none")
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("small/code/lib.so", b"x")
    assert "writes no file" in refusal(path)


@pytest.mark.usefixtures("short")
def test_trust_does_without_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PROGRAM", "raise SystemExit(3)")
    path = scripted(tmp_path / "small.pt")
    assert load_classifier(path, device="cpu", trust_pickle=True).classes == 5
    with pytest.raises(RuntimeError, match="the trial of"):
        load_classifier(path, device="cpu")


@pytest.mark.usefixtures("short")
def test_a_crash_is_another_process_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PROGRAM", "import os; os.abort()")
    assert "ended the process that tried it (SIGABRT)" in refusal(scripted(tmp_path / "small.pt"))


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = scripted(tmp_path / "small.pt")
    monkeypatch.chdir(tmp_path)
    load_classifier(path, device="cpu", crop=32)
    assert not (tmp_path / "ran").exists()
