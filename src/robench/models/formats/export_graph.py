"""The graph of an exported program, run operator by operator.

torch.export.load runs what a file says in several ways: it falls back to an unrestricted pickle, evaluates expressions of sizes
as Python, and looks functions up by any dotted name under torch. So graphs are not given to it. A graph is a list of calls; here
every call is looked up in `operators` and a table of arithmetic before the first one runs, and sizes are computed from the
tensors themselves, so that expressions are never read at all. The format: torch/_export/serde/schema.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robench.models.formats import allowed_operators
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
"""The layout of every dense tensor."""

# A model runs in the memory layout that is fastest, not in the one that it was exported in: what reads tensors by
# their strides would read other values, and a view may have to be a copy.
_REPLACED = {
    "aten.view.default": torch.ops.aten.reshape.default,
    "aten._unsafe_view.default": torch.ops.aten.reshape.default,
}
_BY_STRIDES = ("aten.as_strided.default", "aten.as_strided_.default", "aten.as_strided_copy.default")
_TARGET = re.compile(r"torch\.ops\.([a-z_]\w*)\.(\w+)\.(\w+)", re.ASCII)
_GRAD, _AUTOCAST = (f"torch.ops.higher_order.wrap_with_{name}" for name in ("set_grad_enabled", "autocast"))


class GraphError(Exception):
    """A graph names what it may not, or is not one; its text is a part of a sentence."""


@dataclass(frozen=True)
class _Name:
    """A value that an earlier step made."""

    name: str


@dataclass(frozen=True)
class _Device:
    """The device of the run, whatever the one of the export was."""


@dataclass(frozen=True)
class _Step:
    call: Callable[..., Any]
    positional: tuple[Any, ...]
    keyword: Mapping[str, Any]
    outputs: tuple[Any, ...]
    """What the results are called, nested as they are; None for one that nobody uses."""
    unpacked: bool
    """Whether the call returns a sequence, one value per output."""
    done: tuple[str, ...]
    """Values that no later step needs."""


@dataclass(frozen=True)
class Graph:
    """A checked graph; inputs: names of its arguments."""

    inputs: tuple[str, ...]
    steps: tuple[_Step, ...]
    outputs: tuple[Any, ...]

    def run(self, arguments: Sequence[object], device: torch.device) -> tuple[Any, ...]:
        """Return the outputs for the arguments, which lie on `device`."""
        values = dict(zip(self.inputs, arguments, strict=True))
        for step in self.steps:
            positional = [_filled(argument, values, device) for argument in step.positional]
            keyword = {name: _filled(argument, values, device) for name, argument in step.keyword.items()}
            result = step.call(*positional, **keyword)
            _name(step.outputs if step.unpacked else step.outputs[0], result, values)
            for name in step.done:
                values.pop(name, None)
        return tuple(_filled(output, values, device) for output in self.outputs)


class GraphModule(nn.Module):
    """A graph with its weights. (b, 3, h, w) -> the outputs by `keys` where they have names, else one of them or a tuple.

    bound: the graph's inputs in order: a tensor, a constant, or `...` for the image.
    image: dtype of the input. sides: of the input in pixels, None for any. outputs: places of the graph's outputs that the user sees.
    """

    def __init__(
        self,
        graph: Graph,
        bound: Sequence[object],
        image: torch.dtype,
        sides: Sequence[int] | None,
        outputs: Sequence[int],
        keys: Sequence[str] | None,
    ) -> None:
        super().__init__()
        self.graph, self.image, self.sides, self.outputs, self.keys = graph, image, sides, tuple(outputs), keys
        self.bound: list[object] = []
        for number, value in enumerate(bound):
            # Parameters and buffers, so that the module says its dtype and moves to a device like any other.
            if isinstance(value, nn.Parameter):
                self.register_parameter(f"value{number}", value)
            elif isinstance(value, Tensor):
                self.register_buffer(f"value{number}", value)
            self.bound.append(_Name(f"value{number}") if isinstance(value, Tensor) else value)

    def forward(self, x: Tensor) -> Any:
        """Run the graph; raises ValueError for images of a size that the export fixed otherwise."""
        if self.sides is not None and x.shape[-1] not in self.sides:
            # Much of a graph runs at any size, and computes with numbers of the size that it was exported at.
            raise ValueError(f"it was exported for images of {_listed(self.sides)} px alone")
        image = x.to(self.image)
        arguments = [
            image if value is ... else getattr(self, value.name) if isinstance(value, _Name) else value
            for value in self.bound
        ]
        results = self.graph.run(arguments, x.device)
        seen = [results[place] for place in self.outputs]
        if self.keys is not None:
            return dict(zip(self.keys, seen, strict=True))
        return seen[0] if len(seen) == 1 else tuple(seen)


def _listed(sides: Sequence[int]) -> str:
    return f"{sides[0]} to {sides[-1]}" if len(sides) > 1 else str(sides[0])


def parse_graph(graph: Any) -> Graph:
    """Return the graph of a program's JSON, every call of it looked up; raise GraphError for what may not or cannot be run."""
    try:
        inputs = tuple(_input_name(number, value) for number, value in enumerate(graph["inputs"]))
        outputs = tuple(_argument(value) for value in graph["outputs"])
        steps = [_step(node) for node in graph["nodes"]]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise GraphError(f"is no graph as torch.export writes it ({type(error).__name__}: {error})") from error
    return Graph(inputs, _with_last_uses(steps, outputs), outputs)


def _input_name(number: int, value: Any) -> str:
    kind, content = _only(value)
    match kind:
        case "as_tensor":
            return str(content["name"])
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return str(content["as_name"])
        case "as_custom_obj" | "as_graph":
            raise GraphError("takes an object of a class of its own")
    return f"constant {number}"


