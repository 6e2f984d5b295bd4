"""Read ONNX models and run them by onnxruntime (extra robench[onnx]).

No operator of an ONNX graph runs code or writes files. But a file can name files to read (external data), compiled contexts of
vendors, and operators of other libraries. The onnx package checks all of these before onnxruntime sees the file.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.read import holds_weights
from robench.models.checkpoints.sharded import files_sha256
from robench.models.class_names import class_names_in_texts
from robench.models.formats.base import COPY_AGAIN, REFUSED, TRAINING_MODE_NOTE, LoadedModel, LoadRequest
from robench.models.memory import physical_memory
from robench.models.preprocessing import assumed
from robench.models.preprocessing.in_network import Triple, channel_values, is_layer, standardised

__all__ = ["OnnxModule", "load", "matches"]

_MAX_BYTES = 2**31
"""Limit of protobuf; larger models keep their weights as external data."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
_FOREIGN = ("EPContext", "PythonOp", "PythonOpGrad", "ATen", "ExternalGradient", "TritonOp")
"""Operators of com.microsoft that run code from outside of onnxruntime: a vendor's binary, Python, torch."""
_TYPES: dict[int, type[np.number[Any]]] = {1: np.float32, 2: np.uint8, 10: np.float16, 11: np.float64}
"""Element types of images, by their code in onnx.TensorProto."""
_LINEAR = ("Gemm", "MatMul", "Add", "Conv", "Flatten", "ReduceMean", "GlobalAveragePool")
_SILENT = 4
"""Log severity of onnxruntime that prints only errors which end the process."""


def matches(path: Path) -> bool:
    """Return whether a file has the extension .onnx and is no weights file; protobufs have no signature."""
    return path.suffix.lower() == ".onnx" and not holds_weights(path)


def load(request: LoadRequest) -> LoadedModel:
    """Load the graph as a module, on CUDA if the request and onnxruntime allow it."""
    path = request.path
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder", "give the .onnx file in it")
    onnx, runtime = _libraries()
    content = request.read()
    model = _parsed(onnx, path, content)
    external = {_external_file(path, tensor) for tensor in _external_tensors(onnx, path, model)}
    _check(onnx, path, model)
    name, image = _image(path, model.graph)
    outputs = [output.name for output in model.graph.output if output.type.HasField("tensor_type")]
    if not outputs:
        raise CheckpointError(f"{path} has no tensor among its outputs", "an image classifier gives (images, classes)")
    session, notes = _session(runtime, path, None if external else model.SerializeToString(), request.device)
    preprocessing, note = assumed(image.size)
    if _acts_as_in_training(onnx, model.graph):
        notes = (*notes, TRAINING_MODE_NOTE)
    return LoadedModel(
        path.stem,
        "onnx",
        OnnxModule(session, name, outputs, image),
        preprocessing,
        files_sha256([path, *external]) if external else hashlib.sha256(content).hexdigest(),
        batch=image.batch,
        softmax=_softmax(model.graph, outputs),
        torch_runs=False,
        class_names=class_names_in_texts((entry.key, entry.value) for entry in model.metadata_props),
        takes_pixels=image.dtype is np.uint8,
        first_values=partial(_first_values, onnx, runtime, path, model, name, image),
        notes=(note, *notes),
    )


@dataclass(frozen=True)
class _Image:
    """Input of a model; a size is None if it can be any."""

    batch: int | None
    size: int | None
    dtype: type[np.number[Any]]
    channels_last: bool

    def array(self, images: Tensor) -> np.ndarray[Any, Any]:
        """Return images (b, 3, size, size) as the model takes them."""
        values = images.detach().cpu().float()
        values = values.permute(0, 2, 3, 1) if self.channels_last else values
        values = values.round().clamp(0, 255) if self.dtype is np.uint8 else values
        return np.ascontiguousarray(values.numpy(), dtype=self.dtype)


class OnnxModule(nn.Module):
    """An onnxruntime session: (b, 3, size, size) on any device -> its output, or all outputs by name, on that device."""

    def __init__(self, session: Any, name: str, outputs: list[str], image: _Image) -> None:
        super().__init__()
        self.session, self.name, self.outputs, self.image = session, name, outputs, image

    def forward(self, x: Tensor) -> Any:
        """Run the session; raise any error of onnxruntime."""
        outputs = self.session.run(self.outputs, {self.name: self.image.array(x)})
        results = [torch.from_numpy(output).to(x.device) for output in outputs]
        return results[0] if len(results) == 1 else dict(zip(self.outputs, results, strict=True))


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(
            f"ONNX files need onnx and onnxruntime ({one_line(error)})", "pip install 'robench[onnx]'"
        ) from error
    onnxruntime.set_default_logger_severity(_SILENT)
    return onnx, onnxruntime


