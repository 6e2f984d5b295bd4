"""Programs of torch.export (.pt2): a graph of operators and its weights, read without torch.export.load, which runs code.

`graph` runs the graph. Three layouts: torch 2.9 and later keep weights as plain bytes, 2.8 as one pickle in the same archive,
2.7 and earlier in a zip of their own; all pickles go through torch's restricted reader. Compiled code (AOTInductor), objects of
custom classes and sample inputs are never read.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints import torch_archive
from robench.models.checkpoints.read import file_sha256
from robench.models.checkpoints.torch_archive import Archive
from robench.models.formats.base import IN_TRAINING, LoadedModel, LoadRequest
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
"""A size that is any number, or any multiple of one, as sympy writes it."""
_WIDEST = 2**20
"""Pixels, more than any image has."""


def matches(path: Path) -> bool:
    """Whether a file is an archive of torch.export, whatever its extension."""
    names = torch_archive.names(path)
    return _OLD in names or any(name.startswith(("models/", _COMPILED)) for name in names & _formats(names))


def _formats(names: frozenset[str]) -> frozenset[str]:
    return names if "archive_format" in names else frozenset()


def load(request: LoadRequest) -> LoadedModel:
    """Return the program as a module; its input's side and batch size where the export fixed them."""
    path = request.path
    with torch_archive.opened(path) as opened:
        place = _program(opened)
        program = _json(opened, place)
        try:
            return _loaded(opened, place, program)
        except GraphError as error:
            raise CheckpointError(
                f"{path} was refused, and nothing in it was run: its graph {error}; give its state dict with --arch"
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"{path} is no program as torch.export writes it, it may be damaged ({type(error).__name__}: {one_line(error)})"
            ) from error


def _program(opened: Archive) -> str:
    """Return the member that holds the graph."""
    if _OLD in opened.sizes:
        return _OLD
    found = [name for name in opened.sizes if name.startswith("models/") and name.endswith(".json")]
    if len(found) == 1:
        return found[0]
    if any(name.startswith(_COMPILED) for name in opened.sizes):
        raise CheckpointError(
            f"{opened.path} was refused, and nothing in it was run: it holds compiled code (AOTInductor); "
            "export the model with torch.export.save instead"
        )
    raise CheckpointError(f"{opened.path} holds {len(found)} programs of torch.export: give a file with one")


def _json(opened: Archive, name: str) -> Any:
    if name not in opened.sizes:
        raise CheckpointError(f"{opened.path} is damaged or incomplete: it has no {name}; copy or download it again")
    try:
        return json.loads(opened.read(name))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{opened.path} is damaged: {name} is no JSON ({one_line(error)})") from error


@dataclass(frozen=True)
class _Image:
    batch: int | None
    sides: Sequence[int] | None
    """In pixels, those that it may have; None for any."""
    dtype: torch.dtype

    @property
    def side(self) -> int | None:
        """The only one in pixels; None where there are others."""
        return self.sides[0] if self.sides is not None and len(self.sides) == 1 else None


def _loaded(opened: Archive, place: str, program: Any) -> LoadedModel:
    module_json = program["graph_module"]
    graph_json, signature = module_json["graph"], module_json["signature"]
    graph = parse_graph(graph_json)
    tensors = _tensors(opened, place)
    bound: list[object] = [_bound(spec, value, tensors) for spec, value in _inputs(signature, graph_json)]
    images = [value for value, given in zip(graph_json["inputs"], bound, strict=True) if given is ...]
    if len(images) != 1:
        raise CheckpointError(f"{opened.path} takes {len(images)} inputs: an image classifier takes one, the images")
    image = _image(
        opened.path, graph_json["tensor_values"][images[0]["as_tensor"]["name"]], program.get("range_constraints", {})
    )
    outputs = [number for number, spec in enumerate(signature["output_specs"]) if "user_output" in spec]
    keys = _keys(module_json, len(outputs))
    module = GraphModule(graph, bound, image.dtype, image.sides, outputs, keys)
    preprocessing, note = assumed(image.side)
    notes = (note, IN_TRAINING) if _acts_as_in_training(graph_json) else (note,)
    return LoadedModel(
        opened.path.stem,
        "torch.export",
        module,
        preprocessing,
        file_sha256(opened.path),
        batch=image.batch,
        softmax=_softmax(graph_json, outputs),
        notes=notes,
    )


def _inputs(signature: Any, graph: Any) -> list[tuple[Any, Any]]:
    return list(zip(signature["input_specs"], graph["inputs"], strict=True))


def _bound(spec: Any, value: Any, tensors: Callable[[str, str], Tensor]) -> object:
    """Return what an input of the graph is: a tensor of the file, a constant, or `...` for the image."""
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


def _image(path: Path, meta: Any, limits: Any) -> _Image:
    """Return what the input may be; limits: smallest and largest value of each expression of sizes."""
    sizes = [size.get("as_int") for size in meta["sizes"]]
    if len(sizes) != 4 or sizes[1] not in (3, None) or sizes[2] != sizes[3]:
        shape = "x".join("?" if size is None else str(size) for size in sizes)
        raise CheckpointError(f"{path} takes {shape} input: an image classifier takes (images, 3, side, side)")
    dtype = DTYPES[meta["dtype"]]
    if not dtype.is_floating_point:
        raise CheckpointError(
            f"{path} takes {dtype} input: export the model behind its preprocessing, with float input"
        )
    return _Image(sizes[0], _sides(meta["sizes"][2], limits), dtype)