def _step(node: Any) -> _Step:
    target = str(node["target"])
    inputs = [(str(item["name"]), _argument(item["arg"])) for item in node["inputs"]]
    outputs = tuple(_output(value) for value in node["outputs"])
    values = tuple(value for _, value in inputs)
    unpacked = len(outputs) > 1
    if target in ARITHMETIC:
        return _Step(ARITHMETIC[target], values, {}, outputs or (None,), unpacked, ())
    if target in (_GRAD, _AUTOCAST):
        call = _run_plainly if target == _GRAD else _run_autocast
        made = tuple(outputs[0]) if len(outputs) == 1 and isinstance(outputs[0], list) else outputs
        return _Step(call, (_Device(), *values), {}, made, True, ())
    short, overload = _overload(target)
    names = [argument.name for argument in overload._schema.arguments]
    given = dict(inputs)
    if unknown := sorted(given.keys() - set(names)):
        raise GraphError(f"gives {target} an argument {unknown[0]!r}, which torch {torch.__version__} does not know")
    first = next((place for place, name in enumerate(names) if name not in given), len(names))
    keyword_only = [place for place, argument in enumerate(overload._schema.arguments) if argument.kwarg_only]
    first = min([first, *keyword_only])
    positional = tuple(given.pop(name) for name in names[:first])
    return _Step(_REPLACED.get(short, overload), positional, given, outputs or (None,), unpacked, ())


def _overload(target: str) -> tuple[str, Any]:
    """Return NAMESPACE.NAME.OVERLOAD and the operator that it means, if a file may name it."""
    found = _TARGET.fullmatch(target)
    if found is None:
        raise GraphError(f"calls {target[:80]!r}, which is no operator of torch")
    namespace, name, overload = found.groups()
    short = f"{namespace}.{name}.{overload}"
    if reason := allowed_operators.reason_forbidden(namespace, name):
        raise GraphError(f"calls {short}, which {reason}")
    if short in _BY_STRIDES:
        raise GraphError(f"calls {short}, whose result depends on the memory layout of its export")
    if namespace == "torchvision":
        import torchvision  # noqa: F401  # brings its operators
    if not torch._C._jit_get_schemas_for_operator(f"{namespace}::{name}"):
        raise GraphError(f"calls {short}, which torch {torch.__version__} does not know")
    operation = getattr(getattr(getattr(torch.ops, namespace), name), overload, None)
    if not isinstance(operation, torch._ops.OpOverload):
        raise GraphError(f"calls {short}, which torch {torch.__version__} does not know")
    return short, operation


def _argument(union: Any) -> Any:
    """Return what an argument stands for; raise GraphError for kinds that no classifier needs."""
    kind, value = _only(union)
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return _Name(value["name"])
        case "as_tensors":
            return [_Name(item["name"]) for item in value]
        case "as_nested_tensors":
            return [[_Name(item["name"]) for item in items] for items in value]
        case "as_optional_tensor":
            return _argument(value)
        case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_argument(item) for item in value]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _argument(value)
        case "as_name":
            return _Name(value)
        case "as_int" | "as_bool" | "as_string" if isinstance(value, int | str):
            return value
        case "as_ints" | "as_bools" | "as_strings" if all(isinstance(item, int | str) for item in value):
            return list(value)
        case "as_float":
            return float(value)  # infinities come as text
        case "as_floats":
            return [float(item) for item in value]
        case "as_complex":
            return complex(float(value["real"]), float(value["imag"]))
        case "as_scalar_type":
            return DTYPES[value]
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_layout" if value == _STRIDED:
            return torch.strided
        case "as_device":
            return _Device()
        case "as_graph":
            return parse_graph(value["graph"])
    raise GraphError(f"uses an argument of kind {str(kind)[:40]!r}, which no classifier needs")


def _output(union: Any) -> Any:
    """Return the name of an output, a list of names, or None."""
    match _argument(union):
        case _Name(name):
            return name
        case list(items):
            return [item.name if isinstance(item, _Name) else None for item in items]
    return None


def _only(union: Any) -> tuple[Any, Any]:
    ((kind, value),) = union.items()
    return kind, value


def _with_last_uses(steps: Sequence[_Step], outputs: Sequence[Any]) -> tuple[_Step, ...]:
    """Return the steps, each with the values that no step after it needs, so that memory is freed as a module would."""
    needed = set(_names(outputs))
    result: list[_Step] = []
    for step in reversed(steps):
        used = {*_names(step.positional), *_names(step.keyword.values()), *_made(step.outputs)}
        done = tuple(sorted(used - needed))
        needed |= used
        result.append(_Step(step.call, step.positional, step.keyword, step.outputs, step.unpacked, done))
    return tuple(reversed(result))


def _names(arguments: Any) -> list[str]:
    found: list[str] = []
    for argument in arguments:
        if isinstance(argument, _Name):
            found.append(argument.name)
        elif isinstance(argument, list):
            found += _names(argument)
    return found


def _made(outputs: Any) -> list[str]:
    found: list[str] = []
    for output in outputs:
        if isinstance(output, str):
            found.append(output)
        elif isinstance(output, list):
            found += _made(output)
    return found


def _filled(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    match argument:
        case _Name(name):
            return values[name]
        case _Device():
            return device
        case list():
            return [_filled(item, values, device) for item in argument]
    return argument


def _name(names: Any, result: Any, values: dict[str, Any]) -> None:
    match names:
        case str():
            values[names] = result
        case list() | tuple():
            for name, value in zip(names, result, strict=True):
                _name(name, value, values)


def _run_plainly(device: torch.device, _: bool, graph: Graph, *arguments: object) -> tuple[Any, ...]:
    """Run a graph that sets whether gradients are kept: here they never are."""
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
