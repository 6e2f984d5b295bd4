"""Load a model file of an unknown source in another process, within limits, before this process loads it.

Such a file can compute endlessly, allocate all memory, or crash the library that runs it, and nothing can stop the library from outside.
The cache remembers a file that passed, so that it is tried once. See docs/decisions/013.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from robench import errors
from robench.errors import CheckpointError, RobenchError
from robench.models.formats.base import LARGE_CONFIG_HINT, OPEN_CLIP_CONFIG, LoadRequest
from robench.models.memory import OUT_OF_MEMORY, physical_memory
from robench.runs.files import cache_folder

__all__ = ["run_in_sandbox", "sandbox_main"]

_SECONDS, _SECONDS_PER_BYTE, _MAX_SECONDS = 10.0, 0.25 / 2**20, 600.0
"""Limit of processor time on one core, to load a file and to run it on two images."""
_SLOWDOWN, _START_SECONDS = 10, 60
"""The wall clock may take this many times the processor time, plus the time to start."""
_BASE, _MEMORY_PER_BYTE = 6 * 2**30, 6
"""Memory for any model in bytes, and more for each byte of its file, because libraries hold several copies while they load."""
_PASSED = "passed"
"""Folder of the cache with an empty file for each trial that passed; an empty file is never half written."""
_LIBRARIES = (
    "robench",
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "transformers",
    "timm",
    "open_clip_torch",
)
_TRUST = "if you trust its source, --trust-pickle loads it without limits"
_ENDLESS_HINT = f"it may hold an endless loop; {_TRUST}"
# -P keeps imports out of the current folder, unless this process imports from there too.
_PROGRAM = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task["path"]
from robench.models.sandbox import sandbox_main
sandbox_main(task)
"""


