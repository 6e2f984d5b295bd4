"""Read programs of torch.export (.pt2): a graph of operators and its weights.

torch.export.load runs code, so `export_graph` reads and runs the graph instead. There are three layouts of weights:

- torch 2.9 and later store plain bytes.
- torch 2.8 stores one pickle in the same archive.
- torch 2.7 and earlier store a zip of their own.

torch's restricted reader loads all pickles. Compiled code (AOTInductor), custom classes and sample inputs are never read.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints import torch_archive
from robench.models.checkpoints.torch_archive import Archive
from robench.models.class_names import class_names_in_extras
from robench.models.formats.base import COPY_AGAIN, REFUSED, TRAINING_MODE_NOTE, LoadedModel, LoadRequest
from robench.models.formats.export_graph import DTYPES, GraphError, GraphModule, parse_graph
from robench.models.preprocessing import assumed

__all__ = ["load", "matches"]

_OLD = "serialized_exported_program.json"
_COMPILED = "data/aotinductor/"
_SOFTMAX = ("torch.ops.aten.softmax.int", "torch.ops.aten._softmax.default")
_SIGMOID = ("torch.ops.aten.sigmoid.default",)
_LINEAR = (
    "linear.default",
    "addmm.default",
    "mm.default",
    "mean.dim",
    "flatten.using_ints",
    "squeeze.dims",
    "conv2d.default",
)
_TRAINING = ("training", "train")
_SYMBOL = re.compile(r"(Mul\(Integer\((?P<step>\d+)\), )?Symbol\('(?P<name>\w+)'[^()]*\)\)?", re.ASCII)
"""A size that can be any number, or any multiple of one, as sympy writes it."""
_LARGEST = 2**20
"""Size in pixels that exceeds every image."""


def matches(path: Path) -> bool:
    """Return whether a file is an archive of torch.export, whatever its extension."""
    names = torch_archive.names(path)
    return _OLD in names or (
        "archive_format" in names and any(name.startswith(("models/", _COMPILED)) for name in names)
    )


def load(request: LoadRequest) -> LoadedModel:
    """Load the program as a module, with the input size and batch size that the export fixed."""
    path, content = request.path, request.read()
    with torch_archive.opened(path, content) as archive:
        member = _program(archive)
        program = _json(archive, member)
        try:
            return _load(archive, member, program, hashlib.sha256(content).hexdigest())
        except GraphError as error:
            raise CheckpointError(f"{path} {REFUSED}: its graph {error}", "give its state dict with --arch") from error
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"{path} is no program as torch.export writes it ({type(error).__name__}: {one_line(error)})",
                COPY_AGAIN,
            ) from error


def _program(archive: Archive) -> str:
    """Return the name of the member that holds the graph."""
    if _OLD in archive.sizes:
        return _OLD
    members = [name for name in archive.sizes if name.startswith("models/") and name.endswith(".json")]
    if len(members) == 1:
        return members[0]
    if any(name.startswith(_COMPILED) for name in archive.sizes):
        raise CheckpointError(
            f"{archive.path} {REFUSED}: it holds compiled code (AOTInductor)", "export the model with torch.export.save"
        )
    raise CheckpointError(f"{archive.path} holds {len(members)} programs of torch.export", "give a file with one")


def _json(archive: Archive, name: str) -> Any:
    _check_member(archive, name)
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{archive.path} is damaged: {name} is not JSON ({one_line(error)})", COPY_AGAIN
        ) from error


def _check_member(archive: Archive, name: str) -> None:
    if name not in archive.sizes:
        raise CheckpointError(f"{archive.path} is damaged or incomplete: it has no {name}", COPY_AGAIN)


def _load(archive: Archive, member: str, program: Any, sha256: str) -> LoadedModel:
    module_json = program["graph_module"]
    graph_json, signature = module_json["graph"], module_json["signature"]
    graph = parse_graph(graph_json)
    tensors = _tensors(archive, member)
    inputs = graph_json["inputs"]
    bound = [_bound(spec, value, tensors) for spec, value in zip(signature["input_specs"], inputs, strict=True)]
    images = [value for value, constant in zip(inputs, bound, strict=True) if constant is ...]
    if len(images) != 1:
        raise CheckpointError(f"{archive.path} takes {len(images)} inputs", "an image classifier takes one, the images")
    described = graph_json["tensor_values"][images[0]["as_tensor"]["name"]]
    batch, input_sizes, dtype = _image(archive.path, described, program.get("range_constraints", {}))
    outputs = [index for index, spec in enumerate(signature["output_specs"]) if "user_output" in spec]
    module = GraphModule(graph, bound, dtype, input_sizes, outputs, _keys(module_json, len(outputs)))
    preprocessing, note = assumed(input_sizes[0] if input_sizes is not None and len(input_sizes) == 1 else None)
    return LoadedModel(
        archive.path.stem,
        "torch.export",
        module,
        preprocessing,
        sha256,
        batch=batch,
        softmax=_softmax(graph_json, outputs),
        class_names=class_names_in_extras(archive),
        takes_pixels=dtype == torch.uint8,
        notes=(note, TRAINING_MODE_NOTE) if _acts_as_in_training(graph_json) else (note,),
    )


def _bound(spec: Any, value: Any, tensors: Callable[[str, str], Tensor]) -> object:
    """Return the value of an input of the graph: a tensor of the file, a constant, or `...` for the images."""
    ((kind, content),) = spec.items()
    match kind:
        case "parameter":
            return nn.Parameter(tensors("weights", content["parameter_name"]), requires_grad=False)
        case "buffer":
            return tensors("weights" if content["persistent"] else "constants", content["buffer_name"])
        case "tensor_constant":
            return tensors("constants", content["tensor_constant_name"])
        case "constant_input":
            return _constant(content["value"])
        case "user_input":
            return ... if "as_tensor" in value else _constant(value)
    raise GraphError(f"takes an input of kind {str(kind)[:40]!r}, which no classifier needs")


def _constant(union: Any) -> object:
    ((kind, value),) = union.items()
    if kind not in ("as_none", "as_int", "as_float", "as_string", "as_bool"):
        raise GraphError(f"takes an input of kind {str(kind)[:40]!r}, which no classifier needs")
    return None if kind == "as_none" else float(value) if kind == "as_float" else value


def _image(path: Path, meta: Any, limits: Any) -> tuple[int | None, Sequence[int] | None, torch.dtype]:
    """Return the batch size, the input sizes in pixels and the dtype of the images; None for any size."""
    sizes = [size.get("as_int") for size in meta["sizes"]]
    if len(sizes) != 4 or sizes[1] not in (3, None) or sizes[2] != sizes[3]:
        shape = "x".join("?" if size is None else str(size) for size in sizes)
        raise CheckpointError(f"{path} takes {shape} input", "an image classifier takes (images, 3, size, size)")
    dtype = DTYPES[meta["dtype"]]
    if not dtype.is_floating_point and dtype != torch.uint8:
        raise CheckpointError(f"{path} takes {dtype} input", "export it for float or uint8 images")
    return sizes[0], _input_sizes(meta["sizes"][2], limits), dtype


def _input_sizes(size: Any, limits: Any) -> Sequence[int] | None:
    """Return the sizes that an export takes: one, or a range, perhaps of the multiples of a number.

    Args:
        size: An integer or an expression.
        limits: Smallest and largest value of each expression.
    """
    if "as_int" in size:
        return (int(size["as_int"]),)
    match = _SYMBOL.fullmatch(str(size["as_expr"]["expr_str"]))
    if match is None:
        return None
    step = int(match["step"] or 1)
    limit = limits.get(f"{step}*{match['name']}" if step > 1 else match["name"], {})
    smallest, largest = limit.get("min_val"), limit.get("max_val")
    if not isinstance(largest, int) or not 0 < largest <= _LARGEST:
        largest = _LARGEST
    smallest = max(1, smallest) if isinstance(smallest, int) else 1
    return range(math.ceil(smallest / step) * step, largest + 1, step) if step > 0 else None


def _keys(module: Any, outputs: int) -> list[str] | None:
    """Return the names of the outputs if the module returned a dict or a dataclass of tensors."""
    calls = module["module_call_graph"]
    root = next((call["signature"] for call in calls if call["fqn"] == "" and call.get("signature")), None)
    if root is None:
        return None
    try:
        context = json.loads(json.loads(root["out_spec"])[1]["context"])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None  # A single tensor or a tuple has no names.
    is_keys = isinstance(context, list) and len(context) == outputs and all(isinstance(key, str) for key in context)
    return context if is_keys else None


def _softmax(graph: Any, outputs: list[int]) -> bool | None:
    """Return whether the only output is a softmax, or a sigmoid of one value; None if the last node does not show it."""
    if len(outputs) != 1 or "as_tensor" not in graph["outputs"][outputs[0]]:
        return None
    name = graph["outputs"][outputs[0]]["as_tensor"]["name"]
    target = next((node["target"] for node in graph["nodes"] if {"as_tensor": {"name": name}} in node["outputs"]), "")
    sizes = [size.get("as_int") for size in graph["tensor_values"].get(name, {}).get("sizes", ())]
    is_single = len(sizes) < 2 or sizes[-1] == 1
    if target in _SOFTMAX or (target in _SIGMOID and is_single):
        return True
    return False if target.removeprefix("torch.ops.aten.") in _LINEAR else None


def _acts_as_in_training(graph: Any) -> bool:
    for node in graph["nodes"]:
        arguments = {item["name"]: item["arg"] for item in node["inputs"]}
        inner = [item["arg"]["as_graph"]["graph"] for item in node["inputs"] if "as_graph" in item["arg"]]
        # A model without running statistics uses those of the batch by design.
        has_effect = "as_none" not in arguments.get("running_mean", {}) and not str(node["target"]).endswith(
            ".no_stats"
        )
        rate = arguments.get("dropout_p", arguments.get("p", {"as_float": 1}))
        is_on = any(arguments.get(name, {}).get("as_bool") for name in _TRAINING) or "dropout_p" in arguments
        if (is_on and has_effect and rate.get("as_float") != 0) or any(map(_acts_as_in_training, inner)):
            return True
    return False


def _tensors(archive: Archive, member: str) -> Callable[[str, str], Tensor]:
    """Return a function from (weights or constants, name) to a tensor of the file."""
    model = member.removeprefix("models/").removesuffix(".json")
    states: dict[str, Mapping[str, Any]] = {}

    def tensor(kind: str, name: str) -> Tensor:
        if kind not in states:
            states[kind] = _state(archive, kind, model)
        value = states[kind][name]
        result = _payload(archive, f"data/{kind}/", value) if isinstance(value, Mapping) else value
        if not isinstance(result, Tensor):
            raise GraphError(f"takes {name[:80]!r}, which is no tensor")
        return result.detach()

    return tensor


def _state(archive: Archive, kind: str, model: str) -> Mapping[str, Any]:
    """Return tensors by name, or their descriptions if separate members hold their bytes."""
    old = "serialized_state_dict.pt" if kind == "weights" else "serialized_constants.pt"
    for name in (old, f"data/{kind}/{model}.pt"):
        if name in archive.sizes:
            content = _unpickled(archive, name)
            if not isinstance(content, Mapping):
                raise CheckpointError(f"{archive.path} is damaged: {name} does not hold tensors by name", COPY_AGAIN)
            return content
    config: Mapping[str, Any] = _json(archive, f"data/{kind}/{model}_{kind}_config.json")["config"]
    return config


def _payload(archive: Archive, folder: str, described: Mapping[str, Any]) -> object:
    name = folder + described["path_name"]
    _check_member(archive, name)
    if not described["path_name"].startswith(("weight_", "tensor_")):
        raise GraphError(f"takes {name!r}, an object of a custom class")
    if described["use_pickle"]:
        return _unpickled(archive, name)
    meta = described["tensor_meta"]
    dtype = DTYPES[meta["dtype"]]
    size, stride = ([int(item["as_int"]) for item in meta[key]] for key in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    if math.prod(size) == 0:
        return torch.zeros(size, dtype=dtype)
    content = archive.read(name)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (last + 1) * dtype.itemsize > len(content):
        raise CheckpointError(
            f"{archive.path} is damaged: {name} has {len(content)} bytes, fewer than its tensor", COPY_AGAIN
        )
    used = len(content) // dtype.itemsize * dtype.itemsize
    return torch.frombuffer(bytearray(content[:used]), dtype=dtype).as_strided(size, stride, offset)


def _unpickled(archive: Archive, name: str) -> object:
    content = archive.read(name)
    try:
        result: object = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{archive.path} {REFUSED}: {name} holds more than tensors", "give its state dict with --arch"
        ) from error
    except Exception as error:
        # torch has no error class for a damaged file: its readers raise many.
        raise CheckpointError(
            f"{archive.path} is damaged: {name} cannot be read ({one_line(error)})", COPY_AGAIN
        ) from error
    return result
