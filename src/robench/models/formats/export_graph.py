"""Run the graph of an exported program (.pt2), operator by operator.

torch.export.load is no safe reader. It falls back to an unrestricted pickle, evaluates expressions of sizes as Python, and calls
functions by any dotted name under torch. This module looks up every call in `allowed_operators` and `export_arithmetic` before
it runs the first one. It computes sizes from the tensors, so that it never reads an expression. torch/_export/serde/schema.py describes
the format.

An upstream change could retire this module. torch 2.14 lacks all three parts of it in torch.export.load:

- It would read weights with `weights_only=True` and without a fallback.
- It would parse expressions of sizes instead of evaluating them.
- It would take a list of allowed operators.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from robench.models.formats.allowed_operators import reason_forbidden
from robench.models.formats.export_arithmetic import ARITHMETIC

__all__ = ["DTYPES", "Graph", "GraphError", "GraphModule", "parse_graph"]

DTYPES: dict[int, torch.dtype] = dict(
    enumerate(
        (
            torch.uint8,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.float16,
            torch.float32,
            torch.float64,
            torch.complex32,
            torch.complex64,
            torch.complex128,
            torch.bool,
            torch.bfloat16,
        ),
        start=1,
    )
)
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED = 7
"""Layout of every dense tensor."""

# The model runs in the fastest memory layout instead of the exported one. An operator that reads strides would then read
# other values, and a view may have to be a copy.
_REPLACED = {
    "aten.view.default": torch.ops.aten.reshape.default,
    "aten._unsafe_view.default": torch.ops.aten.reshape.default,
}
_BY_STRIDES = ("aten.as_strided.default", "aten.as_strided_.default", "aten.as_strided_copy.default")
_TARGET = re.compile(r"torch\.ops\.([a-z_]\w*)\.(\w+)\.(\w+)", re.ASCII)
_GRAD, _AUTOCAST = (f"torch.ops.higher_order.wrap_with_{name}" for name in ("set_grad_enabled", "autocast"))


class GraphError(Exception):
    """A graph is malformed or names something forbidden; the text completes a sentence that begins with "its graph"."""


@dataclass(frozen=True)
class _Name:
    """Result of an earlier step."""

    name: str


@dataclass(frozen=True)
class _Device:
    """Device of the run, in place of the device of the export."""


@dataclass(frozen=True)
class _Step:
    """One call.

    Attributes:
        call: The operator.
        positional: Positional arguments.
        keyword: Keyword arguments.
        outputs: Names of the results, nested as the results are; anything but a name is an unused result.
        is_sequence: Whether the call returns a sequence with a value for each output.
        released: Names of results that no later step needs.
    """

    call: Callable[..., Any]
    positional: tuple[Any, ...]
    keyword: Mapping[str, Any]
    outputs: tuple[Any, ...]
    is_sequence: bool
    released: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A checked graph.

    Attributes:
        inputs: Names of the arguments.
        steps: The calls in order.
        outputs: Arguments and results that the graph returns.
    """

    inputs: tuple[str, ...]
    steps: tuple[_Step, ...]
    outputs: tuple[Any, ...]

    def run(self, arguments: Sequence[object], device: torch.device) -> tuple[Any, ...]:
        """Return the outputs for arguments on `device`."""
        values = dict(zip(self.inputs, arguments, strict=True))
        for step in self.steps:
            positional = [_resolve(argument, values, device) for argument in step.positional]
            keyword = {name: _resolve(argument, values, device) for name, argument in step.keyword.items()}
            result = step.call(*positional, **keyword)
            _assign(step.outputs if step.is_sequence else step.outputs[0], result, values)
            for name in step.released:
                values.pop(name, None)
        return tuple(_resolve(output, values, device) for output in self.outputs)