def run_in_sandbox(request: LoadRequest, overrides: Mapping[str, object]) -> None:
    """Load and run a model as `loader.load_model` does, but in another process, unless the same bytes have passed before.

    Args:
        request: The model and the bytes to try.
        overrides: Parts of the preprocessing, as numbers and lists of numbers.

    Raises:
        CheckpointError: The process took too long or too much memory, or it crashed.
        RobenchError: The error that `loader.load_model` raised in the process.
    """
    path, is_folder = request.path, request.path.is_dir()
    size = _size(path)
    seconds = min(_MAX_SECONDS, _SECONDS + _SECONDS_PER_BYTE * size)
    memory = min(physical_memory(), _BASE + _MEMORY_PER_BYTE * size)
    # Libraries build the networks of folders on the CPU, where the limit of memory holds.
    device = "cpu" if is_folder else str(request.device)
    task: dict[str, object] = {
        "sha256": hashlib.sha256(request.read()).hexdigest(),
        "arch": request.arch,
        "is_backbone": request.is_backbone,
        "device": device,
        "overrides": overrides,
        "seconds": int(seconds),
        # The driver of a GPU reserves many times the memory that exists, and that counts as memory too.
        "memory": memory if device == "cpu" else None,
    }
    verdict = _verdict(task)
    if request.arch is None and _is_remembered(verdict):  # --arch takes the preprocessing from code outside of the file
        return
    task |= {"path": list(map(str, sys.path)), "model": str(path)}
    command = [sys.executable, "-P", "-c", _PROGRAM]
    stopped = CheckpointError(
        f"{path} computes for more than {seconds:.0f} s on a few images",
        f"{LARGE_CONFIG_HINT}; {_TRUST}" if is_folder else _ENDLESS_HINT,
    )
    try:
        process = subprocess.run(
            command,
            input=_json(task),
            capture_output=True,
            timeout=_START_SECONDS + _SLOWDOWN * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise stopped from error
    name = signal.Signals(-process.returncode).name if process.returncode < 0 else ""
    if name == "SIGXCPU":
        raise stopped
    if name:
        raise CheckpointError(
            f"{path} cannot be run because it crashed the sandbox process ({name})",
            "check that it is not damaged and that it fits in memory",
        )
    if process.returncode:
        # A bug of robench, which the traceback explains.
        raise RuntimeError(f"the sandbox failed on {path}: {process.stderr.decode(errors='replace')}")
    answer = json.loads(process.stdout)
    if "error" in answer:
        raised: RobenchError = getattr(errors, answer["error"])(answer["problem"], answer["hint"])
        raise raised
    if answer["sha256"] == task["sha256"]:  # A model that also read other files has another hash.
        _remember(verdict)


def _json(task: Mapping[str, object]) -> bytes:
    return json.dumps(task, default=lambda number: number.item(), sort_keys=True).encode()


def _verdict(task: Mapping[str, object]) -> str:
    """Return the name of the file that records a passed trial: a hash of everything that the trial depends on."""
    versions = {"python": sys.version, "machine": platform.machine(), **{name: _version(name) for name in _LIBRARIES}}
    return hashlib.sha256(_json({**task, **versions})).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_remembered(verdict: str) -> bool:
    with suppress(OSError, RuntimeError):
        return (cache_folder() / _PASSED / verdict).is_file()
    return False


def _remember(verdict: str) -> None:
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder.
        file = cache_folder() / _PASSED / verdict
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def _size(path: Path) -> int:
    """Return the bytes of a folder's files, or of a file and of the files whose names begin with its name, such as external data."""
    files = path.iterdir() if path.is_dir() else path.parent.glob(f"{escape(path.stem)}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def sandbox_main(task: Mapping[str, Any]) -> None:
    """Load and run the model of a task within its limits, and write the outcome to stdout as JSON; runs in the other process.

    Args:
        task: Entries of `run_in_sandbox`.
    """
    # Libraries may print; the answer alone goes to stdout.
    stdout = os.dup(1)
    os.dup2(2, 1)
    from robench.models.loader import load_model

    path = Path(task["model"])
    if path.is_dir():
        with suppress(ImportError):  # Imports do not count against the limits.
            import timm  # noqa: F401
            import transformers.modeling_utils  # noqa: F401

            if (path / OPEN_CLIP_CONFIG).is_file():
                import open_clip  # noqa: F401
    # On one core, so that a second of processor time means the same on every machine.
    torch.set_num_threads(1)
    _limit(task["seconds"], task["memory"])
    try:
        request = LoadRequest(path, task["arch"], torch.device(task["device"]), is_backbone=task["is_backbone"])
        request = replace(request, content=request.read())
        sha256 = hashlib.sha256(request.read()).hexdigest()
        if sha256 != task["sha256"]:
            raise CheckpointError(f"{path} changed while it was read", "give the command again")
        classifier = load_model(path, request, task["overrides"])
        answer = {"sha256": sha256 if path.is_dir() else classifier.sha256}
    except (RobenchError, MemoryError) as error:
        answer = _failure(
            error
            if isinstance(error, RobenchError)
            else CheckpointError(f"{path} {OUT_OF_MEMORY}", "use a machine with more memory"),
            task["memory"],
        )
    os.write(stdout, json.dumps(answer).encode())
    os._exit(0)  # Skip the clean-up of the libraries.


def _failure(error: RobenchError, memory: int | None) -> dict[str, str]:
    """Return the parts of an error; a lack of memory also names the limit."""
    problem, hint = error.problem, error.hint
    if memory and problem.endswith(OUT_OF_MEMORY):
        problem, hint = f"{problem} (it was given {memory / 2**30:.1f} GiB)", hint or _TRUST
    return {"error": type(error).__name__, "problem": problem, "hint": hint}


def _limit(seconds: int, memory: int | None) -> None:
    """Let the system end this process after more `seconds` of computing, and deny it more than `memory` bytes."""
    try:
        import resource
    except ImportError:
        return  # Windows: the clock of the waiting process is the only limit.
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + 1 + seconds}
    if memory is not None:
        limits[resource.RLIMIT_DATA] = memory
    for limit, value in limits.items():
        _, largest = resource.getrlimit(limit)
        value = value if largest == resource.RLIM_INFINITY else min(value, largest)
        resource.setrlimit(limit, (value, largest))
