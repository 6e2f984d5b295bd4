"""Heads on backbones: numpy's vote, scikit-learn's regression and plain torch are the oracles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

import robench
from robench.errors import CheckpointError, DatasetError, RobenchError, RunError
from robench.models import Classifier, load_classifier
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.models.heads.layers import NearestNeighbours
from tests.builders import each, tiny_dataset
from tests.models.formats.fuzz import draw, mutated

ARCH = "timm:vit_tiny_patch16_224?img_size=32&embed_dim=24&depth=4&num_heads=2"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("images"))


def vit(**arguments: Any) -> nn.Module:
    """An untrained vision transformer of timm with the parts of DINOv2, and tokens of width 24."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"img_size": 28, "patch_size": 14, "embed_dim": 24, "depth": 4, "num_heads": 2}
    network: nn.Module = timm.models.VisionTransformer(**(shape | {"num_classes": 0, "init_values": 0.5} | arguments))
    return network.eval()


def pixels(classifier: Classifier) -> Tensor:
    """Noise of the classifier's size, normalised as it normalises images; see `logits`."""
    shape = (5, 3, *classifier.preprocessing.shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised(classifier: Classifier) -> Tensor:
    own = classifier.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (own.mean, own.std))
    return (pixels(classifier) / 255 - mean) / std


def test_the_vote_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    references, queries = rng.normal(size=(300, 8)), rng.normal(size=(40, 8))
    labels = rng.integers(0, 7, 300)
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        references / np.linalg.norm(references, axis=1)[:, None]
    ).T
    for k in (1, 2, 5, 10, 20, 50, 100, 200):
        votes = np.zeros((40, 7))
        for row, cosine in enumerate(cosines):
            for reference in np.argsort(-cosine)[:k]:
                votes[row, labels[reference]] += np.exp(cosine[reference] / 0.07)
        head = NearestNeighbours(torch.tensor(references), torch.tensor(labels), 7, k, 0.07)
        logits = head(torch.tensor(queries).float())
        assert (logits.argmax(1).numpy() == votes.argmax(1)).all()
        assert logits.softmax(1).numpy() == pytest.approx(votes / votes.sum(1)[:, None], abs=1e-5)


def test_the_regression_is_that_of_scikit_learn(images: Path) -> None:
    network = vit()
    classifier = load_classifier(network, head="linear:C=0.3", reference=images, size=28)
    paths = sorted(images.rglob("*.png"))
    references = []
    for path in paths:
        with Image.open(path) as image:
            references.append(np.asarray(classifier.preprocessing.geometry().apply(image)).transpose(2, 0, 1))
    own = classifier.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (own.mean, own.std))
    with torch.no_grad():
        features = network((torch.from_numpy(np.stack(references)) / 255 - mean) / std)
        queries = network(normalised(classifier))
    labels = [("ant", "bee", "cow").index(path.parent.name) for path in paths]
    expected = LogisticRegression(C=0.3, max_iter=1000).fit(features.numpy(), labels).decision_function(queries.numpy())
    assert classifier.logits(pixels(classifier)).numpy() == pytest.approx(expected, abs=2e-3)
    assert classifier.class_names == ("ant", "bee", "cow")


@each("layout, width", [(None, 24), ("cls+patches", 48), ("cls4", 96), ("cls4+patches", 120)])
def test_a_head_of_a_file_is_plain_torch(layout: str | None, width: int, tmp_path: Path) -> None:
    """DINOv2's layouts: the class tokens of the last blocks after the final norm, then the mean of the last patches."""
    network: Any = vit(reg_tokens=2)
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(6, width, generator=generator), torch.randn(6, generator=generator)
    torch.save({"state_dict": {"module.linear.weight": weight, "module.linear.bias": bias}}, tmp_path / "head.pth")
    given = load_classifier(network, head=tmp_path / "head.pth", features=layout, size=28)
    stated = load_classifier(network, head=tmp_path / "head.pth", size=28)  # The width alone tells the layout.
    assert stated.head_facts == given.head_facts
    assert any((layout or "pre_logits") in note for note in stated.notes)
    blocks: list[Tensor] = []
    handles = [block.register_forward_hook(lambda *call: blocks.append(call[2])) for block in network.blocks]
    with torch.no_grad():
        features = network(normalised(given))
        if layout is not None:
            tokens = [network.norm(block) for block in blocks[-1 if layout == "cls+patches" else -4 :]]
            parts = [one[:, 0] for one in tokens]
            features = torch.cat([*parts, tokens[-1][:, 3:].mean(1)] if "patches" in layout else parts, dim=1)
    for handle in handles:
        handle.remove()
    assert torch.allclose(given.logits(pixels(given)), functional.linear(features, weight, bias), atol=1e-4)


