"""What a module returns, as logits: tensors, tuples, mappings and dataclasses; one output or many; logits or probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import CheckpointError
from robench.types import Logits

__all__ = [
    "Head",
    "Output",
    "SelectOutput",
    "as_logits",
    "ends_in_sigmoid",
    "head_of",
    "is_by_image",
    "logit_indices",
    "output_tensor",
]

Head: TypeAlias = Literal["logits", "probabilities", "logit", "probability"]
"""What the columns of an output are: one a class, or the one of the second of two classes."""

_NAMES = ("logits", "out", "output", "predictions")
_SUM = 1e-3
"""How far from 1 the sum of a softmax's outputs may be, in float16 too; coarser types have four units in the last place."""


@dataclass(frozen=True)
class Output:
    """What can be the logits of a module.

    place: in the tuple that the module returns; None where it returns nothing else.  classes: two where it has one column.
    head: what its columns are.  notes: what a user should know if it is taken, one line each.
    """

    place: int | None
    classes: int
    head: Head
    notes: tuple[str, ...] = ()


class SelectOutput(nn.Module):
    """A module that returns one of the outputs of another, by its place in the tuple that this returns."""

    def __init__(self, module: nn.Module, place: int) -> None:
        super().__init__()
        self.module, self.place = module, place

    def forward(self, x: Tensor) -> Any:
        """(b, 3, h, w) -> (b, k)."""
        return self.module(x)[self.place]


def logit_indices(output: object, count: int) -> list[int]:
    """Return the places in a tuple or list of those that can be the logits of `count` images; none where nothing is to choose.

    They are of the shape (count, k) or (count, k, 1, 1). Where names tell, or there is one tensor alone and first, nothing is.
    """
    if not isinstance(output, tuple | list) or _by_name(output) is not None:
        return []
    tensors = [place for place, value in enumerate(output) if isinstance(value, Tensor)]
    return [] if tensors == [0] else [place for place in tensors if _can_be_logits(output[place], count)]


def _can_be_logits(value: Tensor, count: int) -> bool:
    sizes = value.shape
    return value.is_floating_point() and sizes[:1] == (count,) and 0 not in sizes and all(one == 1 for one in sizes[2:])


def output_tensor(output: object) -> Tensor:
    """Return the tensor of a module's output that holds the classes: itself, its `logits`, or the first of several.

    Raises TypeError where there is none, with what there is.
    """
    if isinstance(output, Tensor):
        return output
    found = _by_name(output)
    if found is not None:
        return found
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    named = _named(output)
    what = f" of {', '.join(map(str, named))}" if named else ""
    raise TypeError(f"a {type(output).__name__}{what}")


def _named(output: object) -> Mapping[Any, Any]:
    """The parts of an output that has names for them."""
    if isinstance(output, Mapping):
        return output
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return output._asdict() if hasattr(output, "_asdict") else {}


def _by_name(output: object) -> Tensor | None:
    """The tensor of an output with names that is called as logits are, or is the only one."""
    named = _named(output)
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    name = next((name for name in _NAMES if name in tensors), next(iter(tensors)) if len(tensors) == 1 else None)
    return None if name is None else tensors[name]


def is_by_image(values: Tensor, count: int) -> bool:
    """Whether an output has a row for each of `count` images; of one image, `squeeze` may have left out that it is one."""
    return count == 1 or values.shape[:1] == (count,)


def as_logits(output: object, head: Head, count: int) -> Logits:
    """Return a module's output for `count` images as (count, classes) float32 logits; at least two classes.

    A single logit z of the second of two classes becomes (0, z), whose softmax is the sigmoid of z; probabilities become
    their logarithms, whose softmax they are. Raises CheckpointError for an output without a row for every image.
    """
    tensor = output_tensor(output)
    if not is_by_image(tensor, count):
        raise CheckpointError(
            f"the model gives a {'x'.join(map(str, tensor.shape))} tensor for {count} images: a classifier gives (images, classes)"
        )
    values = tensor.float().reshape(count, -1)
    if head == "probability":
        values = torch.cat([1 - values, values], dim=1)
    if head in ("probabilities", "probability"):
        return values.clamp_min(torch.finfo(torch.float32).tiny).log()
    return values if head == "logits" else torch.cat([torch.zeros_like(values), values], dim=1)


def head_of(values: Tensor, softmax: bool | None) -> Head:
    """Say what the columns of `values` (b, k) of some images are.

    softmax: whether the last operation is known to be a softmax, or a sigmoid where k is 1. A softmax also shows in its
    values; a sigmoid does not, because a single logit may lie between 0 and 1 by itself.
    """
    if values.shape[1] == 1:
        return "probability" if softmax else "logit"
    sums = values.float().sum(dim=1)
    allowed = max(_SUM, 4 * torch.finfo(values.dtype).eps)
    shown = bool(((values >= 0).all(dim=1) & ((sums - 1).abs() < allowed)).all())
    return "probabilities" if shown else "logits"


def ends_in_sigmoid(run: Callable[[], object]) -> bool:
    """Whether the tensor that `run` returns is what a sigmoid wrote, or a view of it."""
    with _Sigmoids() as sigmoids:
        values = output_tensor(run())
    return any(values.untyped_storage().data_ptr() == one.untyped_storage().data_ptr() for one in sigmoids.outputs)


class _Sigmoids(TorchDispatchMode):
    """Keeps what every sigmoid returns; while it is kept, no other tensor can lie in its memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation as it is."""
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.sigmoid.default, torch.ops.aten.sigmoid_.default):
            self.outputs.append(result)
        return result
