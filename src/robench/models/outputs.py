"""What a module returns, as logits: tensors, tuples, mappings and dataclasses; one output or many; logits or probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robench.types import Logits

__all__ = ["Head", "as_logits", "ends_in_sigmoid", "head_of", "output_tensor"]

Head: TypeAlias = Literal["logits", "probabilities", "logit", "probability"]
"""What the columns of an output are: one a class, or the one of the second of two classes."""

_NAMES = ("logits", "out", "output", "predictions")
_SUM = 1e-3
"""How far from 1 the sum of a softmax's outputs may be, in float16 too; coarser types have four units in the last place."""


def output_tensor(output: object) -> Tensor:
    """Return the tensor of a module's output that holds the classes: itself, its `logits`, or the first of several.

    Raises TypeError where there is none, with what there is.
    """
    if isinstance(output, Tensor):
        return output
    named: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        named = output
    elif is_dataclass(output) and not isinstance(output, type):
        named = {field.name: getattr(output, field.name) for field in fields(output)}
    elif hasattr(output, "_asdict"):
        named = output._asdict()
    for name in _NAMES:
        if isinstance(named.get(name), Tensor):
            found: Tensor = named[name]
            return found
    tensors = [value for value in named.values() if isinstance(value, Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]  # Auxiliary heads come after the main one.
    what = f" of {', '.join(map(str, named))}" if named else ""
    raise TypeError(f"a {type(output).__name__}{what}")


def as_logits(output: object, head: Head, count: int) -> Logits:
    """Return a module's output for `count` images as (count, classes) float32 logits; at least two classes.

    A single logit z of the second of two classes becomes (0, z), whose softmax is the sigmoid of z; probabilities become
    their logarithms, whose softmax they are.
    """
    values = output_tensor(output).float().reshape(count, -1)
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