def self_supervised(kind: str, trunk: dict[str, Tensor], other: dict[str, Tensor]) -> object:
    """The layouts of checkpoints of DINO, of a training module with both networks, and of MoCo."""
    head = {"head.mlp.0.weight": torch.ones(4, 24), "head.last_layer.weight_g": torch.ones(3, 1)}

    def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"{prefix}{name}": value for name, value in state.items()}

    if kind == "dino":
        student = under("module.backbone.", other) | under("module.", head)
        return {"student": student, "teacher": under("backbone.", trunk) | head, "epoch": 3}
    if kind == "flat":
        return {"state_dict": under("student.backbone.", other) | under("teacher.backbone.", trunk)}
    return under({"encoder": "module.encoder.", "plain": ""}[kind], trunk)


@each("kind", ["dino", "flat", "encoder", "plain"])
def test_prefixes_of_self_supervised_checkpoints(kind: str, tmp_path: Path, images: Path) -> None:
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 2, "num_classes": 0}
    trunk, other = (timm.create_model("vit_tiny_patch16_224", **shape).eval() for _ in range(2))
    file = tmp_path / "checkpoint.pth"
    torch.save(self_supervised(kind, trunk.state_dict(), other.state_dict()), file)
    classifier = load_classifier(file, ARCH, head="knn:k=3", reference=images, size=32)
    assert any("trunk" in note for note in classifier.notes)
    assert any("the teacher is used" in note for note in classifier.notes) == (kind in ("dino", "flat"))
    expected = load_classifier(trunk, head="knn:k=3", reference=images, size=32)
    assert torch.equal(classifier.logits(pixels(classifier)), expected.logits(pixels(expected)))
    with pytest.raises(CheckpointError, match=r"add (--)?head knn|weights-key"):
        load_classifier(file, ARCH)


def test_a_trunk_of_a_known_network_is_named(tmp_path: Path, images: Path) -> None:
    state = {name: value for name, value in CifarResNet(10, depth=8).state_dict().items() if "linear" not in name}
    torch.save(state, tmp_path / "trunk.pth")
    with pytest.raises(CheckpointError, match="if it is the trunk of zoo:cifar_resnet8, give that as"):
        load_classifier(tmp_path / "trunk.pth")
    classifier = load_classifier(tmp_path / "trunk.pth", "zoo:cifar_resnet8", head="knn:k=3", reference=images)
    assert classifier.head_facts["features"] == "the output"
    assert any("takes the output as features (no linear layer ends" in note for note in classifier.notes)


def test_features_of_a_module(images: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()
    usual = load_classifier(network, head="knn:k=3", reference=images, size=32)
    named = load_classifier(network, head="knn:k=3", reference=images, features="1", size=32)
    assert (usual.head_facts["features"], named.head_facts["features"]) == ("the input of 4", "the output of 1")
    assert torch.allclose(usual.logits(pixels(usual)), named.logits(pixels(named)), atol=1e-4)


def test_the_head_is_part_of_a_run(images: Path, tmp_path: Path) -> None:
    network, out = vit(), tmp_path / "run"
    (tmp_path / "references").mkdir()
    references = tiny_dataset(tmp_path / "references")
    for path in sorted(references.rglob("*.png")):
        with Image.open(path) as image:
            image.rotate(180).save(path)
    options: dict[str, Any] = {"suite": "clean", "size": 28, "progress": False}
    run = robench.evaluate(network, images, out=out, head="knn:k=3", reference=references, **options)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["identity"]["model"]["head"]["reference"]["images"] == 30
    assert manifest["model"]["label"] == "VisionTransformer+knn:k=3,T=0.07"
    assert not any("--reference" in warning for warning in run.directory.warnings)
    with pytest.raises(RunError, match="head"):
        robench.evaluate(
            network, images, out=out, head="knn:k=4", reference=references, label="VisionTransformer", **options
        )
    leaking = robench.evaluate(network, images, out=tmp_path / "other", head="knn:k=3", reference=images, **options)
    assert any("30 of the 30 images are also in --reference" in warning for warning in leaking.directory.warnings)


@each(
    "head, reference, features, expected",
    [
        ("knn", None, None, "needs labelled images; add"),
        ("knn:k=31", True, None, "more neighbours than the 30 images"),
        ("knn:k=0", True, None, "takes a whole number of neighbours"),
        ("knn:k=1.5", True, None, "takes a whole number of neighbours"),
        ("knn:T=nan", True, None, "takes a temperature above 0"),
        ("knn:n=3", True, None, "unknown parameter 'n' of --head knn"),
        ("knn:k=3,k=4", True, None, "gives k twice"),
        ("linear:C=-1", True, None, "above 0 as C"),
        ("nothing.pth", None, None, "neither knn, linear nor a file"),
        (None, True, None, "no effect without a head"),
        ("knn", True, "block", "no such module; did you mean blocks"),
        ("knn", True, "blocks.3", "has the shape 2x5x24"),
    ],
)
def test_errors(head: str | None, reference: bool | None, features: str | None, expected: str, images: Path) -> None:
    with pytest.raises(RobenchError) as caught:
        load_classifier(vit(), head=head, reference=images if reference else None, features=features, size=28)
    assert expected.replace("--", "") in str(caught.value).replace("--", ""), str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_programs_functions_and_classes_without_images_are_refused(images: Path, tmp_path: Path) -> None:
    script: Any = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 4)))
    script.save(str(tmp_path / "vit.pt"))
    with pytest.raises(CheckpointError, match="an exported program, whose layers cannot be read"):
        load_classifier(tmp_path / "vit.pt", head="knn", reference=images)
    with pytest.raises(CheckpointError, match="a function, whose layers"):
        load_classifier(lambda images: images.mean((2, 3)), head="knn", reference=images)
    with pytest.raises(CheckpointError, match="is a trunk, which has no classification head"):
        load_classifier(vit(), size=28)
    (tmp_path / "labels.csv").write_text("file_name,label\na.png,0\nb.png,2\n")
    for name in "ab":
        Image.new("RGB", (28, 28)).save(tmp_path / f"{name}.png")
    with pytest.raises(DatasetError, match="no image of 1 classes, such as 1"):
        load_classifier(vit(), head="linear", reference=tmp_path, size=28)


