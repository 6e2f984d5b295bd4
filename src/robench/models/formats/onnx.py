"""ONNX models, run by onnxruntime (extra robench[onnx]).

An ONNX graph has no operators that run code or write files, but a file can name files to read (external data), compiled contexts
of vendors and operators of other libraries. All of that is looked through with the onnx package before onnxruntime sees the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.read import holds_weights
from robench.models.checkpoints.sharded import files_sha256
from robench.models.formats.base import IN_TRAINING, LoadedModel, LoadRequest
from robench.models.memory import physical_memory
from robench.models.preprocessing import assumed

__all__ = ["OnnxModule", "load", "matches"]

_INSTALL = "pip install 'robench[onnx]'"
_LARGEST = 2**31
"""Bytes; protobuf cannot hold more, larger models keep their weights as external data."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
_FOREIGN = ("EPContext", "PythonOp", "PythonOpGrad", "ATen", "ExternalGradient", "TritonOp")
"""Operators of com.microsoft that run what onnxruntime did not build: a vendor's binary, Python, torch."""
_TYPES: dict[int, type[np.floating[Any]]] = {1: np.float32, 10: np.float16, 11: np.float64}
"""Element types of images, by their number in onnx.TensorProto."""
_LINEAR = ("Gemm", "MatMul", "Add", "Conv", "Flatten", "ReduceMean", "GlobalAveragePool")
_SILENT = 4
"""Log severity of onnxruntime: nothing but what ends the process."""


def matches(path: Path) -> bool:
    """Whether a file is called .onnx, and is no weights file: protobufs begin with nothing that tells them apart."""
    return path.suffix.lower() == ".onnx" and not holds_weights(path)


def load(request: LoadRequest) -> LoadedModel:
    """Return the graph as a module, on CUDA where onnxruntime has it and the device asks for it."""
    path = request.path
    onnx, runtime = _libraries()
    model = _parsed(onnx, path)
    external = {_external_file(path, tensor) for tensor in _external_tensors(onnx, path, model)}
    _check(onnx, path, model)
    name, image = _image(path, model.graph)
    outputs = [output.name for output in model.graph.output if output.type.HasField("tensor_type")]
    if not outputs:
        raise CheckpointError(f"{path} has no tensor among its outputs: an image classifier gives (images, classes)")
    session, notes = _session(runtime, path, None if external else model.SerializeToString(), request.device)
    module = OnnxModule(session, name, outputs, image)
    preprocessing, note = assumed(image.side)
    return LoadedModel(
        path.stem,
        "onnx",
        module,
        preprocessing,
        files_sha256([path, *external]),
        batch=image.batch,
        softmax=_softmax(model.graph, outputs),
        torch_runs=False,
        notes=(note, *notes, *((IN_TRAINING,) if _acts_as_in_training(onnx, model.graph) else ())),
    )


@dataclass(frozen=True)
class _Image:
    batch: int | None
    side: int | None
    dtype: type[np.floating[Any]]
    channels_last: bool


class OnnxModule(nn.Module):
    """An onnxruntime session: (b, 3, side, side) on any device -> its output, or all of them by name, on that device."""

    def __init__(self, session: Any, name: str, outputs: list[str], image: _Image) -> None:
        super().__init__()
        self.session, self.name, self.outputs, self.image = session, name, outputs, image

    def forward(self, x: Tensor) -> Any:
        """Run the session; raises whatever onnxruntime raises."""
        values = x.detach().cpu().permute(0, 2, 3, 1) if self.image.channels_last else x.detach().cpu()
        array = np.ascontiguousarray(values.float().numpy(), dtype=self.image.dtype)
        results = [torch.from_numpy(out).to(x.device) for out in self.session.run(self.outputs, {self.name: array})]
        return results[0] if len(results) == 1 else dict(zip(self.outputs, results, strict=True))


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(f"reading ONNX needs onnx and onnxruntime ({one_line(error)}): {_INSTALL}") from error
    onnxruntime.set_default_logger_severity(_SILENT)
    return onnx, onnxruntime