def _sides(size: Any, limits: Any) -> Sequence[int] | None:
    """The sizes in pixels that an export takes: one, or a range of them, perhaps of the multiples of a number."""
    if "as_int" in size:
        return (int(size["as_int"]),)
    found = _SYMBOL.fullmatch(str(size["as_expr"]["expr_str"]))
    if found is None:
        return None
    step = int(found["step"] or 1)
    limit = limits.get(f"{step}*{found['name']}" if step > 1 else found["name"], {})
    least, most = limit.get("min_val"), limit.get("max_val")
    if not isinstance(most, int) or not 0 < most <= _WIDEST:
        most = _WIDEST
    least = max(1, least) if isinstance(least, int) else 1
    return range(math.ceil(least / step) * step, most + 1, step) if step > 0 else None


def _keys(module: Any, outputs: int) -> list[str] | None:
    """Return the names of the outputs where the module returned a dict or a dataclass of tensors."""
    calls = module["module_call_graph"]
    root = next((call["signature"] for call in calls if call["fqn"] == "" and call.get("signature")), None)
    if root is None:
        return None
    try:
        context = json.loads(json.loads(root["out_spec"])[1]["context"])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None  # a single tensor or a tuple, which have no names
    is_keys = isinstance(context, list) and len(context) == outputs and all(isinstance(key, str) for key in context)
    return context if is_keys else None


def _softmax(graph: Any, outputs: list[int]) -> bool | None:
    if len(outputs) != 1 or "as_tensor" not in graph["outputs"][outputs[0]]:
        return None
    name = graph["outputs"][outputs[0]]["as_tensor"]["name"]
    made = [node["target"] for node in graph["nodes"] if {"as_tensor": {"name": name}} in node["outputs"]]
    sizes = [size.get("as_int") for size in graph["tensor_values"].get(name, {}).get("sizes", ())]
    is_single = len(sizes) < 2 or sizes[-1] == 1
    if not made:
        return None
    if made[0] in _SOFTMAX or (made[0] in _SIGMOID and is_single):
        return True
    return False if made[0].removeprefix("torch.ops.aten.") in _LINEAR else None


def _acts_as_in_training(graph: Any) -> bool:
    for node in graph["nodes"]:
        given = {item["name"]: item["arg"] for item in node["inputs"]}
        inner = [item["arg"]["as_graph"]["graph"] for item in node["inputs"] if "as_graph" in item["arg"]]
        # Without running statistics those of the batch are the model's own way.
        acts = "as_none" not in given.get("running_mean", {}) and not str(node["target"]).endswith(".no_stats")
        share = given.get("dropout_p", given.get("p", {"as_float": 1}))
        on = any(given.get(name, {}).get("as_bool") for name in _TRAINING) or "dropout_p" in given
        if (on and acts and share.get("as_float") != 0) or any(map(_acts_as_in_training, inner)):
            return True
    return False


def _tensors(opened: Archive, place: str) -> Callable[[str, str], Tensor]:
    """Return the function from (weights or constants, name) to a tensor of the file."""
    model = place.removeprefix("models/").removesuffix(".json")
    read: dict[str, Mapping[str, Any]] = {}

    def tensor(kind: str, name: str) -> Tensor:
        if kind not in read:
            read[kind] = _state(opened, kind, model)
        value = read[kind][name]
        found = _payload(opened, f"data/{kind}/", value) if isinstance(value, Mapping) else value
        if not isinstance(found, Tensor):
            raise GraphError(f"takes {name[:80]!r}, which is no tensor")
        return found.detach()

    return tensor


def _state(opened: Archive, kind: str, model: str) -> Mapping[str, Any]:
    """Return tensors by name, or their descriptions where their bytes lie in members of their own."""
    old = "serialized_state_dict.pt" if kind == "weights" else "serialized_constants.pt"
    for name in (old, f"data/{kind}/{model}.pt"):
        if name in opened.sizes:
            content = _unpickled(opened, name)
            if not isinstance(content, Mapping):
                raise CheckpointError(f"{opened.path} is damaged: {name} holds no tensors by name")
            return content
    config: Mapping[str, Any] = _json(opened, f"data/{kind}/{model}_{kind}_config.json")["config"]
    return config


def _payload(opened: Archive, folder: str, described: Mapping[str, Any]) -> object:
    name = folder + described["path_name"]
    if name not in opened.sizes:
        raise CheckpointError(f"{opened.path} is damaged or incomplete: it has no {name}; copy or download it again")
    if not described["path_name"].startswith(("weight_", "tensor_")):
        raise GraphError(f"takes {name!r}, an object of a class of its own")
    if described["use_pickle"]:
        return _unpickled(opened, name)
    meta = described["tensor_meta"]
    dtype = DTYPES[meta["dtype"]]
    size, stride = ([int(item["as_int"]) for item in meta[key]] for key in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    if math.prod(size) == 0:
        return torch.zeros(size, dtype=dtype)
    content = opened.read(name)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (last + 1) * dtype.itemsize > len(content):
        raise CheckpointError(f"{opened.path} is damaged: {name} has {len(content)} bytes, fewer than its tensor")
    whole = len(content) // dtype.itemsize * dtype.itemsize
    return torch.frombuffer(bytearray(content[:whole]), dtype=dtype).as_strided(size, stride, offset)


def _unpickled(opened: Archive, name: str) -> object:
    try:
        content: object = torch.load(io.BytesIO(opened.read(name)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{opened.path} was refused, and nothing in it was run: {name} holds more than tensors; "
            "give its state dict with --arch"
        ) from error
    except Exception as error:
        # torch has no error of its own for a damaged file: whatever its readers trip over arrives here.
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{opened.path} is damaged: {name} cannot be read ({one_line(error)})") from error
    return content
