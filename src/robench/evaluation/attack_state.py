"""Unfinished attacks on a batch, on disk, so that a killed run continues in the middle of them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from robench.runs.files import atomic_write, translate_os_errors

__all__ = ["FOLDER", "AttackState", "state_path"]

FOLDER = "attacks"
"""Folder of the states in a run directory, until the records of a batch are written."""

_SECONDS = 10.0
"""Least time between two writes."""


def state_path(folder: Path, condition: str, sample: int) -> Path:
    """Return the file of the batch that begins with a sample."""
    return folder / f"{condition}-{sample}.safetensors"


@dataclass
class AttackState:
    """The progress of the attacks on one batch.

    Attributes:
        path: The file; None to keep nothing.
        key: Everything that the progress depends on besides the identity of the run. A file with another key is not read.
        frames: Logits of the batch after each finished attack, (b, classes) each.
        logits: Logits after the finished runs of the current attack; None before the first one.
        runs: Number of these runs.
    """

    path: Path | None
    key: str
    frames: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None
    runs: int = 0
    _written: float = field(default_factory=time.monotonic)

    def read(self, device: torch.device) -> None:
        """Read the progress of an earlier process; a damaged file has none."""
        if self.path is None:
            return
        with suppress(SafetensorError, OSError, ValueError, KeyError), safe_open(self.path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("key") == self.key:
                count = int(facts["frames"])
                frames = [file.get_tensor(f"frame{number}").to(device) for number in range(count)]
                current = file.get_tensor("current").to(device) if int(facts["runs"]) else None
                self.frames, self.logits, self.runs = frames, current, int(facts["runs"])

    def after_run(self, logits: Tensor) -> None:
        """Add a run of the current attack, and write the progress if the last time is long ago."""
        self.logits, self.runs = logits, self.runs + 1
        if self.path is not None and time.monotonic() - self._written >= _SECONDS:
            tensors = {f"frame{number}": frame for number, frame in enumerate(self.frames)} | {"current": logits}
            facts = {"key": self.key, "frames": str(len(self.frames)), "runs": str(self.runs)}
            content = save({name: one.cpu().contiguous() for name, one in tensors.items()}, facts)
            with translate_os_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self.path, lambda file: file.write(content))
            self._written = time.monotonic()

    def after_attack(self, logits: Tensor) -> None:
        """Add the current attack to the finished ones."""
        self.frames.append(logits)
        self.logits, self.runs = None, 0
