"""Programs of torch.export: logits against the module that was exported, attacks against torch.export.load itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import load_classifier
from robench.models.formats import torch_export
from tests.builders import each
from tests.models.damage import (
    difference,
    flips,
    images,
    no_models,
    outcome,
    refusal,
    request,
    rewritten,
    small,
    truncations,
)

PROGRAM = "models/model.json"


class Evil:
    """A pickle of it makes a folder at `path` when something runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def saved(module: nn.Module, path: Path, *, dynamic: bool = True, side: int = 32, decomposed: bool = False) -> Path:
    shapes = ({0: torch.export.Dim("b", min=1, max=1024)},) if dynamic else None
    program = torch.export.export(module, (images(side=side),), dynamic_shapes=shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program.run_decompositions() if decomposed else program, str(path))
    return path


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def in_program(change: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    """Change the program's JSON, for `rewritten`."""

    def changed(name: str, content: bytes) -> bytes:
        if name != PROGRAM:
            return content
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    return changed


def in_member(part: str, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, content: new if part in name else content


def plainly_loaded(path: Path) -> None:
    """Load with torch.export.load and run the program; whatever it raises comes after what it ran."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):
            torch.export.load(str(path)).module()(images())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small(), tmp_path_factory.mktemp("exported") / "small.pt2")


def test_logits_are_those_of_the_module(archive: Path) -> None:
    assert torch_export.matches(archive)
    loaded = torch_export.load(request(archive))
    assert (loaded.label, loaded.batch, loaded.softmax, loaded.preprocessing.crop) == ("small", None, False, 32)
    for count in (1, 3, 7):
        assert difference(loaded, small(), images(count)) == 0
    assert "mean and std" in loaded.notes[0]


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    loaded = torch_export.load(request(saved(small(), tmp_path / "fixed.pt2", dynamic=False)))
    assert loaded.batch == 4
    assert difference(loaded, small(), images(4)) == 0


@pytest.mark.slow
def test_any_memory_layout_will_do(tmp_path: Path) -> None:
    """Decomposed graphs hold views, which other strides than the exported ones refuse; channels last is what robench runs in."""
    loaded = torch_export.load(request(saved(small(), tmp_path / "views.pt2", decomposed=True)))
    loaded.module.to(memory_format=torch.channels_last)
    x = images().contiguous(memory_format=torch.channels_last)
    assert difference(loaded, small(), x) < 1e-5


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens, tokens.mean(1, keepdim=True).expand(x.shape[0], -1, -1)], 1)
        first, _ = self.layer(tokens).split([tokens.shape[1] - 1, 1], 1)
        out: Tensor = self.head(first.mean(1)) * (x.shape[0] / (x.shape[0] + 1))
        return out


def test_symbols_lists_and_regions_are_run(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Attention().eval()
    loaded = torch_export.load(request(saved(module, tmp_path / "attention.pt2")))
    for count in (2, 5):
        assert difference(loaded, module, images(count)) <= 1e-6


@dataclass
class Answer:
    logits: Tensor
    features: Tensor


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.body(x)
        return {"features": logits * 2, "logits": logits}


def test_outputs_keep_their_names(tmp_path: Path) -> None:
    out = torch_export.load(request(saved(Named().eval(), tmp_path / "named.pt2"))).module(images())
    assert list(out) == ["features", "logits"]
    assert torch.equal(out["logits"], small()(images()))


def test_softmax_and_half_precision(tmp_path: Path) -> None:
    module = nn.Sequential(small(), nn.Softmax(1)).eval()
    assert torch_export.load(request(saved(module, tmp_path / "softmax.pt2"))).softmax is True
    single = nn.Sequential(small(1), nn.Sigmoid()).eval()
    assert torch_export.load(request(saved(single, tmp_path / "sigmoid.pt2"))).softmax is True
    half = small().bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(half, (images().bfloat16(),)), str(tmp_path / "half.pt2"))
    loaded = torch_export.load(request(tmp_path / "half.pt2"))
    assert next(loaded.module.parameters()).dtype == torch.bfloat16
    assert difference(loaded, half, images().bfloat16()) == 0


class Attends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        share = 0.1 if self.training else 0.0
        out: Tensor = nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=share).mean((2, 3))
        return out


class WithoutGradients(nn.Module):
    """Its graph has another in it."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.drop(x).relu()
        return x.mean((2, 3))


ACTING: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), small()),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "attention": Attends,
    "an inner graph": WithoutGradients,
}
IDLE: dict[str, Callable[[], nn.Module]] = {
    "dropout of nothing": lambda: nn.Sequential(nn.Dropout(0.0), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    # Without running statistics those of the batch are taken in eval mode, too.
    "no statistics": lambda: nn.Sequential(
        nn.BatchNorm2d(3, track_running_stats=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


@pytest.mark.parametrize("decomposed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*ACTING, *IDLE])
def test_training_mode_is_said_where_it_acts(tmp_path: Path, name: str, decomposed: bool) -> None:
    make = (ACTING | IDLE)[name]
    for training in (True, False):
        path = saved(make().train(training), tmp_path / f"{training}.pt2", dynamic=False, decomposed=decomposed)
        notes = torch_export.load(request(path)).notes
        # Decomposed attention is dropout of its own, whose share is not a constant of one operator.
        if not (name == "attention" and decomposed):
            assert any("export it after model.eval()" in note for note in notes) == (training and name in ACTING)


class Static(nn.Module):
    """Runs at any size; exported, it divides by the size that it was exported at."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3)) / (x.shape[2] * x.shape[3])


def test_sizes_that_the_export_fixed_are_refused_at_others(tmp_path: Path) -> None:
    path = saved(Static(), tmp_path / "static.pt2")
    assert difference(torch_export.load(request(path)), Static(), images()) < 1e-6
    with pytest.raises(
        CheckpointError, match=r"does not run on 64x64 images \(it was exported for images of 32 px only"
    ):
        load_classifier(path, device="cpu", crop=64)
    classifier = load_classifier(path, device="cpu")
    plan = make_plan(["resolution"], Options(resolution=[16, 32, 64]), classifier.preprocessing, classifier.gflops)
    sizes = [one.resolution for one in plan.conditions if one.corruption == "network"]
    assert sizes == [32]
    assert [note for note in plan.notes if "cannot run at 64 px" in note and "this size is left out" in note]


def test_sizes_that_the_export_bounds_are_kept(tmp_path: Path) -> None:
    side = torch.export.Dim("side", min=2, max=8)
    batch = torch.export.Dim("batch", min=1, max=64)
    for step, sizes in ((1, range(2, 9)), (4, range(8, 33, 4))):
        size = side if step == 1 else step * side
        given = images(side=sizes[3])
        program = torch.export.export(Pools(step), (given,), dynamic_shapes=({0: batch, 2: size, 3: size},))
        torch.export.save(program, str(tmp_path / "bounded.pt2"))
        loaded = torch_export.load(request(tmp_path / "bounded.pt2"))
        for one in range(1, 41):
            if one in sizes:
                assert difference(loaded, Pools(step), images(side=one)) == 0
            else:
                with pytest.raises(ValueError, match=f"images of {sizes[0]} to {sizes[-1]} px only"):
                    loaded.module(images(side=one))


class Pools(nn.Module):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        step, (count, channels, height, width) = self.step, x.shape
        return x.reshape(count, channels, height // step, step, width // step, step).mean((2, 3, 4, 5))


def test_older_layouts_are_read(tmp_path: Path, archive: Path) -> None:
    """The layouts of torch 2.8 (weights in one pickle) and 2.7 (another zip), as their torch.export.save wrote them."""
    state = dict(small().state_dict())
    with zipfile.ZipFile(archive) as opened:
        members = {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(tmp_path / "v28.pt2", "w") as target:
        for name in ("archive_format", "archive_version", "byteorder", PROGRAM):
            target.writestr(f"x/{name}", members[name])
        target.writestr("x/data/weights/model.pt", pickled(state))
        target.writestr("x/data/constants/model.pt", pickled({}))
    with zipfile.ZipFile(tmp_path / "v27.pt2", "w") as target:
        target.writestr("version", "8.5")
        target.writestr("serialized_exported_program.json", members[PROGRAM])
        target.writestr("serialized_state_dict.pt", pickled(state))
        target.writestr("serialized_constants.pt", pickled({}))
    for name in ("v28.pt2", "v27.pt2"):
        assert torch_export.matches(tmp_path / name)
        assert difference(torch_export.load(request(tmp_path / name)), small(), images()) == 0


# What runs code in torch.export.load (2.14), each with a change of the archive that does so.


def test_the_fallback_to_unrestricted_pickles_is_not_there(tmp_path: Path, archive: Path) -> None:
    touched = tmp_path / "touched"
    evil = pickled((Evil(touched),))
    samples = rewritten(archive, tmp_path / "samples.pt2", in_member("sample_inputs", evil))
    assert difference(torch_export.load(request(samples)), small(), images()) == 0  # samples are never read
    assert not touched.exists()
    plainly_loaded(samples)
    assert touched.exists()


def test_pickled_weights_run_nothing(tmp_path: Path, archive: Path) -> None:
    touched = tmp_path / "touched"

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            for value in config["config"].values():
                value["use_pickle"] = True
            return json.dumps(config).encode()
        return pickled(Evil(touched)) if "weights/weight_" in name else content

    path = rewritten(archive, tmp_path / "evil.pt2", change)
    assert "holds more than tensors" in refusal(torch_export.load, path)
    assert not touched.exists()
    plainly_loaded(path)
    assert touched.exists()


def test_pickled_constants_run_nothing(tmp_path: Path, archive: Path) -> None:
    touched = tmp_path / "touched"
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}

    def change(name: str, content: bytes) -> bytes:
        return json.dumps({"config": {"c": payload}}).encode() if name.endswith("constants_config.json") else content

    path = rewritten(archive, tmp_path / "evil.pt2", change)
    with zipfile.ZipFile(path, "a") as opened:
        import pickle

        opened.writestr("small/data/constants/opaque_obj_0", pickle.dumps(Evil(touched), protocol=2))
    torch_export.load(request(path))  # nothing needs it, so it is never read
    assert not touched.exists()
    plainly_loaded(path)
    assert touched.exists()
    used = rewritten(path, tmp_path / "used.pt2", in_program(_constant_in_place_of_a_buffer))
    assert "an object of a custom class" in refusal(torch_export.load, used)


def _constant_in_place_of_a_buffer(program: Any) -> None:
    specs = program["graph_module"]["signature"]["input_specs"]
    place = next(number for number, spec in enumerate(specs) if "buffer" in spec)
    specs[place] = {"tensor_constant": {"arg": specs[place]["buffer"]["arg"], "tensor_constant_name": "c"}}


def test_expressions_of_sizes_are_not_evaluated(tmp_path: Path, archive: Path) -> None:
    touched = tmp_path / "touched"
    expression = f"__import__('os').mkdir({str(touched)!r})"

    def change(program: Any) -> None:
        text = json.dumps(program).replace("Symbol('s", "@")
        for value in program["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = expression
        assert "@" in text

    path = rewritten(archive, tmp_path / "evil.pt2", in_program(change))
    assert difference(torch_export.load(request(path)), small(), images()) == 0
    assert not touched.exists()
    plainly_loaded(path)
    assert touched.exists()


TARGETS = {
    "torch.serialization.os.mkdir": "no operator of torch",
    "torch.ops.load_library": "no operator of torch",
    "torch.ops.aten.save.default": "writes files",
    "torch.ops.aten.from_file.default": "opens files",
    "torch.ops.aten.manual_seed.default": "global random state",
    "torch.ops.aten._reshape_alias.default": "private to torch",
    "torch.ops.aten.__class__.default": "does not know",
    "torch.ops.aten.relu.__class__": "does not know",
    "torch.ops.c10d.barrier.default": "no library",
    "torch.ops.higher_order.triton_kernel_wrapper_functional": "no operator of torch",
    "_operator.attrgetter": "no operator of torch",
    "math.__loader__": "no operator of torch",
    "#extension:evil": "no operator of torch",
    "os.system": "no operator of torch",
}


@each("target", TARGETS)
def test_targets_are_operators_only(tmp_path: Path, archive: Path, target: str) -> None:
    touched = tmp_path / "touched"

    def change(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][2]
        node["target"] = target
        node["inputs"] = [{"name": "path", "arg": {"as_string": str(touched)}, "kind": 1}]

    path = rewritten(archive, tmp_path / "evil.pt2", in_program(change))
    assert TARGETS[target] in refusal(torch_export.load, path)
    assert not touched.exists()


def test_other_kinds_of_arguments_are_refused(tmp_path: Path, archive: Path) -> None:
    for kind, value in {"as_custom_obj": {"name": "x", "class_fqn": "y"}, "as_operator": "torch.ops.aten.save"}.items():

        def change(program: Any, kind: str = kind, value: object = value) -> None:
            program["graph_module"]["graph"]["nodes"][2]["inputs"][0]["arg"] = {kind: value}

        path = rewritten(archive, tmp_path / "evil.pt2", in_program(change))
        assert "which no classifier needs" in refusal(torch_export.load, path)


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "compiled.pt2"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("x/archive_format", "pt2")
        opened.writestr("x/data/aotinductor/model/model.so", b"\x7fELF")
    assert torch_export.matches(path)
    assert "compiled code" in refusal(torch_export.load, path)


def test_weights_outside_of_their_bytes_are_damaged(tmp_path: Path, archive: Path) -> None:
    path = rewritten(archive, tmp_path / "w.pt2", in_member("weights/weight_0", b"abcd"))
    assert "fewer than its tensor" in refusal(torch_export.load, path)
    for bad in ({"as_int": -1}, {"as_int": 10**12}):

        def change(name: str, content: bytes, bad: object = bad) -> bytes:
            if not name.endswith("weights_config.json"):
                return content
            config = json.loads(content)
            next(iter(config["config"].values()))["tensor_meta"]["strides"][0] = bad
            return json.dumps(config).encode()

        assert "damaged" in refusal(torch_export.load, rewritten(archive, tmp_path / "w.pt2", change))


def test_wrong_inputs_are_told(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.mean((2, 3)) + y.mean((2, 3))

    torch.export.save(torch.export.export(Two(), (images(), images())), str(tmp_path / "two.pt2"))
    assert "takes 2 inputs" in refusal(torch_export.load, tmp_path / "two.pt2")
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.ones(3, 4),)), str(tmp_path / "flat.pt2"))
    assert "takes 3x4 input" in refusal(torch_export.load, tmp_path / "flat.pt2")


def test_missing_members_and_broken_json(tmp_path: Path, archive: Path) -> None:
    gone = rewritten(archive, tmp_path / "w.pt2", lambda name, content: None if name.endswith("weight_3") else content)
    assert "it has no data/weights/weight_3" in refusal(torch_export.load, gone)
    for text in (b"{", b"[]", b"[" * 100_000, b'{"graph_module": {"graph": {"inputs": 3}}}', b"\xff"):
        refusal(torch_export.load, rewritten(archive, tmp_path / "w.pt2", in_member(PROGRAM, text)))


def test_truncated_archives_are_damaged(tmp_path: Path, archive: Path) -> None:
    path = tmp_path / "w.pt2"
    path.write_bytes(archive.read_bytes())
    for _ in truncations(path):
        assert "damaged or incomplete" in refusal(torch_export.load, path)


def test_a_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path, archive: Path) -> None:
    # Bits of padding, dates, folders and sample inputs carry nothing; all others are under the checksums of zip.
    path = tmp_path / "w.pt2"
    path.write_bytes(archive.read_bytes())
    refused = 0
    for _ in flips(path, 60):
        loaded = outcome(torch_export.load, path)
        refused += loaded is None
        assert loaded is None or difference(loaded, small(), images()) == 0
    assert refused >= 10


def test_what_is_no_model_is_said_in_one_line(tmp_path: Path) -> None:
    for path in no_models(tmp_path, ".pt2"):
        refusal(torch_export.load, path)
