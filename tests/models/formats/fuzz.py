"""Mutated model files through their readers: `python -m tests.models.formats.fuzz [INPUTS]`.

Archives are mutated within a member, whose checksum is then right. Every model that loads also runs. An input that crashes the
process, or takes more than 5 s, counts only where `load_classifier`, which tries such files in another process first, has no line
for it. Prints how many inputs there were and how many crashed, hung or ran a payload; exits with 1 if any did.
"""

from __future__ import annotations

import io
import pickle
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from robench.errors import RobenchError
from robench.models import load_classifier
from robench.models.formats.base import LoadRequest
from robench.models.loader import load_model
from tests.datasets import fuzz, layouts
from tests.datasets.fuzz import Operation, mutate

_SIDE = 8
_ARCH = "zoo:cifar_resnet8"
_MOST = 4 * 2**30
"""Bytes of memory for a process that reads mutated files."""


@dataclass(frozen=True)
class Seed:
    """A valid or hostile file; ran: the file that its payload makes."""

    name: str
    make: Callable[[Path], bytes]
    arch: str | None = None


def _small() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(16, 5))
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head).eval()


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(Path(folder) / "small.bin")
        return (Path(folder) / "small.bin").read_bytes()


def _scripted(_: Path) -> bytes:
    script: nn.Module = torch.jit.script(_small())
    extra = {"config.txt": '{"names": {"0": "ant", "1": "bee", "2": "cow", "3": "dog", "4": "eel"}}'}
    return _written(lambda path: torch.jit.save(script, str(path), _extra_files=extra))


def _traced(_: Path) -> bytes:
    images = torch.zeros(2, 3, _SIDE, _SIDE)
    trace: nn.Module = torch.jit.trace(_small(), images)
    return _written(lambda path: torch.jit.save(trace, str(path)))


def _exported(_: Path) -> bytes:
    shapes = ({0: torch.export.Dim("b", min=1, max=64)},)
    program = torch.export.export(_small(), (torch.zeros(2, 3, _SIDE, _SIDE),), dynamic_shapes=shapes)

    def write(path: Path) -> None:
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        path.write_bytes(buffer.getvalue())

    return _written(write)


class _Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = _small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.net((x.float() / 255 - 0.5) / 0.25)
        return result


def _normalised(_: Path) -> bytes:
    pixels = torch.zeros(2, 3, _SIDE, _SIDE, dtype=torch.uint8)
    return _written(lambda path: torch.onnx.export(_Normalised(), (pixels,), str(path), dynamo=False))


def _onnx(_: Path) -> bytes:
    options: dict[str, Any] = {
        "input_names": ["x"],
        "output_names": ["y"],
        "dynamic_axes": {"x": {0: "b"}, "y": {0: "b"}},
    }
    images = torch.zeros(2, 3, _SIDE, _SIDE)
    return _written(lambda path: torch.onnx.export(_small(), (images,), str(path), dynamo=False, **options))


def _state(zipped: bool) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        from robench.models.architectures import build_architecture

        with torch.random.fork_rng(devices=[]):
            state = build_architecture(_ARCH)[0].state_dict()
        content = {"state_dict": state, "meta": {"CLASSES": ("ant", "bee")}} if zipped else state
        return _written(lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped))

    return make


def _safetensors(_: Path) -> bytes:
    state = torch.load(io.BytesIO(_state(False)(_)), weights_only=True)
    return _written(lambda path: save_file(state, path, {"names": "{0: 'ant', 1: 'bee'}"}))


def _payload(zipped: bool) -> Callable[[Path], bytes]:
    def make(ran: Path) -> bytes:
        content = {"state_dict": {"weight": torch.ones(3)}, "more": layouts.Payload(ran)}
        return _written(lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped))

    return make


class _Configuration:
    """An object of a class that no reader imports; its pickle also asks for a call that makes a file."""

    def __init__(self, ran: Path) -> None:
        self.call, self.self = _Call(ran), self


class _Call:
    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.ran,)


def _objects(zipped: bool) -> Callable[[Path], bytes]:
    """A training script's file: pruned weights behind prefixes, with objects of other classes."""

    def make(ran: Path) -> bytes:
        from robench.models.architectures import build_architecture

        with torch.random.fork_rng(devices=[]):
            state = build_architecture(_ARCH)[0].state_dict()
        state |= {"conv1.weight_orig": state.pop("conv1.weight"), "conv1.weight_mask": torch.ones(16, 3, 3, 3)}
        state = {f"module.{'head' if key.startswith('linear') else 'trunk.module'}.{key}": state[key] for key in state}
        content = {
            "state_dict": state,
            "config": _Configuration(ran),
            "values": [np.arange(3), {1, 2}, Path("x"), b"x"],
        }
        return _written(lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped))

    return make


