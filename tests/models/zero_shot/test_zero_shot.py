"""Zero-shot classifiers: the libraries' own logits are the oracles, without a network."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import robench
from robench.datasets.class_mapping import imagenet_wnids
from robench.errors import CheckpointError, OptionError, RobenchError, RunError
from robench.models import Classifier, load_classifier
from robench.models.zero_shot.choice import ZeroShotChoice
from robench.models.zero_shot.text_encoder import TextEncoder
from tests.builders import each, run_files, tiny_dataset
from tests.models.formats.fuzz import draw, mutated
from tests.models.zero_shot.makers import KINDS, hf_folder, open_clip_config, open_clip_folder, state_of, texts_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_small_clip.py"
NAMES = ["cat", "dog", "sea lion"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a call to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP and a SigLIP of each library."""
    root = tmp_path_factory.mktemp("models")
    for kind in ("clip", "siglip"):
        open_clip_folder(root / "open_clip" / kind, kind)
        hf_folder(root / "hf" / kind, kind)
    return root


def noise(classifier: Classifier) -> Tensor:
    return torch.randint(
        0, 256, (5, 3, *classifier.preprocessing.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def normalised(classifier: Classifier) -> Tensor:
    own = classifier.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (own.mean, own.std))
    return (noise(classifier) / 255 - mean) / std


def library_logits(model: Any, tokenizer: Any, images: Tensor, names: list[str], templates: Any) -> Tensor:
    """The classifier of open_clip times its scale, plus its bias."""
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(model, tokenizer, names, templates)
        logits: Tensor = model.logit_scale.exp() * model.encode_image(images, normalize=True) @ weights
        return logits if model.logit_bias is None else logits + model.logit_bias


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def check_open_clip(folder: Path, model: Any, names: list[str]) -> None:
    classifier = load_classifier(folder, class_names=names)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    expected = library_logits(model, tokenizer, normalised(classifier), names, open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert_close(classifier.logits(noise(classifier)), expected)


@each("kind", ["clip", "siglip"])
def test_open_clip_folders(kind: str, folders: Path) -> None:
    folder = folders / "open_clip" / kind
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    check_open_clip(folder, model, NAMES)


@pytest.mark.nightly
@each("kind", ["clip", "siglip"])
def test_eighty_templates_and_a_thousand_names(kind: str, folders: Path) -> None:
    folder = folders / "open_clip" / kind
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    check_open_clip(folder, model, open_clip.IMAGENET_CLASSNAMES)


@pytest.mark.slow(minutes=0.1)
@each("kind", ["clip", "siglip"])
def test_weights_files_of_open_clip(kind: str, folders: Path, tmp_path: Path) -> None:
    """A name of the library with a state dict: of a training run, of an older version, and with another form of the scale."""
    folder, name = folders / "open_clip" / kind, f"tiny-{kind[:3]}"
    (tmp_path / f"{name}.json").write_text(json.dumps(open_clip_config(kind)["model_cfg"]))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    state = state_of(open_clip.create_model(f"local-dir:{folder}"))
    expected = load_classifier(folder, class_names=NAMES, prompts="plain")
    scales = {key: value.reshape(1) for key, value in state.items() if key.startswith("logit_")}
    for number, content in enumerate(
        (
            {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}},
            state,
            state | scales,
        )
    ):
        file = tmp_path / f"{number}.pt"
        torch.save(content, file)
        classifier = load_classifier(file, f"open_clip:{name}", class_names=NAMES, prompts="plain")
        assert torch.equal(classifier.logits(noise(classifier)), expected.logits(noise(expected)))
    if kind == "clip":  # Older files of a network with a text tower of its own lack its prefix.
        config = open_clip_config(kind)["model_cfg"] | {"custom_text": True}
        (tmp_path / "tiny-own.json").write_text(json.dumps(config))
        open_clip.add_model_config(tmp_path / "tiny-own.json")
        classifier = load_classifier(file, "open_clip:tiny-own", class_names=NAMES, prompts="plain")
        assert_close(classifier.logits(noise(classifier)), expected.logits(noise(expected)))
    with pytest.raises(CheckpointError, match="unknown open_clip architecture 'tiny'"):
        load_classifier(file, "open_clip:tiny", class_names=NAMES)
    with pytest.raises(CheckpointError, match="names an architecture without weights"):
        load_classifier(f"open_clip:{name}", class_names=NAMES)
    for form in ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"):
        other = tmp_path / form / kind
        other.mkdir(parents=True)
        (other / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
        torch.save(state, other / form)
        classifier = load_classifier(other, class_names=NAMES, prompts="plain")
        assert torch.equal(classifier.logits(noise(classifier)), expected.logits(noise(expected)))


@pytest.mark.slow(minutes=0.1)
@each("kind", KINDS)
def test_folders_of_transformers(kind: str, tmp_path: Path) -> None:
    """The model's own `logits_per_image`, of texts that SigLIP pads to the longest that it takes, without a mask."""
    model, processor = hf_folder(tmp_path, kind)
    classifier = load_classifier(tmp_path, class_names=NAMES, prompts="plain")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in noise(classifier)]
    pixels = processor(images=pictures, return_tensors="pt")

    def own(**padding: Any) -> Tensor:
        tokens = tokenizer(texts_of(NAMES), return_tensors="pt", **padding)
        texts = {"input_ids": tokens["input_ids"]} if "siglip" in kind else tokens
        with torch.no_grad():
            logits: Tensor = model(**texts, **pixels).logits_per_image
        return logits

    padded = own(padding="max_length", max_length=24, truncation=True) if "siglip" in kind else own(padding=True)
    assert padded.isfinite().all()
    assert_close(classifier.logits(noise(classifier)), padded)
    if kind == "siglip":  # Padding to the longest text in the batch changes the logits.
        difference = (own(padding=True) - padded).abs().max()
        assert difference > 1e-3 * padded.abs().max()


def test_a_folder_without_an_image_processor_has_that_of_its_type(folders: Path, tmp_path: Path) -> None:
    for file in (folders / "hf" / "clip").iterdir():
        if "processor" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    classifier = load_classifier(tmp_path, class_names=NAMES, prompts="plain")
    whole = load_classifier(folders / "hf" / "clip", class_names=NAMES, prompts="plain")
    assert classifier.preprocessing == whole.preprocessing
    assert any("lacks preprocessor_config.json" in note for note in classifier.notes)


def test_the_names_are_those_of_the_images(tmp_path: Path) -> None:
    assert ZeroShotChoice(default_names=["sea_lion", "guinea  pig"]).load("x").names == ("sea lion", "guinea pig")
    with pytest.raises(
        OptionError, match=r"numbers \(0, 1, …\), which say nothing to a text encoder; add .*class.names"
    ):
        ZeroShotChoice(default_names=["0", "1"]).load("x")
    with pytest.raises(OptionError, match="no names of classes are given"):
        ZeroShotChoice().load("x")
    (tmp_path / "names.txt").write_text("a cat\na dog\n")
    own = ZeroShotChoice("plain", str(tmp_path / "names.txt"), ["0", "1"]).load("x")
    assert (own.names, own.texts("a cat")) == (("a cat", "a dog"), ["a photo of a a cat."])
    with pytest.raises(OptionError, match="no effect on"):
        load_classifier("demo", prompts="plain")


def test_wordnet_ids_have_the_words_of_openai() -> None:
    prompts = ZeroShotChoice(default_names=imagenet_wnids()[5:9]).load("model")
    assert prompts.names == tuple(open_clip.IMAGENET_CLASSNAMES)
    (note,) = [note for note in prompts.notes if "one name" in note]
    assert "'missile' (657, 744), 'sunglasses' (836, 837)" in note
    assert prompts.texts("cat") == [template("cat") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    # Tiny ImageNet has classes that are none of ImageNet's thousand.
    mixed = ZeroShotChoice(default_names=["n01443537", "n00007846"]).load("model")
    assert mixed.names == ("goldfish", "person")


@each(
    "prompts, content, expected",
    [
        ("absent.txt", None, "is no file; give imagenet, simple, plain, or a file"),
        ("own.txt", "a photo of a cat\n", r"template 1 has no \{\} in the place"),
        ("own.txt", "a {}\n\na {}.\n", "line 2 is blank"),
        ("own.txt", "", "is empty"),
        ("own.txt", "\udcff{}", "is not UTF-8"),
    ],
)
def test_errors_of_prompts(prompts: str, content: str | None, expected: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / prompts).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(OptionError, match=expected):
        load_classifier(tmp_path, class_names=NAMES, prompts=tmp_path / prompts)


class Plain(nn.Module):
    """The same classifier as a module of plain torch."""

    def __init__(self, backbone: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.backbone, self.weight = backbone, nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.backbone(images), dim=1) @ self.weight.T


@pytest.mark.slow(minutes=0.1)
def test_a_run_is_that_of_a_plain_classifier(folders: Path, tmp_path: Path) -> None:
    images = tiny_dataset(tmp_path / "images")
    options: dict[str, Any] = {"corruption": ["shot_noise"], "severity": [1, 5], "batch_size": 7, "progress": False}
    zero_shot = robench.evaluate(folders / "open_clip" / "clip", images, "cifar-c", tmp_path / "a", **options)
    loaded: Any = load_classifier(folders / "open_clip" / "clip", class_names=["ant", "bee", "cow"])
    plain = robench.evaluate(
        Plain(loaded.module.backbone, loaded.module.head.weight),
        images,
        "cifar-c",
        tmp_path / "b",
        mean=loaded.preprocessing.mean,
        std=loaded.preprocessing.std,
        label="clip",
        size=32,
        **options,
    )
    records = [
        {name: content for name, content in run_files(run.path).items() if name.startswith("records")}
        for run in (zero_shot, plain)
    ]
    assert len(records[0]) == 3
    assert records[0] == records[1]
    facts = json.loads((tmp_path / "a" / "manifest.json").read_text())["identity"]["model"]["head"]
    assert facts["texts"]["names"] == ["ant", "bee", "cow"]
    assert (facts["head"], facts["prompts"], facts["templates"]) == ("zero-shot", "imagenet", 80)
    with pytest.raises(RunError, match="prompts was imagenet, is simple"):
        robench.evaluate(
            folders / "open_clip" / "clip", images, "cifar-c", tmp_path / "a", prompts="simple", label="clip", **options
        )


def test_the_texts_are_encoded_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders / "hf" / "siglip"
    first = load_classifier(folder, class_names=NAMES)
    monkeypatch.setattr(TextEncoder, "class_weights", None)
    again = load_classifier(folder, class_names=NAMES)
    assert torch.equal(first.logits(noise(first)), again.logits(noise(again)))
    with pytest.raises(CheckpointError):
        load_classifier(folder, class_names=[*NAMES, "bee"])


@pytest.mark.slow(minutes=0.1)
def test_the_image_tower_takes_other_heads(folders: Path, tmp_path: Path) -> None:
    images = tiny_dataset(tmp_path / "images")
    for folder in (folders / "open_clip" / "clip", folders / "hf" / "siglip"):
        classifier = load_classifier(folder, head="knn:k=3", reference=images)
        assert (classifier.classes, classifier.head_facts["features"]) == (3, "the output")
        with pytest.raises(OptionError, match="prompts has no effect"):
            load_classifier(folder, head="knn:k=3", reference=images, prompts="plain")


def _copy(source: Path, target: Path, changed: dict[str, bytes | None]) -> Path:
    target.mkdir()
    for file in source.iterdir():
        if (content := changed.get(file.name, file.read_bytes())) is not None:
            (target / file.name).write_bytes(content)
    for name, content in changed.items():
        if content is not None:
            (target / name).write_bytes(content)
    return target


def _config(**changes: Any) -> bytes:
    config = open_clip_config("clip")
    for path, value in changes.items():
        part = config["model_cfg"]
        *outer, key = path.split("__")
        for name in outer:
            part = part[name]
        part[key] = value
    return json.dumps(config).encode()


@pytest.mark.slow(minutes=0.1)
@each(
    "library, changed, expected",
    [
        ("open_clip", {"open_clip_model.safetensors": None}, "holds no weights; it needs open_clip_model.safetensors"),
        ("open_clip", {"open_clip_config.json": b"{"}, "is not JSON"),
        ("open_clip", {"open_clip_config.json": b'{"model_cfg": 3}'}, "model_cfg is no object"),
        ("open_clip", {"open_clip_config.json": b'{"model_cfg": {}}'}, "lacks vision_cfg or text_cfg"),
        ("open_clip", {"open_clip_config.json": _config(vision_cfg__timm_model_name="hf-hub:a/b")}, "was refused"),
        ("open_clip", {"open_clip_config.json": _config(text_cfg__hf_model_name="../other")}, "was refused"),
        (
            "open_clip",
            {"open_clip_config.json": _config(text_cfg__tokenizer_kwargs={"trust_remote_code": True})},
            "was refused, and nothing in it was run: its open_clip_config.json has trust_remote_code",
        ),
        (
            "open_clip",
            {"open_clip_config.json": _config(text_cfg__tokenizer_kwargs={"vocab_file": "/etc/passwd"})},
            "names 'tokenizer_kwargs vocab_file'",
        ),
        (
            "open_clip",
            {"open_clip_config.json": _config(text_cfg__hf_tokenizer_name="timm/ViT-B-16-SigLIP")},
            "lacks the files of its tokenizer, such as tokenizer.json; copy them into the folder, from timm/ViT-B-16-SigLIP",
        ),
        (
            "open_clip",
            {"open_clip_config.json": _config(text_cfg__hf_model_name="xlm-roberta-base")},
            "needs xlm-roberta-base/config.json, which is not in the local cache",
        ),
        ("open_clip", {"open_clip_config.json": _config(vision_cfg__width=48)}, "describes another network"),
        ("hf", {"tokenizer.json": None}, "lacks the files of its tokenizer, such as tokenizer.json"),
        ("hf", {"tokenizer.json": b"{}"}, "tokenizer .* cannot be loaded"),
        ("hf", {"tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["x.T", null]}}'}, "has auto_map"),
        ("hf", {"model.safetensors": None}, "holds no weights; it needs one of model.safetensors"),
    ],
)
def test_missing_and_hostile_files(
    library: str, changed: dict[str, bytes | None], expected: str, folders: Path, tmp_path: Path
) -> None:
    folder = _copy(folders / library / "clip", tmp_path / "model", changed)
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_classifier(folder, class_names=NAMES, prompts="plain")
    assert "\n" not in str(caught.value)


@pytest.mark.slow(minutes=0.1)
@each(
    "library, name", [("open_clip", "open_clip_config.json"), ("hf", "tokenizer.json"), ("hf", "tokenizer_config.json")]
)
def test_damaged_files(library: str, name: str, folders: Path, tmp_path: Path) -> None:
    """Every damage of a text file is one line, or a classifier of three classes."""
    source = folders / library / "clip"
    folder, content = _copy(source, tmp_path / "model", {}), (source / name).read_bytes()
    for number in range(12):
        damaged = mutated(content, *draw(number)[1:])
        # No larger numbers, whose networks the sandbox alone stops.
        if any(
            len(part) > 5 for part in damaged.translate(bytes(c if 48 <= c < 58 else 32 for c in range(256))).split()
        ):
            damaged = damaged[: len(damaged) // 2]
        (folder / name).write_bytes(damaged)
        classes, problem = 3, ""
        try:
            classes = load_classifier(folder, class_names=NAMES, prompts="plain").classes
        except RobenchError as error:
            problem = str(error)
        assert classes == 3
        assert "\n" not in problem


@pytest.mark.nightly
def test_a_small_clip_learns(shared: Path, tmp_path: Path) -> None:
    """The example reaches well above the 10 % of guessing on images that it was not trained on."""
    spec = importlib.util.spec_from_file_location("train_small_clip", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(shared / "data" / "cifar10", tmp_path / "clip")
    options: dict[str, Any] = {"subset": tmp_path / "clip" / "test.txt", "prompts": "simple", "progress": False}
    run = robench.evaluate(tmp_path / "clip", shared / "data" / "cifar10", "clean", tmp_path / "run", **options)
    assert run.results.query("metric == 'accuracy'").value.iloc[0] > 0.35


@pytest.mark.nightly
@pytest.mark.sandbox
def test_a_configuration_of_a_huge_network_stops_in_the_sandbox(folders: Path, tmp_path: Path) -> None:
    changed: dict[str, bytes | None] = {"open_clip_config.json": _config(text_cfg__vocab_size=10**11)}
    folder = _copy(folders / "open_clip" / "clip", tmp_path / "model", changed)
    with pytest.raises(CheckpointError, match="needs more memory than is available"):
        load_classifier(folder, class_names=NAMES, prompts="plain")
    assert load_classifier(folders / "open_clip" / "clip", class_names=NAMES, prompts="plain").classes == 3


def test_truncated_weights(folders: Path, tmp_path: Path) -> None:
    content = (folders / "open_clip" / "clip" / "open_clip_model.safetensors").read_bytes()
    for size in (0, 9, 1000, len(content) - 1):
        folder = _copy(
            folders / "open_clip" / "clip", tmp_path / str(size), {"open_clip_model.safetensors": content[:size]}
        )
        with pytest.raises(CheckpointError) as caught:
            load_classifier(folder, class_names=NAMES, prompts="plain")
        assert "\n" not in str(caught.value)
    folder = tmp_path / "scale"
    state = state_of(open_clip.create_model(f"local-dir:{folders / 'open_clip' / 'clip'}"))
    _copy(folders / "open_clip" / "clip", folder, {})
    save_file(state | {"logit_scale": torch.tensor(float("inf"))}, folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=r"scale or bias of the logits .* is not finite"):
        load_classifier(folder, class_names=NAMES, prompts="plain")