class GraphModule(nn.Module):
    """A graph with its weights.

    It takes images (b, 3, h, w). It returns a dict by `keys` if there are any, else the only output or a tuple.

    Args:
        graph: The graph.
        bound: Values of the graph's inputs in order: a tensor, a constant, or `...` for the images.
        dtype: Dtype of the images.
        input_sizes: Allowed sizes of the images in pixels; None for any.
        outputs: Indices of the outputs to return.
        keys: Names of these outputs, or None.
    """

    def __init__(
        self,
        graph: Graph,
        bound: Sequence[object],
        dtype: torch.dtype,
        input_sizes: Sequence[int] | None,
        outputs: Sequence[int],
        keys: Sequence[str] | None,
    ) -> None:
        super().__init__()
        self.graph, self.dtype, self.input_sizes, self.outputs, self.keys = graph, dtype, input_sizes, outputs, keys
        self.bound: list[object] = []
        for index, value in enumerate(bound):
            # Parameters and buffers, so that the module has a dtype and moves to a device like any other.
            if isinstance(value, nn.Parameter):
                self.register_parameter(f"value{index}", value)
            elif isinstance(value, Tensor):
                self.register_buffer(f"value{index}", value)
            self.bound.append(_Name(f"value{index}") if isinstance(value, Tensor) else value)

    def forward(self, x: Tensor) -> Any:
        """Run the graph; raise ValueError for images of a size that the export excludes."""
        if self.input_sizes is not None and x.shape[-1] not in self.input_sizes:
            # Much of a graph runs at any size, but computes with constants of the exported size.
            first, last = self.input_sizes[0], self.input_sizes[-1]
            raise ValueError(
                f"it was exported for images of {first if first == last else f'{first} to {last}'} px only"
            )
        images = (x if self.dtype.is_floating_point else x.round().clamp(0, 255)).to(self.dtype)
        arguments = [
            images if value is ... else getattr(self, value.name) if isinstance(value, _Name) else value
            for value in self.bound
        ]
        results = self.graph.run(arguments, x.device)
        returned = [results[index] for index in self.outputs]
        if self.keys is not None:
            return dict(zip(self.keys, returned, strict=True))
        return returned[0] if len(returned) == 1 else tuple(returned)


def parse_graph(graph: Any) -> Graph:
    """Return the graph of a program's JSON with every call looked up; raise GraphError for anything that may not or cannot run."""
    try:
        inputs = tuple(_input_name(index, value) for index, value in enumerate(graph["inputs"]))
        outputs = tuple(map(_argument, graph["outputs"]))
        steps = [_step(node) for node in graph["nodes"]]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise GraphError(f"is not as torch.export writes it ({type(error).__name__}: {error})") from error
    return Graph(inputs, _with_releases(steps, outputs), outputs)


def _input_name(index: int, union: Any) -> str:
    kind, content = _only(union)
    match kind:
        case "as_tensor":
            return str(content["name"])
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return str(content["as_name"])
        case "as_custom_obj" | "as_graph":
            raise GraphError("takes an object of a custom class")
    return f"constant {index}"


def _step(node: Any) -> _Step:
    target = str(node["target"])
    values = tuple(_argument(item["arg"]) for item in node["inputs"])
    outputs = tuple(map(_argument, node["outputs"]))
    is_sequence = len(outputs) > 1
    if target in ARITHMETIC:
        return _Step(ARITHMETIC[target], values, {}, outputs or (None,), is_sequence)
    if target in (_GRAD, _AUTOCAST):
        call = _run_plainly if target == _GRAD else _run_autocast
        results = tuple(outputs[0]) if len(outputs) == 1 and isinstance(outputs[0], list) else outputs
        return _Step(call, (_Device(), *values), {}, results, is_sequence=True)
    short, overload = _overload(target)
    arguments = dict(zip((str(item["name"]) for item in node["inputs"]), values, strict=True))
    schema = overload._schema.arguments
    if unknown := sorted(arguments.keys() - {argument.name for argument in schema}):
        raise GraphError(f"gives {target} an argument {unknown[0]!r}, which torch {torch.__version__} does not know")
    leading = takewhile(lambda argument: argument.name in arguments and not argument.kwarg_only, schema)
    positional = tuple(arguments.pop(argument.name) for argument in list(leading))
    return _Step(_REPLACED.get(short, overload), positional, arguments, outputs or (None,), is_sequence)


