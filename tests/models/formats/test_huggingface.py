"""Folders of the Hugging Face hub, against transformers' and timm's own loading of the same folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models import load_classifier, sandbox
from robench.models.formats import huggingface
from robench.models.formats.base import LoadedModel
from tests.models.damage import flips, images, outcome, refusal, request, truncations

transformers = pytest.importorskip("transformers")
NEW = int(transformers.__version__.partition(".")[0]) >= 5


class _Evil:
    """A pickle of it makes a folder at `path` when something runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class _Logits(nn.Module):
    """A network whose output is as that of transformers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=self.network(x))


def resnet() -> Any:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    return transformers.ResNetForImageClassification(config)


def vit() -> Any:
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=5,
    )
    return transformers.ViTForImageClassification(config)


def convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=5, image_size=32)
    return transformers.ConvNextForImageClassification(config)


MODELS = {"resnet": resnet, "vit": vit, "convnext": convnext}


def made(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS[name]().eval()


def saved(model: Any, folder: Path, **options: Any) -> Path:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, **options)
    return folder


def changed(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def difference(loaded: LoadedModel, original: nn.Module) -> float:
    x = images()
    with torch.inference_mode():
        return float((loaded.module.eval()(x).logits - original(x).logits).abs().max())


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_model(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = made(name)
    folder = saved(model, tmp_path / name)
    capfd.readouterr()
    assert huggingface.matches(folder)
    verbosity = transformers.utils.logging.get_verbosity()
    loaded = huggingface.load(request(folder))
    assert difference(loaded, model) == 0
    assert (loaded.label, loaded.arch) == (name, f"transformers:{type(model).__name__}")
    assert loaded.notes[0].startswith("the file does not state its preprocessing")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == verbosity


def test_pickled_and_sharded_weights_are_the_same_model(tmp_path: Path) -> None:
    model = made("convnext")
    folder = saved(model, tmp_path / "sharded", max_shard_size="4KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert difference(huggingface.load(request(folder)), model) == 0
    folder = saved(model, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert difference(huggingface.load(request(folder)), model) == 0


def test_pickles_run_nothing(tmp_path: Path) -> None:
    folder, touched = saved(made("convnext"), tmp_path / "evil"), tmp_path / "touched"
    (folder / "model.safetensors").unlink()
    torch.save({"x": _Evil(touched)}, folder / "pytorch_model.bin")
    assert "nothing in it was run" in refusal(huggingface.load, folder)
    assert not touched.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert touched.exists()


def test_code_of_the_folder_is_not_run(tmp_path: Path) -> None:
    folder, touched = saved(made("convnext"), tmp_path / "evil"), tmp_path / "touched"
    (folder / "modeling.py").write_text(f"import os\nos.mkdir({str(touched)!r})\nclass Net: pass\n")
    changed(folder, auto_map={"AutoModelForImageClassification": "modeling.Net"}, model_type="new")
    assert "auto_map" in refusal(huggingface.load, folder)
    changed(folder, auto_map=None, backbone_config={"use_pretrained_backbone": True})
    assert "use_pretrained_backbone" in refusal(huggingface.load, folder)
    assert not touched.exists()


def test_weights_must_be_those_of_the_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved(made("convnext"), tmp_path / "w")
    state = load_file(folder / "model.safetensors")
    rest = {key: value for key, value in state.items() if key != "classifier.bias"}
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    assert "1 missing: classifier.bias" in refusal(huggingface.load, folder)
    save_file(state | {"other": torch.ones(2)}, folder / "model.safetensors", {"format": "pt"})
    assert "1 unexpected: other" in refusal(huggingface.load, folder)
    save_file(state | {"classifier.bias": torch.ones(7)}, folder / "model.safetensors", {"format": "pt"})
    assert "classifier.bias" in refusal(huggingface.load, folder) or "cannot be loaded" in refusal(
        huggingface.load, folder
    )


def test_what_does_not_fit_is_said_with_its_likely_cause(tmp_path: Path) -> None:
    folder = saved(made("vit"), tmp_path / "w")
    changed(folder, id2label=None, label2id=None, num_labels=3)
    told = refusal(huggingface.load, folder)
    assert "2 of another shape: classifier.bias 5 instead of 3, classifier.weight 5x16 instead of 3x16" in told
    assert "the weights probably have 5 classes" in told
    changed(folder, num_labels=5, hidden_size=32)
    assert "copy both from one place" in refusal(huggingface.load, folder)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = made("resnet")
    folder = saved(model, tmp_path / "w")
    state = load_file(folder / "model.safetensors")
    rest = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(rest) < len(state)
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    assert difference(huggingface.load(request(folder)), model) == 0
    folder, network = timm_folder(tmp_path / "timm")
    rest = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(rest, folder / "pytorch_model.bin")
    with torch.inference_mode():
        assert torch.equal(huggingface.load(request(folder)).module.eval()(images()), network(images()))


def test_a_folder_that_names_no_class_is_the_only_one_of_its_type(tmp_path: Path) -> None:
    model = made("convnext")
    folder = saved(model, tmp_path / "w")
    for value in ("null", "[]"):
        changed(folder, architectures=json.loads(value))
        loaded = huggingface.load(request(folder))
        assert (loaded.arch, difference(loaded, model)) == ("transformers:ConvNextForImageClassification", 0)
    changed(folder, model_type="deit")
    told = refusal(huggingface.load, folder)
    assert "none of DeiTForImageClassification, DeiTForImageClassificationWithTeacher" in told
    changed(folder, model_type="bert")
    assert "image classifier" in refusal(huggingface.load, folder)


LARGE: list[tuple[str, dict[str, Any]]] = [
    ("vit", {"num_hidden_layers": 10**9}),
    ("vit", {"num_labels": 10**6}),
    ("timm", {"model_args": {"layers": [100_000, 1, 1, 1]}}),
    ("levit", {"image_size": 8192}),
    ("timm", {"model_args": {"channels": [8_000, 8_000, 8_000, 8_000]}}),
    ("vit", {"num_hidden_layers": 200_000}),
    ("vit", {"num_hidden_layers": 10**400}),
    ("vit", {"num_labels": 10**9}),
    ("vit", {"image_size": 10**6}),
    ("vit", {"hidden_size": 10**6}),
    ("convnext", {"depths": [10**6, 1, 1, 1]}),
    ("timm", {"num_classes": 10**9}),
]
_IN_EACH_BUILD = 2
"""Number of the first ones that every build tries."""


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param(*case, marks=pytest.mark.slow if index < _IN_EACH_BUILD else pytest.mark.nightly)
        for index, case in enumerate(LARGE)
    ],
)
def test_a_network_far_larger_than_its_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: dict[str, Any]
) -> None:
    """The oracle is that this process goes on, without having built anything."""
    make = {"timm": lambda: timm_folder(tmp_path / "w")[0], "levit": lambda: levit(tmp_path / "w")}
    folder = make[name]() if name in make else saved(made(name), tmp_path / "w")
    changed(folder, id2label=None, label2id=None, **values)
    monkeypatch.setattr(sandbox, "_SECONDS", 4.0)
    monkeypatch.setattr(sandbox, "_BASE", 2 * 2**30)
    monkeypatch.setattr(huggingface, "load", None)
    with pytest.raises(CheckpointError) as caught:
        load_classifier(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert any(cause in str(caught.value) for cause in ("copy both from one", "cannot load", "says another number"))


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_folder_that_passed_is_not_tried_again_until_its_configuration_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    folder, _ = timm_folder(tmp_path / "timm")
    assert load_classifier(folder, device="cpu").classes == 5
    monkeypatch.setattr(sandbox, "_PROGRAM", "raise SystemExit(3)")
    assert load_classifier(folder, device="cpu").classes == 5
    file = folder / "config.json"
    file.write_text(file.read_text().replace("0.95", "0.90"))  # as many bytes
    with pytest.raises(RuntimeError, match="the sandbox failed on"):
        load_classifier(folder, device="cpu")


def levit(folder: Path) -> Path:
    sizes = {"hidden_sizes": [16, 16, 16], "depths": [1, 1, 1], "num_attention_heads": [1, 1, 1], "key_dim": [4, 4, 4]}
    config = transformers.LevitConfig(image_size=64, num_labels=5, **sizes)
    with torch.random.fork_rng(devices=[]):
        model = transformers.LevitForImageClassification(config).eval()
    return saved(model, folder)


def test_a_picture_that_no_network_takes_is_refused(tmp_path: Path) -> None:
    folder = saved(made("convnext"), tmp_path / "w")
    changed(folder, image_size=8192)
    assert "has image_size 8192: crop must be from 1 to 4096 pixels" in refusal(huggingface.load, folder)


def test_numbers_that_nothing_reads_are_of_no_harm(tmp_path: Path) -> None:
    model = made("vit")
    folder = saved(model, tmp_path / "w")
    changed(folder, parameters=10**10, training={"steps": 10**9})
    assert difference(huggingface.load(request(folder)), model) == 0


def test_other_models_and_broken_configurations_are_told(tmp_path: Path) -> None:
    folder = saved(made("convnext"), tmp_path / "w")
    for values in (
        {"architectures": ["BertModel"]},
        {"architectures": [3]},
        {"architectures": ["os"]},
    ):
        changed(folder, **values)
        assert "image classifier" in refusal(huggingface.load, folder)
    for text in ("", "[]", "{", '{"a": ' * 10_000, "\xff"):
        (folder / "config.json").write_text(text, encoding="latin-1")
        assert "config.json" in refusal(huggingface.load, folder)
    (folder / "config.json").write_text(
        '{"architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": "x"}'
    )
    refusal(huggingface.load, folder)
    assert "holds no weights" in refusal(huggingface.load, _only_a_configuration(tmp_path))
    assert "is not a folder" in refusal(huggingface.load, tmp_path / "absent")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert not huggingface.matches(tmp_path / "loop")
    refusal(huggingface.load, tmp_path / "loop")


def _only_a_configuration(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    folder = saved(made("convnext"), tmp_path / "w")
    for _ in truncations(folder / "model.safetensors"):
        assert "damaged or incomplete" in refusal(huggingface.load, folder)
    # safetensors has no checksum: a bit of a weight changes the model, and that loads.
    for _ in flips(folder / "model.safetensors", 10):
        outcome(huggingface.load, folder)
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(100 * 2**30)
    assert "damaged" in refusal(huggingface.load, folder)


def test_the_processor_of_a_folder_is_found_where_transformers_finds_it(tmp_path: Path) -> None:
    folder = saved(made("vit"), tmp_path / "w")
    stated = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    assert huggingface.load(request(folder)).preprocessing.interpolation == "bilinear"
    nested = {"processor_class": "X", "image_processor": {**stated, "resample": 3}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    loaded = huggingface.load(request(folder))
    own = (
        transformers.AutoImageProcessor.from_pretrained(folder).resample if NEW else 3
    )  # older ones look for no such file
    assert (own, loaded.preprocessing.interpolation, loaded.notes) == (3, "bicubic", ())
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
    assert huggingface.load(request(folder)).preprocessing.interpolation == "bilinear"
    (folder / "preprocessor_config.json").unlink()
    assert huggingface.load(request(folder)).notes[0].startswith("the file does not state")


def test_blue_goes_in_first_where_the_processor_says_so(tmp_path: Path) -> None:
    folder = saved(made("convnext"), tmp_path / "w")
    plain = huggingface.load(request(folder)).module.eval()
    stated = {"image_processor_type": "MobileViTImageProcessor", "size": 32, "crop_size": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    # MobileViT's processor scales to 0..1 and has no mean and std.
    with torch.inference_mode():
        expected = plain(pixels.flip(1) / 255).logits
        straight = plain(pixels / 255).logits
    classifier = load_classifier(folder, device="cpu", trust_pickle=True)
    torch.testing.assert_close(classifier.logits(pixels), expected)
    assert (expected - straight).abs().max() > 1e-3
    rgb = load_classifier(folder, device="cpu", trust_pickle=True, channels="rgb")
    torch.testing.assert_close(rgb.logits(pixels), straight)
    assert any("--channels rgb differs from the bgr" in text for text in rgb.warnings)


def test_a_processor_that_squashes_is_followed(tmp_path: Path) -> None:
    folder = saved(made("vit"), tmp_path / "w")
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32, "resample": 2}))
    loaded = huggingface.load(request(folder))
    assert (loaded.preprocessing.resize, loaded.preprocessing.crop, loaded.notes) == ((32, 32), 32, ())
    for bad in (
        {"size": {"height": 3, "width": 4}},
        {"size": 32, "resample": 9},
        {"size": 32, "image_std": [0, 0, 0]},
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(bad))
        assert "preprocessor_config.json" in refusal(huggingface.load, folder)


def timm_folder(folder: Path, **values: Any) -> tuple[Path, nn.Module]:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = timm.create_model("resnet10t", num_classes=5).eval()
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    stated = {
        "input_size": [3, 96, 96],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    config = {"architecture": "resnet10t", "num_classes": 5, "pretrained_cfg": stated} | values
    (folder / "config.json").write_text(json.dumps(config))
    return folder, model


def test_timms_folders_are_read(tmp_path: Path) -> None:
    import timm

    folder, model = timm_folder(tmp_path / "timm")
    loaded = huggingface.load(request(folder))
    with torch.inference_mode():
        assert torch.equal(loaded.module.eval()(images()), model(images()))
    own = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    stated = loaded.preprocessing
    assert (stated.mean, stated.std, stated.interpolation) == (
        tuple(own["mean"]),
        tuple(own["std"]),
        own["interpolation"],
    )
    assert (stated.crop, stated.resize) == (own["input_size"][1], int(own["input_size"][1] / own["crop_pct"]))
    assert loaded.arch == "timm:resnet10t"


def test_timms_configurations_reach_nothing(tmp_path: Path) -> None:
    for key in ("checkpoint_path", "pretrained", "pretrained_cfg"):
        folder, _ = timm_folder(tmp_path / "timm", model_args={key: "x"})
        assert key in refusal(huggingface.load, folder)
    for name in ("hf-hub:timm/resnet18", "local-dir:/tmp", "nothing", "../x"):
        folder, _ = timm_folder(tmp_path / "timm", architecture=name)
        assert ("names" if ":" in name else "unknown timm architecture") in refusal(huggingface.load, folder)
    folder, _ = timm_folder(tmp_path / "timm", model_args={"no_such": 1})
    assert "timm cannot build" in refusal(huggingface.load, folder)
    folder, _ = timm_folder(tmp_path / "timm", num_classes=7)
    assert "have 5 classes; correct the number in" in refusal(huggingface.load, folder)
    folder, _ = timm_folder(tmp_path / "timm", pretrained_cfg={"input_size": [28, 28]})
    assert "states no usable preprocessing" in refusal(huggingface.load, folder)


@pytest.mark.parametrize("named", [{"model_args": {"checkpoint_path": "evil.pth"}}, {"architecture": "local-dir:/x"}])
def test_a_wrapped_timm_model_reaches_nothing(tmp_path: Path, named: dict[str, Any]) -> None:
    folder, _ = timm_folder(tmp_path / "wrapped")
    config = {"model_type": "timm_wrapper", "architectures": ["TimmWrapperForImageClassification"], **named}
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", **config}))
    (folder / "evil.pth").write_bytes(b"x")
    assert "nothing in it was run" in refusal(huggingface.load, folder)


@pytest.mark.skipif(not NEW, reason="older versions do not wrap timm")
def test_a_wrapped_timm_model_is_prepared_for_as_timm_does(tmp_path: Path) -> None:
    folder, model = timm_folder(tmp_path / "wrapped")
    config = {"model_type": "timm_wrapper", "architectures": ["TimmWrapperForImageClassification"], "num_labels": 5}
    stated = {"input_size": [3, 64, 64], "crop_pct": 0.9, "crop_mode": "squash", "mean": [0.4] * 3, "std": [0.3] * 3}
    whole = {"architecture": "resnet10t", "pretrained_cfg": stated, "num_classes": 5, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    loaded = huggingface.load(request(folder))
    assert difference(loaded, _Logits(model)) == 0
    own = transformers.AutoImageProcessor.from_pretrained(folder).data_config
    found = loaded.preprocessing
    assert (found.mean, found.std, found.interpolation) == (tuple(own["mean"]), tuple(own["std"]), own["interpolation"])
    assert (found.resize, found.crop, own["crop_mode"], loaded.notes) == ((71, 71), 64, "squash", ())


def test_what_a_timm_folder_leaves_out_is_timms_own(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm")
    config = json.loads((folder / "config.json").read_text())
    stated = config.pop("pretrained_cfg", {})
    (folder / "config.json").write_text(json.dumps({**config, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}))
    loaded = huggingface.load(request(folder))
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)
    assert stated is not None