def test_damaged_files_of_heads(tmp_path: Path) -> None:
    """Every mutation of a file is an error of one line, or a head whose logits have one column a class."""
    network = vit()
    file = tmp_path / "head.pth"
    torch.save({"weight": torch.ones(3, 48), "bias": torch.zeros(3)}, file)
    content = file.read_bytes()
    inputs = [mutated(content, *draw(number)[1:]) for number in range(40)] + [
        content[:size] for size in (0, 1, 30, 200, 600)
    ]
    for data in inputs:
        file.write_bytes(data)
        classes, problem = 3, ""
        try:
            classes = load_classifier(network, head=file, size=28).classes
        except RobenchError as error:
            problem = str(error)
        assert classes == 3
        assert "\n" not in problem
    for tensors in (
        {"weight": torch.ones(3, 48), "bias": torch.zeros(4)},
        {"weight": torch.ones(1, 48)},
        {"weight": torch.ones(3, 48, dtype=torch.int64)},
        {"a": torch.ones(3, 48), "b": torch.ones(3, 48)},
        {"weight": torch.ones(3, 0)},
    ):
        torch.save(tensors, file)
        with pytest.raises(CheckpointError, match="is no linear layer"):
            load_classifier(network, head=file, size=28)
    torch.save({"weight": torch.ones(3, 50)}, file)
    with pytest.raises(CheckpointError, match=r"takes 50 features, but pre_logits of .* has 24"):
        load_classifier(network, head=file, size=28)


@pytest.mark.slow(minutes=0.1)
def test_resnet20_with_nearest_neighbours(shared: Path, tmp_path: Path) -> None:
    """The measured accuracies of the pooled features, of the last 100 images of each class by the first 100."""
    for pack in ("cifar10", "cifar10_jpeg"):
        for folder in sorted(path for path in (shared / "data" / pack).iterdir() if path.is_dir()):
            for number, file in enumerate(sorted(folder.iterdir())):
                link = tmp_path / pack / ("reference" if number < 100 else "test") / folder.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
    checkpoint = shared / "data" / "checkpoints" / "cifar10_resnet20.th"
    head: dict[str, Any] = {"head": "knn:k=20,T=0.07", "reference": tmp_path / "cifar10" / "reference"}
    classifier = load_classifier(checkpoint, "zoo:cifar_resnet20", **head)
    for pack, accuracy in (("cifar10", 0.921), ("cifar10_jpeg", 0.828)):
        run = robench.evaluate(classifier, tmp_path / pack / "test", "clean", tmp_path / f"{pack}-run", progress=False)
        found = run.results.query("metric == 'accuracy'").value.iloc[0]
        assert found == pytest.approx(accuracy, abs=0.002)