def _parsed(onnx: ModuleType, path: Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the .onnx file in it")
    try:
        if path.stat().st_size >= _LARGEST:
            raise CheckpointError(f"{path} has over 2 GiB, which no ONNX file can: is it another file, or damaged?")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise CheckpointError(f"{path} is empty: copy or download it again")
    try:
        return onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise _broken(path, error) from error


def _check(onnx: ModuleType, path: Path, model: Any) -> None:
    """Raise CheckpointError unless the graph keeps to the rules of ONNX, but for shapes of outputs, which runs show."""
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for output in checked.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.shape.SetInParent()
    for tensor in _external_tensors(onnx, path, checked):
        # The checker would look for their files from the current folder; they have been looked at.
        tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    try:
        onnx.checker.check_model(checked)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is no ONNX model or is damaged: copy or download it again ({one_line(error)})")


def _external_tensors(onnx: ModuleType, path: Path, model: Any) -> Iterator[Any]:
    """Yield the tensors whose data lie in other files; raise CheckpointError for operators that onnxruntime does not bring."""
    functions = {(function.domain, function.name) for function in model.functions}
    graphs = [model.graph]
    graphs += [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    nodes = [node for function in model.functions for node in function.node]
    tensors: list[Any] = []
    attributes = [attribute for function in model.functions for attribute in function.attribute_proto]
    while graphs or nodes or attributes:
        while graphs:
            graph = graphs.pop()
            nodes += graph.node
            tensors += graph.initializer
            tensors += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
        while nodes:
            node = nodes.pop()
            is_own = (node.domain, node.op_type) in functions
            if not is_own and (node.domain not in _DOMAINS or node.op_type in _FOREIGN):
                raise CheckpointError(
                    f"{path} was refused, and nothing in it was run: it needs the operator "
                    f"{node.domain or 'ai.onnx'}::{node.op_type}, which is not of onnxruntime; export it without"
                )
            attributes += node.attribute
        while attributes:
            attribute = attributes.pop()
            graphs += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
            tensors += [attribute.t, *attribute.tensors] if attribute.HasField("t") else attribute.tensors
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            tensors += [part for tensor in sparse for part in (tensor.values, tensor.indices)]
    return (tensor for tensor in tensors if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL)


def _external_file(path: Path, tensor: Any) -> Path:
    """Return the file of a tensor's data; raise CheckpointError unless it lies in the model's folder and is long enough."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        folder = path.resolve(strict=True).parent
        target: Path = (folder / location).resolve(strict=True)
        is_inside = target.is_relative_to(folder) and not Path(location).is_absolute()
        size = target.stat().st_size if is_inside and target.is_file() else None
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise CheckpointError(
            f"{path} keeps weights in {location!r}, which cannot be read beside it: copy the whole folder ({one_line(error)})"
        ) from error
    if size is not None and size > physical_memory():
        raise CheckpointError(f"{target} is of {size / 2**30:,.0f} GiB, more than the memory here: is it damaged?")
    if size is None:
        raise CheckpointError(
            f"{path} was refused, and nothing in it was run: it reads {location!r}, no file of its own folder"
        )
    if min(offset, length) < 0 or offset + length > size:
        raise CheckpointError(
            f"{path} is damaged or incomplete: {location!r} is shorter than its weights; copy it again"
        )
    return target


def _image(path: Path, graph: Any) -> tuple[str, _Image]:
    """Return the name of the one input and what it holds."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        listed = ", ".join(value.name for value in inputs[:8])
        raise CheckpointError(
            f"{path} takes {len(inputs)} inputs ({listed}): an image classifier takes one, the images"
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
                f"{path} takes {shape} input: an image classifier takes (images, 3, side, side) or (images, side, side, 3)"
            )
    if described.elem_type not in _TYPES:
        raise CheckpointError(f"{path} takes images of another type than float: export it behind its preprocessing")
    return inputs[0].name, _Image(batch, height, _TYPES[described.elem_type], channels_last)


def _session(
    runtime: ModuleType, path: Path, content: bytes | None, device: torch.device
) -> tuple[Any, tuple[str, ...]]:
    """Return a session and what to note about it; content: the model, or None where the file has others beside it."""
    options = runtime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    cuda = "CUDAExecutionProvider"
    wanted = device.type == "cuda" and cuda in runtime.get_available_providers()
    providers: list[Any] = [(cuda, {"device_id": device.index or 0})] if wanted else []
    try:
        session = runtime.InferenceSession(
            content if content is not None else str(path), options, [*providers, "CPUExecutionProvider"]
        )
    except Exception as error:
        # onnxruntime's errors have no base of their own.
        raise CheckpointError(
            f"{path} cannot be run by onnxruntime {runtime.__version__} ({one_line(error)})"
        ) from error
    if device.type == "cpu" or cuda in session.get_providers():
        return session, ()
    return session, (f"onnxruntime has no {device.type} here, the model runs on the CPU: pip install onnxruntime-gpu",)


def _acts_as_in_training(onnx: ModuleType, graph: Any) -> bool:
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def is_zero(name: str) -> bool:
        """Whether it is a constant, and nothing but zeros or False; what is left out is False."""
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
            _, share, acts = node.input
            if not is_zero(acts) and not (share and is_zero(share)):
                return True
    return False


def _softmax(graph: Any, outputs: list[str]) -> bool | None:
    """Whether the first output is a softmax's, or a sigmoid's of one value; None where the last node does not tell."""
    made = [node.op_type for node in graph.node if outputs[0] in node.output]
    described = next(output.type.tensor_type for output in graph.output if output.name == outputs[0])
    sizes = [dim.dim_value for dim in described.shape.dim]
    # Of an output without a shape the number of values shows when it runs, and only of one a sigmoid is undone.
    is_single = len(sizes) < 2 or (len(sizes) == 2 and sizes[1] == 1)
    if len(outputs) != 1 or not made:
        return None
    if made[0] == "Softmax" or (made[0] == "Sigmoid" and is_single):
        return True
    return False if made[0] in _LINEAR else None
