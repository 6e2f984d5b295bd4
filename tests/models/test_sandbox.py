"""Models that compute for ever or take all memory: refused in one line, in seconds. The oracle is that this process goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, OptionError
from robench.models import load_classifier, sandbox
from robench.models.formats import torch_export
from robench.models.formats.base import LoadRequest
from tests.models.damage import images, rewritten, small

pytestmark = [
    pytest.mark.sandbox,
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


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that passed in another test is tried again."""
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


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


@pytest.mark.slow
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
    assert "needs more memory than is available (it was given 1.0 GiB" in refusal(tmp_path / "doubles.pt")


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


@pytest.mark.slow
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


def scripted(path: Path, classes: int = 5) -> Path:
    torch.jit.save(torch.jit.script(small(classes)), str(path))
    return path


def test_what_ends_passes_and_its_errors_arrive(tmp_path: Path) -> None:
    path = scripted(tmp_path / "small.pt")
    half = np.full(3, 0.5, np.float32)  # numbers of any library
    classifier = load_classifier(path, device="cpu", crop=np.int64(32), mean=half.tolist(), std=torch.tensor(half))  # type: ignore[arg-type]
    assert torch.allclose(classifier.module(images()), small()(images()), atol=1e-5)  # in another memory layout
    with pytest.raises(OptionError, match="unknown interpolation"):
        load_classifier(path, device="cpu", interpolation="none")


@pytest.mark.usefixtures("short")
def test_trust_does_without_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PROGRAM", "raise SystemExit(3)")
    path = scripted(tmp_path / "small.pt")
    assert load_classifier(path, device="cpu", trust_pickle=True).classes == 5
    with pytest.raises(RuntimeError, match="the sandbox failed on"):
        load_classifier(path, device="cpu")


@pytest.mark.usefixtures("short")
def test_a_crash_is_another_process_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PROGRAM", "import os; os.abort()")
    assert "crashed the sandbox process (SIGABRT)" in refusal(scripted(tmp_path / "small.pt"))


OTHERS: dict[str, Callable[[pytest.MonkeyPatch, Path], object]] = {
    "bytes": lambda _, path: scripted(path, classes=6),
    "limit": lambda patch, _: patch.setattr(sandbox, "_SECONDS", 99.0),
    "library": lambda patch, _: patch.setattr(sandbox, "version", lambda name: f"{name} 0"),
}


class Trials:
    """Trials that cost nothing: another program, which says what the test wants and counts how often it runs."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._log, self._patch = folder / "trials", patch
        self.say("{'sha256': task['sha256']}")

    def say(self, answer: str, first: str = "") -> None:
        """answer: an expression of the task.  first: a statement to run before."""
        program = f"import json, sys\ntask = json.load(sys.stdin)\nopen({str(self._log)!r}, 'a').write('.')\n{first}\n"
        self._patch.setattr(sandbox, "_PROGRAM", f"{program}print(json.dumps({answer}))")

    def count(self) -> int:
        return len(self._log.read_text()) if self._log.exists() else 0


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path, monkeypatch)


def test_a_file_that_passed_is_not_tried_again_under_any_name(tmp_path: Path, trials: Trials) -> None:
    path = scripted(tmp_path / "small.pt")
    for one in (path, path, shutil.copy(path, tmp_path / "copy.pt")):
        load_classifier(one, device="cpu", crop=32)
    assert trials.count() == 1


@pytest.mark.parametrize("other", [*OTHERS, "option"])
def test_another_file_option_limit_or_library_is_tried(
    tmp_path: Path, trials: Trials, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    path = scripted(tmp_path / "small.pt")
    load_classifier(path, device="cpu", crop=32)
    if other in OTHERS:
        OTHERS[other](monkeypatch, path)
    load_classifier(path, device="cpu", crop=16 if other == "option" else 32)
    assert trials.count() == 2


def test_refusals_and_files_that_read_others_are_tried_every_time(tmp_path: Path, trials: Trials) -> None:
    path = scripted(tmp_path / "small.pt")
    trials.say("{'error': 'CheckpointError', 'problem': 'no', 'hint': 'try'}")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"^no; try$"):
            load_classifier(path, device="cpu", crop=32)
    trials.say("{'sha256': 'of several files'}")
    for _ in range(2):
        load_classifier(path, device="cpu", crop=32)
    assert trials.count() == 4


def test_with_an_architecture_of_other_code_it_is_tried_every_time(tmp_path: Path, trials: Trials) -> None:
    for _ in range(2):
        load_classifier(scripted(tmp_path / "small.pt"), "zoo:cifar_resnet8", device="cpu")
    assert trials.count() == 2


def exported_program(path: Path, classes: int = 5) -> Path:
    torch.export.save(torch.export.export(small(classes), (images(),)), str(path))
    return path


@pytest.mark.parametrize("make", [scripted, exported_program])
def test_what_passed_is_what_is_loaded_though_the_file_changes(
    tmp_path: Path, trials: Trials, make: Callable[..., Path]
) -> None:
    path, other = make(tmp_path / "small.pt2"), make(tmp_path / "other.pt2", classes=6)
    digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in (path, other)]
    trials.say("{'sha256': task['sha256']}", first=f"import os; os.replace({str(other)!r}, {str(path)!r})")
    loaded = load_classifier(path, device="cpu", crop=32)
    assert (loaded.sha256, loaded.classes) == (digests[0], 5)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digests[1]


def test_a_file_that_changes_before_its_trial_is_refused(tmp_path: Path) -> None:
    path = scripted(tmp_path / "small.pt")
    request = LoadRequest(path, None, torch.device("cpu"), content=path.read_bytes())
    scripted(path, classes=6)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        sandbox.run_in_sandbox(request, {"crop": 32})


@pytest.mark.parametrize("damage", ["too long a name", "a file for the folder", "a folder for the file"])
def test_a_cache_that_keeps_nothing_is_no_error(
    tmp_path: Path, trials: Trials, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache = tmp_path / ("a" * 300 if damage == "too long a name" else "broken")
    path = scripted(tmp_path / "small.pt")
    monkeypatch.setenv("ROBENCH_CACHE", str(cache))
    match damage:
        case "a file for the folder":
            cache.mkdir()
            (cache / "passed").touch()
        case "a folder for the file":
            load_classifier(path, device="cpu", crop=32)
            (passed,) = (cache / "passed").iterdir()
            passed.unlink()
            passed.mkdir()
    before = trials.count()
    for _ in range(2):
        load_classifier(path, device="cpu", crop=32)
    assert trials.count() == before + 2


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = scripted(tmp_path / "small.pt")
    monkeypatch.chdir(tmp_path)
    load_classifier(path, device="cpu", crop=32)
    assert not (tmp_path / "ran").exists()
