"""A network may not be far larger than the weights that are to fill it: what a configuration asks for is stopped while it grows.

Whatever a configuration calls its depth, it makes parameters, and torch tells of each as it is registered. Only what libraries
compute before that, lists as long as a depth or a dictionary of labels, has to be found in the configuration itself; and whoever
loops without an end is stopped by the number of calls.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from robench.errors import CheckpointError

__all__ = ["check_integers", "check_position_embeddings", "limit_build"]

_INTEGER = 8192
"""Largest integer that no tensor has to account for: no picture has a longer side. Lists as long take half a second."""
_WORDS, _VOCABULARY = ("vocab_size", "token_id", "token_index", "position_embeddings"), 2**20
"""How keys end that speak of texts, whose tensors an image classifier may lack, and the most they say: 901,629 words are in use."""
_TENSORS, _MORE_TENSORS = 4, 1000
_MODULES = 20
_VALUES, _MORE_VALUES = 4, 2**24
"""How much more may be registered than the weights hold: some networks make layers that they replace, or buffers that they do not
store; of all architectures of timm and transformers, none has 3 times as much."""

_BIASES = {"levit": "attention_biases"}
"""Types of models that compare every place of a picture with every other in a loop of Python, and how the names of their tensors end
that have a column for each place. Of all types of transformers that classify images, no other takes long for a large picture."""

_CALLS = 10**8
"""Most calls of functions in the building: some attention compares every place with every other, in Python, and an image size in a
configuration would keep it at that for days. timm's tiny_vit_21m_512 makes the most, 39 million, in 2 s, and 5 s counted."""


def check_integers(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    file: object,
    known: Collection[str] | None = None,
) -> None:
    """Raise CheckpointError for an integer, at any depth of `config`, that is more than any size of the weights or of a picture.

    file: which states it, for the error.  known: the keys that a library reads; None for all.
    """
    largest = max([_INTEGER, *(size for value in state.values() for size in value.shape)])
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list | tuple):
            waiting += ((key, one) for one in value)
        elif isinstance(value, int) and (known is None or key in known):
            limit = max(largest, _VOCABULARY) if key.endswith(_WORDS) else largest
            if abs(value) <= limit:
                continue
            raise CheckpointError(
                f"{file} has {key[:80]} {str(value)[:20]}, more than anything in the weights: copy both from one place"
            )


def check_position_embeddings(settings: Any, state: Mapping[str, Tensor], file: object) -> None:
    """Raise CheckpointError for an input with more places than the weights have, of a model that would compare them one by one.

    settings: transformers' own of a model.
    """
    ending = _BIASES.get(settings.model_type)
    if ending is None:
        return
    places = (settings.image_size // settings.patch_size) ** 2
    most = max([0, *(value.shape[-1] for key, value in state.items() if key.endswith(ending) and value.ndim)])
    if places > most:
        raise CheckpointError(
            f"{file} has image_size {settings.image_size} and patch_size {settings.patch_size}, which make {places:,} places, and "
            f"the weights are of {most:,}: copy both from one place"
        )


@contextmanager
def limit_build(state: Mapping[str, Tensor], file: object) -> Iterator[None]:
    """Meanwhile, stop whoever builds a network that needs far more than a state dict holds; CheckpointError."""
    left = {
        "tensors": _TENSORS * len(state) + _MORE_TENSORS,
        "layers": _MODULES * (_TENSORS * len(state) + _MORE_TENSORS),
        "values": _VALUES * sum(value.numel() for value in state.values()) + _MORE_VALUES,
    }

    refused = CheckpointError(
        f"{file} asks for a network far larger than the weights, of {len(state)} tensors: copy both from one place"
    )
    calls = itertools.count()

    def take(what: str, count: int) -> None:
        left[what] -= count
        if left[what] < 0:
            raise refused

    def call(_frame: FrameType, _event: str, _argument: object) -> None:
        if next(calls) > _CALLS:
            raise refused

    def tensor(_module: nn.Module, _name: str, value: Tensor | None) -> None:
        if value is not None:
            take("tensors", 1)
            take("values", value.numel())

    def module(_module: nn.Module, _name: str, _value: nn.Module | None) -> None:
        take("layers", 1)

    handles = [
        register_module_parameter_registration_hook(tensor),
        register_module_buffer_registration_hook(tensor),
        register_module_module_registration_hook(module),
    ]
    before = sys.getprofile()
    sys.setprofile(call)
    try:
        yield
    finally:
        sys.setprofile(before)
        for handle in handles:
            handle.remove()
