"""Turn the outputs of a module into logits."""

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
    "has_row_per_image",
    "head_of",
    "logit_indices",
    "output_tensor",
    "shape_text",
]

Head: TypeAlias = Literal["logits", "probabilities", "logit", "probability"]
"""Meaning of an output's columns: one for each class, or a single one for the second of two classes."""

_NAMES = ("logits", "out", "output", "predictions")
_SUM_TOLERANCE = 1e-3
"""Difference from 1 of the sum of a softmax's outputs, in float16 too; coarser types have four units in the last place."""


@dataclass(frozen=True)
class Output:
    """A candidate for the logits of a module.

    Attributes:
        index: Index in the tuple that the module returns; None if the module has no other output.
        classes: Number of columns; two if there is one column.
        head: Meaning of the columns.
        is_finite: Whether all values of the probe's images are finite.
        notes: Messages for a user whose run takes this output, one line each.
    """

    index: int | None
    classes: int
    head: Head
    is_finite: bool = True
    notes: tuple[str, ...] = ()


class SelectOutput(nn.Module):
    """Return one element of the tuple that another module returns."""

    def __init__(self, module: nn.Module, index: int) -> None:
        super().__init__()
        self.module, self.index = module, index

    def forward(self, x: Tensor) -> Any:
        """(b, 3, h, w) -> (b, k)."""
        return self.module(x)[self.index]


def logit_indices(output: object, count: int) -> list[int]:
    """Return the indices of the elements of a tuple or list that can be the logits of `count` images.

    Such an element has the shape (count, k) or (count, k, 1, 1). The list is empty if names decide, or if the only tensor comes first.
    """
    if not isinstance(output, tuple | list) or _tensor_by_name(output) is not None:
        return []
    indices = [index for index, value in enumerate(output) if isinstance(value, Tensor)]
    return [] if indices == [0] else [index for index in indices if _can_be_logits(output[index], count)]


def _can_be_logits(value: Tensor, count: int) -> bool:
    shape = value.shape
    return value.is_floating_point() and shape[:1] == (count,) and 0 not in shape and all(n == 1 for n in shape[2:])


def output_tensor(output: object) -> Tensor:
    """Return the tensor of a module's output that holds the classes: itself, its `logits`, or the first of several.

    Raises:
        TypeError: There is no such tensor; the text names the output's type and the names in it.
    """
    if isinstance(output, Tensor):
        return output
    if (tensor := _tensor_by_name(output)) is not None:
        return tensor
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    names = _by_name(output)
    raise TypeError(f"a {type(output).__name__}{' of ' if names else ''}{', '.join(map(str, names))}")


def _by_name(output: object) -> Mapping[Any, Any]:
    """Return the elements of an output that have names."""
    if isinstance(output, Mapping):
        return output
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return output._asdict() if hasattr(output, "_asdict") else {}


def _tensor_by_name(output: object) -> Tensor | None:
    """Return the named tensor that has a usual name of logits, or that is the only one."""
    tensors = {name: value for name, value in _by_name(output).items() if isinstance(value, Tensor)}
    name = next((name for name in _NAMES if name in tensors), next(iter(tensors)) if len(tensors) == 1 else None)
    return None if name is None else tensors[name]


def has_row_per_image(values: Tensor, count: int) -> bool:
    """Return whether a tensor has a row for each of `count` images; `squeeze` may have removed the only row."""
    return count == 1 or values.shape[:1] == (count,)


def shape_text(values: Tensor) -> str:
    """Return the shape of a tensor as text, such as 2x1000."""
    return "x".join(map(str, values.shape)) or "scalar"


def as_logits(output: object, head: Head, count: int) -> Logits:
    """Return a module's output for `count` images as (count, classes) float32 logits of at least two classes.

    A single logit z becomes (0, z), whose softmax is the sigmoid of z. Probabilities become their logarithms, whose softmax they are.

    Raises:
        CheckpointError: The output has no row for each image.
    """
    tensor = output_tensor(output)
    if not has_row_per_image(tensor, count):
        raise CheckpointError(
            f"the model gives a {shape_text(tensor)} tensor for {count} images", "a classifier gives (images, classes)"
        )
    values = tensor.float().reshape(count, -1)
    if head == "probability":
        values = torch.cat([1 - values, values], dim=1)
    if head in ("probabilities", "probability"):
        return values.clamp_min(torch.finfo(torch.float32).tiny).log()
    return values if head == "logits" else torch.cat([torch.zeros_like(values), values], dim=1)


def head_of(values: Tensor, softmax: bool | None) -> Head:
    """Return the meaning of the columns of an output.

    A softmax also shows in its values. A sigmoid does not, because a single logit can be between 0 and 1.

    Args:
        values: (b, k), of several images.
        softmax: Whether the last operation is known to be a softmax, or a sigmoid if k is 1; None if it is unknown.
    """
    if values.shape[1] == 1:
        return "probability" if softmax else "logit"
    sums = values.float().sum(dim=1)
    tolerance = max(_SUM_TOLERANCE, 4 * torch.finfo(values.dtype).eps)
    return "probabilities" if bool(((values >= 0).all(dim=1) & ((sums - 1).abs() < tolerance)).all()) else "logits"


def ends_in_sigmoid(run: Callable[[], object]) -> bool:
    """Return whether the tensor that `run` returns is the output of a sigmoid, or a view of it."""
    with _Sigmoids() as sigmoids:
        values = output_tensor(run())
    address = values.untyped_storage().data_ptr()
    return any(address == output.untyped_storage().data_ptr() for output in sigmoids.outputs)


class _Sigmoids(TorchDispatchMode):
    """Record the output of every sigmoid, which also keeps other tensors out of its memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation unchanged."""
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.sigmoid.default, torch.ops.aten.sigmoid_.default):
            self.outputs.append(result)
        return result