SEEDS: tuple[Seed, ...] = (
    Seed("scripted.pt", _scripted),
    Seed("traced.pt", _traced),
    Seed("exported.pt2", _exported),
    Seed("model.onnx", _onnx),
    Seed("normalised.onnx", _normalised),
    Seed("state.pth", _state(True), _ARCH),
    Seed("legacy.pth", _state(False), _ARCH),
    Seed("model.safetensors", _safetensors, _ARCH),
    Seed("payload.pt", _payload(True), _ARCH),
    Seed("legacy payload.pth", _payload(False), _ARCH),
    Seed("objects.pth", _objects(True), _ARCH),
    Seed("legacy objects.pth", _objects(False), _ARCH),
    Seed("payload.pkl", lambda ran: pickle.dumps(layouts.Payload(ran), 2), _ARCH),
)


@cache
def _content(number: int, ran: Path) -> bytes:
    return SEEDS[number].make(ran)


def draw(number: int) -> tuple[int, float | None, list[Operation]]:
    """Input of a run, the same for a number on every machine: which seed, which member of an archive, what to do to it."""
    member = random.Random(-number - 1).random()
    return number % len(SEEDS), member if member < 0.9 else None, fuzz.draw(number)[1]


def mutated(content: bytes, member: float | None, operations: Sequence[Operation]) -> bytes:
    """A file with one member changed, and its checksum with it; of no archive, or where no member is meant, the file itself."""
    if member is None or not content.startswith(b"PK"):
        return mutate(content, operations)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as changed:
        # What describes the model is few bytes, and its weights are many.
        listed = sorted(source.infolist(), key=lambda info: "data/" in info.filename)
        chosen = listed[int(member**2 * len(listed))]
        for info in source.infolist():
            read = source.read(info)
            changed.writestr(info, mutate(read, operations) if info is chosen else read, zipfile.ZIP_STORED)
    return target.getvalue()


def written(number: int, folder: Path, ran: Path) -> tuple[Path, str | None]:
    """Write an input, and return its path and the architecture to give with it."""
    seed, member, operations = draw(number)
    path = folder / SEEDS[seed].name
    path.write_bytes(mutated(_content(seed, ran), member, operations))
    return path, SEEDS[seed].arch


def attempt(number: int, folder: Path, ran: Path) -> str:
    """Load and run an input without another process: "model" or "refused"; whatever else happens is for `again`."""
    path, arch = written(number, folder, ran)
    try:
        load_model(path, LoadRequest(path, arch, torch.device("cpu")), {"crop": _SIDE})
    except RobenchError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return "refused"
    return "model"


def again(number: int) -> str:
    """Try what crashed or hung as users do: "stopped" where that is one line."""
    with tempfile.TemporaryDirectory() as folder:
        path, arch = written(number, Path(folder), Path(folder) / "ran")
        try:
            load_classifier(path, arch, "cpu", crop=_SIDE)
        except RobenchError as error:
            return "more than one line" if "\n" in str(error) else "stopped"
        except Exception:  # noqa: BLE001 - whatever escapes from a reader is what is looked for
            traceback.print_exc()
    return "not stopped"


def work(connection: Connection, first: int, last: int, ran: str) -> None:
    """Try inputs in this process, and send the outcome of each."""
    _limit_memory()
    torch.set_num_threads(1)
    for seed in range(len(SEEDS)):
        _content(seed, Path(ran))  # so that the time of an input is that of reading it
    for number in range(first, last):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = attempt(number, Path(folder), Path(ran))
            except BaseException:  # noqa: BLE001 - whatever escapes from a reader is what is looked for
                outcome = f"crash\n{traceback.format_exc()}"
        if Path(ran).exists():
            Path(ran).unlink()
            outcome = "payload"
        connection.send(outcome)
    connection.close()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def main() -> int:
    """Run as many inputs as the first argument says."""
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    began = time.monotonic()
    found = fuzz.run(
        inputs, int(sys.argv[2]) if len(sys.argv) > 2 else 0, work, lambda number: SEEDS[draw(number)[0]].name, again
    )
    crashes, hangs, payloads = found["crash"] + found["died"], found["hang"], found["payload"]
    print(f"inputs {sum(found.values())}, seeds {len(SEEDS)}, {time.monotonic() - began:.0f} s")
    print(", ".join(f"{name} {found[name]}" for name in ("model", "refused", "stopped")))
    print(f"crashes {crashes}, hangs {hangs}, executed payloads {payloads}")
    return 1 if crashes or hangs or payloads else 0


if __name__ == "__main__":
    sys.exit(main())