def _overload(target: str) -> tuple[str, Any]:
    """Return NAMESPACE.NAME.OVERLOAD and the operator of that name, if a file may name it."""
    match = _TARGET.fullmatch(target)
    if match is None:
        raise GraphError(f"calls {target[:80]!r}, which is no operator of torch")
    namespace, name, overload = match.groups()
    short = f"{namespace}.{name}.{overload}"
    if reason := reason_forbidden(namespace, name):
        raise GraphError(f"calls {short}, which {reason}")
    if short in _BY_STRIDES:
        raise GraphError(f"calls {short}, whose result depends on the memory layout of its export")
    if namespace == "torchvision":
        import torchvision  # noqa: F401  # It registers its operators.
    operation = None
    if torch._C._jit_get_schemas_for_operator(f"{namespace}::{name}"):
        operation = getattr(getattr(getattr(torch.ops, namespace), name), overload, None)
    if not isinstance(operation, torch._ops.OpOverload):
        raise GraphError(f"calls {short}, which torch {torch.__version__} does not know")
    return short, operation


def _argument(union: Any) -> Any:
    """Return the value of an argument; raise GraphError for kinds that no classifier needs."""
    return _value(*_only(union))


def _value(kind: str, content: Any) -> Any:
    if (element := _ELEMENTS.get(kind)) is not None:
        return [_value(element, item) for item in content]
    if (convert := _CONVERTERS.get(kind)) is not None:
        return convert(content)
    raise GraphError(f"uses an argument of kind {str(kind)[:40]!r}, which no classifier needs")


def _plain(content: Any) -> int | str:
    if not isinstance(content, int | str):
        raise TypeError(f"a {type(content).__name__} in place of a number or text")
    return content


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda _: None,
    "as_tensor": lambda content: _Name(content["name"]),
    "as_name": _Name,
    "as_int": _plain,
    "as_bool": _plain,
    "as_string": _plain,
    "as_float": float,  # Infinities are stored as text.
    "as_complex": lambda content: complex(float(content["real"]), float(content["imag"])),
    "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": _MEMORY_FORMATS.__getitem__,
    "as_layout": {_STRIDED: torch.strided}.__getitem__,
    "as_device": lambda _: _Device(),
    "as_graph": lambda content: parse_graph(content["graph"]),
    **dict.fromkeys(("union", "as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"), _argument),
}
_ELEMENTS = {
    "as_tensors": "as_tensor",
    "as_nested_tensors": "as_tensors",
    "as_ints": "as_int",
    "as_bools": "as_bool",
    "as_strings": "as_string",
    "as_floats": "as_float",
    **dict.fromkeys(("as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"), "union"),
}
"""Kinds of lists, with the kind of their elements."""


def _only(union: Any) -> tuple[Any, Any]:
    ((kind, content),) = union.items()
    return kind, content


def _with_releases(steps: Sequence[_Step], outputs: Sequence[Any]) -> tuple[_Step, ...]:
    """Return the steps, each with the names that no later step needs, so that their memory is freed."""
    needed = set(_names(outputs))
    result: list[_Step] = []
    for step in reversed(steps):
        used = set(_names([*step.positional, *step.keyword.values(), *step.outputs]))
        result.append(replace(step, released=tuple(sorted(used - needed))))
        needed |= used
    return tuple(reversed(result))


def _names(arguments: Any) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, _Name):
            yield argument.name
        elif isinstance(argument, list):
            yield from _names(argument)


def _resolve(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    match argument:
        case _Name(name):
            return values[name]
        case _Device():
            return device
        case list():
            return [_resolve(item, values, device) for item in argument]
    return argument


def _assign(target: Any, result: Any, values: dict[str, Any]) -> None:
    match target:
        case _Name(name):
            values[name] = result
        case list() | tuple():
            for item, value in zip(target, result, strict=True):
                _assign(item, value, values)


def _run_plainly(device: torch.device, _: bool, graph: Graph, *arguments: object) -> tuple[Any, ...]:
    """Run a graph that switches gradients on or off; here they are always off."""
    return graph.run(arguments, device)


def _run_autocast(
    device: torch.device,
    _: str,
    dtype: torch.dtype | None,
    enabled: bool,
    cache: bool | None,
    graph: Graph,
    *arguments: object,
) -> tuple[Any, ...]:
    with torch.autocast(device.type, dtype=dtype, enabled=enabled, cache_enabled=cache):
        return graph.run(arguments, device)
