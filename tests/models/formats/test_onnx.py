"""ONNX models: logits against the module that was exported, within float32's rounding (other kernels sum in another order)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robench.errors import OptionError
from robench.evaluation.options import Options
from robench.evaluation.run import evaluate
from robench.models import load_classifier
from robench.models.formats import onnx as format_of_onnx
from robench.models.formats.base import LoadRequest
from tests.models.damage import difference, flips, images, no_models, outcome, refusal, request, small, truncations

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
ROUNDING = 1e-4
"""Of logits around 5, from sums of 200 products."""


def saved(module: nn.Module, path: Path, *, dynamic: bool = True) -> Path:
    axes = {"x": {0: "b"}, "y": {0: "b"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        torch.onnx.export(
            module, (images(),), str(path), dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes
        )
    return path


def made(path: Path, nodes: Sequence[Any], *, shape: Sequence[Any] = ("b", 3, 8, 8), **graph: Any) -> Path:
    """Save a graph from `x` to `y`."""
    inputs = graph.pop("inputs", [helper.make_tensor_value_info("x", graph.pop("kind", FLOAT), shape)])
    outputs = [helper.make_tensor_value_info("y", FLOAT, ("b", "c"))]
    domains = {node.domain for node in nodes} | {""}
    opsets = [helper.make_opsetid(domain, 18 if domain == "" else 1) for domain in sorted(domains)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, **graph), opset_imports=opsets, ir_version=9
    )
    path.write_bytes(model.SerializeToString())
    return path


def constant(name: str, values: np.ndarray[Any, Any]) -> Any:
    return onnx.numpy_helper.from_array(values.astype(np.float32), name)


def outside(name: str, shape: tuple[int, ...], location: str, **entries: str) -> Any:
    """Return a tensor whose data lie in another file."""
    tensor = onnx.TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small(), tmp_path_factory.mktemp("onnx") / "small.onnx")


def test_logits_are_those_of_the_module(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert format_of_onnx.matches(model)
    loaded = format_of_onnx.load(request(model))
    assert (loaded.label, loaded.batch, loaded.softmax, loaded.preprocessing.crop) == ("small", None, False, 32)
    for count in (1, 3, 7):
        assert difference(loaded, small(), images(count)) < ROUNDING
    x = images().contiguous(memory_format=torch.channels_last)
    assert difference(loaded, small(), x) < ROUNDING
    assert capfd.readouterr() == ("", "")


def test_a_precision_that_it_would_not_have_is_refused(tmp_path: Path, picture_folder: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = load_classifier(saved(module, tmp_path / "mean.onnx"), device="cpu")
    with pytest.raises(OptionError, match="computes in the precision of its file; omit --precision"):
        evaluate(classifier, picture_folder, ["clean"], tmp_path / "run", options=Options(precision="bf16"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("external", [True, False])
def test_the_newer_exporter_is_read(tmp_path: Path, external: bool) -> None:
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        shapes = ({0: torch.export.Dim("b", min=1, max=1024)},)
        options: dict[str, Any] = {"dynamic_shapes": shapes, "external_data": external, "verbose": False}
        torch.onnx.export(small(), (images(),), str(tmp_path / "new.onnx"), dynamo=True, **options)
    loaded = format_of_onnx.load(request(tmp_path / "new.onnx"))
    assert loaded.batch is None
    assert difference(loaded, small(), images(3)) < ROUNDING


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    loaded = format_of_onnx.load(request(saved(small(), tmp_path / "fixed.onnx", dynamic=False)))
    assert loaded.batch == 4
    assert difference(loaded, small(), images(4)) < ROUNDING


def test_weights_beside_the_model_count_for_its_sha256(tmp_path: Path) -> None:
    path, data = saved(small(), tmp_path / "large.onnx"), tmp_path / "large.onnx.data"
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location=data.name, size_threshold=0)
    assert data.is_file()
    loaded = format_of_onnx.load(request(path))
    assert difference(loaded, small(), images()) < ROUNDING
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    assert format_of_onnx.load(request(path)).sha256 != loaded.sha256
    data.write_bytes(data.read_bytes()[:100])
    assert "shorter than its weights" in refusal(format_of_onnx.load, path)
    data.unlink()
    assert "copy the whole folder" in refusal(format_of_onnx.load, path)


def test_images_may_be_channels_last_and_half(tmp_path: Path) -> None:
    mean = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)]
    axes = onnx.numpy_helper.from_array(np.array([1, 2]), "axes")
    x = images(3, 8)
    path = made(tmp_path / "nhwc.onnx", mean, shape=("b", 8, 8, 3), initializer=[axes])
    out = format_of_onnx.load(request(path)).module(x)
    assert torch.allclose(out, x.mean((2, 3)), atol=1e-6)
    cast = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
    ]
    path = made(tmp_path / "half.onnx", cast, shape=("b", 8, 8, 3), initializer=[axes], kind=onnx.TensorProto.FLOAT16)
    out = format_of_onnx.load(request(path)).module(x)
    assert torch.allclose(out, x.half().float().mean((2, 3)), atol=1e-5)


def test_softmax_is_seen(tmp_path: Path) -> None:
    path = saved(nn.Sequential(small(), nn.Softmax(1)).eval(), tmp_path / "softmax.onnx")
    assert format_of_onnx.load(request(path)).softmax is True


@pytest.mark.parametrize("external", [False, True])
def test_an_output_without_a_shape_has_the_classes_that_it_gives(tmp_path: Path, external: bool) -> None:
    path = saved(small(), tmp_path / "shapeless.onnx")
    graph = onnx.load(path)
    graph.graph.output[0].type.tensor_type.ClearField("shape")
    if external:
        onnx.save_model(graph, path, save_as_external_data=True, location="weights", size_threshold=0)
    else:
        path.write_bytes(graph.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError, match="shape"):
        onnx.checker.check_model(str(path))
    if external:
        assert load_classifier(path, device="cpu").classes == 5
    assert difference(format_of_onnx.load(request(path)), small(), images(3)) < ROUNDING
    single = saved(nn.Sequential(small(1), nn.Sigmoid()).eval(), tmp_path / "sigmoid.onnx")
    graph = onnx.load(single)
    graph.graph.output[0].type.tensor_type.ClearField("shape")
    single.write_bytes(graph.SerializeToString())
    assert format_of_onnx.load(request(single)).softmax is True


def test_other_rules_of_onnx_hold_with_external_data_too(tmp_path: Path) -> None:
    path = saved(small(), tmp_path / "wrong.onnx")
    graph = onnx.load(path)
    graph.graph.node[-1].output[0] = graph.graph.node[0].output[0]  # made twice
    onnx.save_model(graph, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert "no ONNX model or is damaged" in refusal(format_of_onnx.load, path)


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_said(tmp_path: Path, training: bool) -> None:
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    for module in (nn.Dropout(0.5), nn.BatchNorm2d(3)):
        path = tmp_path / "model.onnx"
        whole = nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten()).train(training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter
            torch.onnx.export(whole, (images(),), str(path), dynamo=False, training=mode, do_constant_folding=False)
        notes = format_of_onnx.load(request(path)).notes
        assert any("export it after model.eval()" in note for note in notes) == training


def test_without_cuda_it_runs_on_the_cpu_and_says_so(model: Path) -> None:
    loaded = format_of_onnx.load(LoadRequest(model, None, torch.device("cuda")))
    if "onnxruntime-gpu" in loaded.notes[-1]:
        assert difference(loaded, small(), images()) < ROUNDING


LOCATIONS = (
    "../secret.bin",
    "/etc/hostname",
    "link.bin",
    "sub/../../secret.bin",
    "linked/secret.bin",
    "",
    ".",
    "loop.bin",
)


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "sparse"])
def test_no_file_outside_of_the_folder_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(800))
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    for location in LOCATIONS:
        text = refusal(format_of_onnx.load, evil(folder / "evil.onnx", place, outside("w", (3,), location)))
        refused = "no file of its own folder" in text or "which cannot be read" in text
        assert refused, f"{location!r}: {text}"


def evil(path: Path, place: str, tensor: Any) -> Path:
    """A model with `tensor` in a place of its graph where a file may have one."""
    nodes, graph = [helper.make_node("ReduceMean", ["x"], ["y"])], {}
    if place == "initializer":
        graph = {"initializer": [tensor]}
    elif place == "attribute":
        nodes.append(helper.make_node("Constant", [], ["w"], value=tensor))
    elif place == "sparse":
        sparse = onnx.SparseTensorProto(dims=[9])
        sparse.values.CopyFrom(tensor)
        sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.arange(3)))
        graph = {"sparse_initializer": [sparse]}
    else:
        inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("w", FLOAT, (3,))], [tensor])
        yes = helper.make_node(
            "Constant", [], ["yes"], value=helper.make_tensor("t", onnx.TensorProto.BOOL, (), [True])
        )
        nodes += [yes, helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner)]
    return made(path, nodes, **graph)


def test_operators_of_others_are_refused(tmp_path: Path) -> None:
    for domain, name in (
        ("com.microsoft", "EPContext"),
        ("com.microsoft", "PythonOp"),
        ("evil.ops", "Run"),
        ("ai.onnx.contrib", "PyOp"),
    ):
        path = made(tmp_path / "evil.onnx", [helper.make_node(name, ["x"], ["y"], domain=domain)])
        assert f"{domain}::{name}" in refusal(format_of_onnx.load, path)


def test_operators_of_others_within_functions_are_refused(tmp_path: Path) -> None:
    inner = [helper.make_node("Run", ["a"], ["b"], domain="evil.ops")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil.ops", 1), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "F", ["a"], ["b"], inner, opsets)
    graph = helper.make_graph(
        [helper.make_node("F", ["x"], ["y"], domain="mine")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ("b", 3, 8, 8))],
        [helper.make_tensor_value_info("y", FLOAT, ("b", "c"))],
    )
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9)
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    assert "evil.ops::Run" in refusal(format_of_onnx.load, tmp_path / "evil.onnx")


def test_other_inputs_are_told(tmp_path: Path) -> None:
    node = [helper.make_node("Identity", ["x"], ["y"])]
    assert "takes ?x10 input" in refusal(format_of_onnx.load, made(tmp_path / "w.onnx", node, shape=("b", 10)))
    assert "takes 1x1x28x28" in refusal(format_of_onnx.load, made(tmp_path / "w.onnx", node, shape=(1, 1, 28, 28)))
    path = made(tmp_path / "w.onnx", node, kind=onnx.TensorProto.INT64)
    assert "another type than float and uint8" in refusal(format_of_onnx.load, path)
    two = [helper.make_tensor_value_info(name, FLOAT, (1, 3, 8, 8)) for name in "xz"]
    path = made(tmp_path / "w.onnx", [helper.make_node("Add", ["x", "z"], ["y"])], inputs=two)
    assert "takes 2 inputs (x, z)" in refusal(format_of_onnx.load, path)


def test_truncated_models_are_damaged(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(model.read_bytes())
    for _ in truncations(path):
        refusal(format_of_onnx.load, path)


def test_a_flipped_bit_raises_nothing_else(tmp_path: Path, model: Path) -> None:
    # ONNX has no checksum: a bit of a weight, of a name or of a comment changes the model, and that can load.
    path = tmp_path / "w.onnx"
    path.write_bytes(model.read_bytes())
    for _ in flips(path, 40):
        outcome(format_of_onnx.load, path)


def test_what_is_no_model_is_said_in_one_line(tmp_path: Path) -> None:
    for path in no_models(tmp_path, ".onnx"):
        refusal(format_of_onnx.load, path)