def _parsed(onnx: ModuleType, path: Path, content: bytes) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if len(content) >= _MAX_BYTES:
        raise CheckpointError(f"{path} has over 2 GiB, more than an ONNX file can have", "check what it is")
    if not content:
        raise CheckpointError(f"{path} is empty", COPY_AGAIN)
    try:
        return onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _check(onnx: ModuleType, path: Path, model: Any) -> None:
    """Raise CheckpointError unless the graph obeys the rules of ONNX; running it shows the shapes of outputs."""
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for output in checked.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.shape.SetInParent()
    for tensor in _external_tensors(onnx, path, checked):
        # The checker would search for their files in the current folder; `_external_file` has checked them.
        tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    try:
        onnx.checker.check_model(checked)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is no ONNX model or is damaged ({one_line(error)})", COPY_AGAIN)


def _external_tensors(onnx: ModuleType, path: Path, model: Any) -> list[Any]:
    """Return the tensors with data in other files; raise CheckpointError for an operator that onnxruntime does not provide."""
    functions = {(function.domain, function.name) for function in model.functions}
    tensors, messages = [], [model]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto):
            if message.external_data or message.data_location == onnx.TensorProto.EXTERNAL:
                tensors.append(message)
            continue
        if isinstance(message, onnx.NodeProto) and (message.domain, message.op_type) not in functions:
            _check_operator(path, message.domain, message.op_type)
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages += [value] if hasattr(value, "ListFields") else value
    return tensors


def _check_operator(path: Path, domain: str, name: str) -> None:
    if domain not in _DOMAINS or name in _FOREIGN:
        raise CheckpointError(
            f"{path} {REFUSED}: it needs the operator {domain or 'ai.onnx'}::{name}, which onnxruntime does not provide",
            "export the model without it",
        )


def _external_file(path: Path, tensor: Any) -> Path:
    """Return the file of a tensor's data; raise CheckpointError unless it is in the model's folder and long enough."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        folder = path.resolve(strict=True).parent
        target: Path = (folder / location).resolve(strict=True)
        is_inside = target.is_relative_to(folder) and not Path(location).is_absolute()
        size = target.stat().st_size if is_inside and target.is_file() else None
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links.
        raise CheckpointError(
            f"{path} keeps weights in {location!r}, which cannot be read ({one_line(error)})", "copy the whole folder"
        ) from error
    if size is None:
        raise CheckpointError(
            f"{path} {REFUSED}: it reads {location!r}, which is no file of its own folder",
            "copy the weights into the folder, and export the model again",
        )
    if size > physical_memory():
        raise CheckpointError(
            f"{target} has {size / 2**30:,.0f} GiB, more than the memory of this machine",
            "check that it is not damaged",
        )
    if min(offset, length) < 0 or offset + length > size:
        raise CheckpointError(f"{path} is damaged or incomplete: {location!r} is shorter than its weights", COPY_AGAIN)
    return target


def _image(path: Path, graph: Any) -> tuple[str, _Image]:
    """Return the name of the only input, and its description."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs[:8])
        raise CheckpointError(
            f"{path} takes {len(inputs)} inputs ({names})", "an image classifier takes one, the images"
        )
    described = inputs[0].type.tensor_type
    # Some exporters write -1 for any size.
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in described.shape.dim]
    match sizes:
        case [batch, 3 | None, height, width] if height == width:
            channels_last = False
        case [batch, height, width, 3] if height == width:
            channels_last = True
        case _:
            shape = "x".join("?" if size is None else str(size) for size in sizes)
            raise CheckpointError(
                f"{path} takes {shape} input",
                "an image classifier takes (images, 3, size, size) or (images, size, size, 3)",
            )
    if described.elem_type not in _TYPES:
        raise CheckpointError(
            f"{path} takes images of another type than float and uint8", "export it for float or uint8 images"
        )
    return inputs[0].name, _Image(batch, height, _TYPES[described.elem_type], channels_last)


def _session(
    runtime: ModuleType, path: Path, content: bytes | None, device: torch.device
) -> tuple[Any, tuple[str, ...]]:
    """Return a session and notes; `content` is the model, or None if it reads other files next to it."""
    cuda = "CUDAExecutionProvider"
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and cuda in runtime.get_available_providers():
        providers.insert(0, (cuda, {"device_id": device.index or 0}))
    try:
        session = runtime.InferenceSession(content if content is not None else str(path), _options(runtime), providers)
    except Exception as error:
        # onnxruntime's errors have no common base class.
        raise CheckpointError(
            f"onnxruntime {runtime.__version__} cannot run {path} ({one_line(error)})",
            "export it with a lower opset, or pip install --upgrade onnxruntime",
        ) from error
    if device.type == "cpu" or cuda in session.get_providers():
        return session, ()
    return session, (
        f"onnxruntime has no {device.type} here, so the model runs on the CPU: pip install onnxruntime-gpu",
    )


