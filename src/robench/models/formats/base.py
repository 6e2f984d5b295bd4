"""Requests to load a model, loaded models, and entries of the table of formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.models.checkpoints.read import read_bytes
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.in_network import Triple
from robench.models.zero_shot.text_encoder import TextEncoder

__all__ = [
    "CONFIG_NAME",
    "COPY_AGAIN",
    "LARGE_CONFIG_HINT",
    "OPEN_CLIP_CONFIG",
    "REFUSED",
    "TRAINING_MODE_NOTE",
    "LoadRequest",
    "LoadedModel",
    "ModelFormat",
]

CONFIG_NAME = "config.json"
"""File of a Hugging Face folder that describes the network."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
"""File of a folder of open_clip that describes the network."""
LARGE_CONFIG_HINT = "its config.json may describe a larger network than its weights, copy both from one source"
COPY_AGAIN = "copy or download it again"
REFUSED = "was refused, and nothing in it was run"
TRAINING_MODE_NOTE = (
    "the model was exported in training mode, so dropout or batch statistics are active; export it after model.eval()"
)
"""Note for a file that model.eval() cannot switch to evaluation."""


@dataclass(frozen=True)
class LoadRequest:
    """A model that the user named.

    Attributes:
        path: The file or folder.
        arch: `family:name` or a factory; None if the user gave none.
        device: The device that the module runs on.
        trust_pickle: Whether a pickle may run code.
        weights_key: Key of the weights, for files with several sets of them.
        ignore_keys: Names of tensors to leave out, with the wildcards * and ?.
        name: Name of the model in tables; None for that of the file.
        is_backbone: Whether a network without a classification head is accepted, because another head is put on it.
        content: Bytes that the sandbox has tried, so that the same bytes are loaded; None for a file that needs no sandbox.
    """

    path: Path
    arch: str | None
    device: torch.device
    trust_pickle: bool = False
    weights_key: str | None = None
    ignore_keys: tuple[str, ...] = ()
    name: str | None = None
    is_backbone: bool = False
    content: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """Return the bytes of the file, or of a folder's configuration; raise CheckpointError if it cannot be read."""
        if self.content is not None:
            return self.content
        if not self.path.is_dir():
            return read_bytes(self.path)
        files = [self.path / name for name in (OPEN_CLIP_CONFIG, CONFIG_NAME)]
        return b"".join(read_bytes(file) for file in files if file.is_file()) or read_bytes(files[-1])


@dataclass(frozen=True)
class LoadedModel:
    """A module as its file describes it.

    Attributes:
        label: Name in tables.
        arch: Source of the module's code.
        module: Takes normalized images (b, 3, size, size) in the dtype of its parameters, float32 if it has none.
            Returns anything that `outputs.as_logits` accepts.
        preprocessing: The preprocessing that the module expects.
        sha256: Of the bytes of the weights file; of the state dict if the weights are published under a name.
        batch: The only batch size that the module takes; None for any.
        softmax: Whether the last operation is a softmax, or a sigmoid of a single output. None if only the values can show it.
        torch_runs: Whether torch computes the module; if not, --precision does not apply.
        class_names: Names of the outputs that the file states, in their order; empty if it states none.
        takes_pixels: Whether the module takes pixels from 0 to 255, which it rounds to uint8.
        first_values: Function from a batch of images to the results before the first layer, as `in_network.first_values`, if
            torch does not compute the module.
        head_facts: Facts of a head that robench made, for the manifest; empty for a head of the file.
        reference_sha: SHA-256 of the images that such a head is made from.
        texts: Text encoder of a vision-language model, whose module returns features; None for any other model.
        notes: Messages for the user, one line each.
    """

    label: str
    arch: str
    module: nn.Module
    preprocessing: Preprocessing
    sha256: str
    batch: int | None = None
    softmax: bool | None = None
    torch_runs: bool = True
    class_names: tuple[str, ...] = ()
    takes_pixels: bool = False
    first_values: Callable[[Tensor], Sequence[Triple | None]] | None = None
    head_facts: Mapping[str, Any] = field(default_factory=dict)
    reference_sha: frozenset[str] = frozenset()
    texts: TextEncoder | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFormat:
    """A kind of file or folder that holds a model.

    Attributes:
        name: Name in messages.
        summary: One line for lists.
        matches: Whether a path has this format, by its content; raises only OSError.
        load: Loads the model; raises CheckpointError.
        is_sandboxed: Whether the file can make its loader compute or allocate without bound, so that the sandbox tries it first.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    load: Callable[[LoadRequest], LoadedModel]
    is_sandboxed: bool = False
