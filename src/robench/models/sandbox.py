"""A model file that says itself what is computed, tried in a process of its own before it runs in this one.

Such a program can compute for ever, ask for all memory, or trip over a fault of the library that runs it, and what runs it
cannot be stopped from outside. So another process loads the file and runs it once, within limits (docs/decisions/013).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import torch

from robench import errors
from robench.errors import CheckpointError, RobenchError
from robench.models.formats.base import LoadRequest
from robench.models.memory import physical_memory

__all__ = ["run_in_sandbox", "sandbox_main"]

_SECONDS, _SECONDS_A_BYTE, _MOST_SECONDS = 10.0, 0.25 / 2**20, 600.0
"""Of computing on one core: for loading the file and running it on two images."""
_SLOWER = 10
"""Times longer that it may take on the clock, where other processes compute too; and a minute for starting."""
_BASE, _BYTES_A_BYTE = 6 * 2**30, 6
"""Bytes of memory that any model may take, and more for each byte of its file: libraries hold several copies while they load."""
_TRUSTED = "if you trust whoever made it, --trust-pickle runs it without this trial"
# -P: nothing is imported from the current folder, but for what this process would import from there itself.
_PROGRAM = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task["path"]
from robench.models.sandbox import answer
answer(task)
"""


def run_in_sandbox(request: LoadRequest, given: Mapping[str, object]) -> None:
    """Load and run a model file as `loader.load_untried` does, in another process; given: numbers, and lists of them.

    Raises what that raises there, and CheckpointError where it takes too long, or too much memory, or ends the process.
    """
    path, size = request.path, _size(request.path)
    seconds = min(_MOST_SECONDS, _SECONDS + _SECONDS_A_BYTE * size)
    memory = min(physical_memory(), _BASE + _BYTES_A_BYTE * size)
    task = {
        "path": list(map(str, sys.path)),
        "model": str(path),
        "arch": request.arch,
        "device": str(request.device),
        "given": given,
        "seconds": int(seconds),
        # What a GPU's driver reserves counts as memory too, many times what there is.
        "memory": memory if request.device.type == "cpu" else None,
    }
    command = [sys.executable, "-P", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(task, default=lambda number: number.item()).encode(),
            capture_output=True,
            timeout=60 + _SLOWER * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _endless(path, seconds) from error
    if done.returncode < 0:
        raise _ended(path, -done.returncode, seconds)
    if done.returncode:
        # A fault of this program, and its traceback is what tells.
        raise RuntimeError(f"the trial of {path} failed: {done.stderr.decode(errors='replace')}")
    said = json.loads(done.stdout)
    if said:
        raised: RobenchError = getattr(errors, said["error"])(said["text"])
        raise raised


def _size(path: Path) -> int:
    """Bytes of a file and of those beside it that its name begins, as those of external data do."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{escape(path.stem)}*") if one.is_file())


def _endless(path: Path, seconds: float) -> CheckpointError:
    return CheckpointError(
        f"{path} was stopped: it computes for more than {seconds:.0f} s on a few images (a loop without end?); {_TRUSTED}"
    )


def _ended(path: Path, number: int, seconds: float) -> CheckpointError:
    if number == getattr(signal, "SIGXCPU", None):
        return _endless(path, seconds)
    return CheckpointError(
        f"{path} cannot be run: it ended the process that tried it ({signal.Signals(number).name}); "
        "is it damaged, or too large for the memory here?"
    )


def sandbox_main(task: Mapping[str, Any]) -> None:
    """In the other process: load and run the model within the limits, and write to stdout which error of `errors` came of it."""
    # What libraries print is no part of the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    from robench.models.loader import load_model

    # On one core, so that seconds mean the same on every machine.
    torch.set_num_threads(1)
    _limit(task["seconds"], task["memory"])
    path, said = Path(task["model"]), {}
    try:
        load_model(path, LoadRequest(path, task["arch"], torch.device(task["device"])), task["given"])
    except RobenchError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    except MemoryError:
        said = {"error": "CheckpointError", "text": f"{path} does not load: it asks for more memory than there is"}
    if said and task["memory"] and said["text"].endswith("more memory than there is"):
        said["text"] += f" (it was given {task['memory'] / 2**30:.1f} GiB; {_TRUSTED})"
    os.write(out, json.dumps(said).encode())
    os._exit(0)  # what the libraries would do at the end is of no use


def _limit(seconds: int, memory: int | None) -> None:
    """Let the system end this process after `seconds` more of computing, and give it no more than `memory` bytes."""
    try:
        import resource
    except ImportError:
        return  # Windows: the clock of the process that waits is the only limit
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, until)
    if memory is not None:
        _lower(resource.RLIMIT_DATA, memory)


def _lower(which: int, value: int) -> None:
    import resource

    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, most))