def _options(runtime: ModuleType) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    return options


def _first_values(
    onnx: ModuleType, runtime: ModuleType, path: Path, model: Any, name: str, image: _Image, images: Tensor
) -> list[Triple | None]:
    """Return the `channel_values` of each result of a model before its first layer."""
    # The libraries have no common error, and the whole model runs without this part of it.
    with suppress(Exception):
        array = image.array(images)
        results, layer = _before_first_layer(model.graph, name)
        statistics = [*layer.input[3:5]] if layer is not None and layer.op_type == "BatchNormalization" else []
        outputs = [*results, *statistics]
        part = _part(onnx, path, model, name, outputs)
        session = runtime.InferenceSession(part.SerializeToString(), _options(runtime), ["CPUExecutionProvider"])
        arrays = dict(zip(outputs, session.run(outputs, {name: array}), strict=True))
        values = [_channels(arrays[result]) for result in results]
        before = _channels(arrays.get(layer.input[0], array)) if statistics else None
        if before is not None:
            epsilon = next((attribute.f for attribute in layer.attribute if attribute.name == "epsilon"), 1e-5)
            mean, variance = (arrays[statistic].tolist() for statistic in statistics)
            values.append(standardised(before, mean, variance, epsilon))
        return values
    return []


def _channels(value: object) -> Triple | None:
    is_numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fu"
    return channel_values(torch.from_numpy(value)) if is_numbers else None


def _before_first_layer(graph: Any, name: str) -> tuple[list[str], Any]:
    """Return the results that depend on the input before the first layer, in order, and the layer, if any."""
    derived, results = {name}, list[str]()
    for node in graph.node:
        if derived.isdisjoint(node.input):
            continue
        has_graphs = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if is_layer(node.op_type) or has_graphs:
            return results, node
        derived.update(node.output)
        results += filter(None, node.output)
    return results, None


def _part(onnx: ModuleType, path: Path, model: Any, name: str, results: list[str]) -> Any:
    """Return the part of a model that computes `results`."""
    needed, nodes = set(results), []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            nodes.append(node)
    inputs = [value for value in model.graph.input if value.name == name]
    outputs = [onnx.ValueInfoProto(name=result) for result in results]
    tensors = []
    for tensor in model.graph.initializer:
        if tensor.name in needed:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            if copy.data_location == onnx.TensorProto.EXTERNAL:
                onnx.external_data_helper.load_external_data_for_tensor(copy, str(path.resolve().parent))
            tensors.append(copy)
    graph = onnx.helper.make_graph(nodes[::-1], "first", inputs, outputs, tensors)
    # Before version 4, initializers had to be inputs too.
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions, ir_version=max(4, model.ir_version)
    )


def _acts_as_in_training(onnx: ModuleType, graph: Any) -> bool:
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def is_zero(name: str) -> bool:
        """Return whether an input is a constant of zeros or False; an omitted input is False."""
        tensor = tensors.get(name)
        is_known = tensor is not None and not tensor.external_data
        return not name or (is_known and not np.any(onnx.numpy_helper.to_array(tensor)))

    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            tensors[node.output[0]] = attributes["value"].t
        if node.op_type == "BatchNormalization" and "training_mode" in attributes and attributes["training_mode"].i:
            return True
        if node.op_type == "Dropout" and len(node.input) == 3:
            _, rate, is_on = node.input
            if not is_zero(is_on) and not (rate and is_zero(rate)):
                return True
    return False


def _softmax(graph: Any, outputs: list[str]) -> bool | None:
    """Return whether the only output is a softmax, or a sigmoid of one value; None if the last node does not show it."""
    operators = [node.op_type for node in graph.node if outputs[0] in node.output]
    described = next(output.type.tensor_type for output in graph.output if output.name == outputs[0])
    sizes = [dim.dim_value for dim in described.shape.dim]
    # The probe counts the values of an output without a shape, and undoes only a sigmoid of one value.
    is_single = len(sizes) < 2 or (len(sizes) == 2 and sizes[1] == 1)
    if len(outputs) != 1 or not operators:
        return None
    if operators[0] == "Softmax" or (operators[0] == "Sigmoid" and is_single):
        return True
    return False if operators[0] in _LINEAR else None
