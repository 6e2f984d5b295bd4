"""Run a loaded module once to learn its outputs and its dtype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, one_line, printable
from robench.models.formats.base import LoadedModel
from robench.models.outputs import (
    Output,
    SelectOutput,
    as_logits,
    ends_in_sigmoid,
    head_of,
    is_by_image,
    logit_indices,
    output_tensor,
)

__all__ = []


_BATCH = 4096
"""Largest fixed batch that an exported model may ask for."""


@dataclass(frozen=True)
class ProbeResult:
    """What a module shows of itself on a blank image and on noise."""

    outputs: tuple[Output, ...]
    dtype: torch.dtype
    notes: tuple[str, ...]


def probe(loaded: LoadedModel, module: nn.Module, side: int, device: torch.device) -> ProbeResult:
    """Run the module once; CheckpointError unless it runs at this size and gives at least two classes."""
    label, count = loaded.label, 2 if loaded.batch is None else loaded.batch
    if not 1 <= count <= _BATCH:
        raise CheckpointError(f"{label} takes batches of {count} images only: export it for any batch size")
    dtype = next((value.dtype for value in module.parameters() if value.is_floating_point()), torch.float32)
    try:
        noise = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
        images = torch.cat([torch.zeros_like(noise), noise]).repeat((count + 1) // 2, 1, 1, 1)[:count]
        images = images.to(device, dtype).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            output = module(images)
            found: list[tuple[int | None, Tensor, bool | None]] = []
            places: list[int | None] = [*logit_indices(output, count)]
            for place in places or [None]:
                values = output_tensor(output if place is None else output[place])
                softmax = loaded.softmax
                if softmax is None and values.numel() == count:
                    one = module if place is None else SelectOutput(module, place)
                    softmax = ends_in_sigmoid(partial(one, images))
                found.append((place, values, softmax))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{count} images of {label} do not fit on {device}: use another --device") from error
    except TypeError as error:
        if not str(error).startswith("a "):
            raise _not_run(label, side, error) from error
        raise CheckpointError(f"{label} gives {error}: a classifier gives logits, (images, classes)") from error
    except Exception as error:
        # A module may assert its input size or trip over it with any error.
        raise _not_run(label, side, error) from error
    notes = []
    if dtype not in (torch.float32, torch.float64):
        notes.append(f"{label} computes in {str(dtype).removeprefix('torch.')}, as it was stored")
    several = (
        None if found[0][0] is None else f"{label} gives {len(output)} outputs for {count} images, {_sizes(output)}"
    )
    outputs = [_output(label, count, several, *one) for one in found]
    return ProbeResult(tuple(outputs), dtype, tuple(notes))


def _output(
    label: str, count: int, several: str | None, place: int | None, values: Tensor, softmax: bool | None
) -> Output:
    """Say what the columns of an output of `count` images are; CheckpointError where they are no classes.

    several: says that there are others, where it is one of a tuple.
    """
    if not values.is_floating_point() or any(size != 1 for size in values.shape[2:]) or not is_by_image(values, count):
        raise CheckpointError(
            f"{label} gives a {_size(values)} tensor of {values.dtype} for {count} images: a classifier gives (images, classes)"
        )
    values = values.reshape(count, -1)
    if not values.shape[1]:
        raise CheckpointError(f"{label} gives no classes")
    head = head_of(values, softmax)
    notes = [] if several is None or place is None else [f"{several}: number {place + 1} is taken for its logits"]
    if head in ("probabilities", "probability"):
        ending = "softmax" if head == "probabilities" else "sigmoid"
        notes.append(f"{label} ends in a {ending}: its outputs are taken as probabilities")
    elif head == "logit":
        notes.append(f"{label} has one output: it is taken as the logit of the second of two classes")
    if not bool(torch.isfinite(values).all()):
        notes.append(f"{label} gives logits that are not finite, even of a blank image: its weights may be damaged")
    return Output(place, as_logits(values, head, count).shape[1], head, tuple(map(printable, notes)))


def _not_run(label: str, side: int, error: Exception) -> CheckpointError:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return CheckpointError(f"{label} does not run on {side}x{side} images: it asks for more memory than there is")
    return CheckpointError(
        f"{label} does not run on {side}x{side} images: {one_line(error)}; give its input size by --crop if it is another"
    )


_OUT_OF_MEMORY = ("can't allocate memory", "Failed to allocate memory", "bad_alloc", "bad allocation")
"""In the texts of torch and onnxruntime, which have no error of their own for it on the CPU."""


def _sizes(output: Any) -> str:
    """The sizes of what a module gives in a tuple."""
    return " and ".join(_size(value) if isinstance(value, Tensor) else type(value).__name__ for value in output)


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
