"""What the loader of a format is asked for, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from robench.models.preprocessing import Preprocessing

__all__ = ["IN_TRAINING", "LoadRequest", "LoadedModel", "ModelFormat"]

IN_TRAINING = "the model was exported in training mode: dropout or batch statistics act as in training; export it after model.eval()"
"""What to note of a file that says so, and that no model.eval() here can mend."""


@dataclass(frozen=True)
class LoadRequest:
    """One model that the user named.

    arch: `family:name` or a factory, where it was given.  device: where the module is to run.
    trust_pickle: whether the user lets a pickle run code.  weights_key: which of several sets of weights in the file.
    """

    path: Path
    arch: str | None
    device: torch.device
    trust_pickle: bool = False
    weights_key: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A module as it came out of its file.

    label: its name in tables.  arch: where its code comes from.  module: (b, 3, side, side) normalised, in the dtype of its
    parameters (float32 where it has none) -> whatever `outputs.as_logits` understands.
    sha256: of the weights file's bytes; of the state dict where the weights come by name.
    batch: the only batch size that it takes, None for any.  softmax: whether its last operation is known to be a softmax
    or, where there is one output, a sigmoid; None where only its outputs can tell.
    torch_runs: whether torch computes it; what another library computes is out of reach of --precision.
    notes: what a user should know, one line each.
    """

    label: str
    arch: str
    module: nn.Module
    preprocessing: Preprocessing
    sha256: str
    batch: int | None = None
    softmax: bool | None = None
    torch_runs: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFormat:
    """A kind of file or folder that holds a model.

    matches: whether a path is one, by its content; raises nothing but OSError.  load: raises CheckpointError.
    computes: whether the file says itself what is computed, and not only with which weights.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    load: Callable[[LoadRequest], LoadedModel]
    is_program: bool = False
