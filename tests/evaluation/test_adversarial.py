"""Attacks on tiny networks. Oracles: hand computation, the definitions of the ball, and the records themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import robench
from robench.analysis.report.sections import suite_section
from robench.cli.entry import run_cli
from robench.datasets import decode_few, open_dataset
from robench.errors import OptionError
from robench.evaluation.adversarial import attack_images, attack_warnings
from robench.evaluation.apgd import Ball, apgd, checkpoints, cross_entropy, targeted_dlr
from robench.evaluation.attack_state import AttackState
from robench.models import Classifier
from robench.suites import epsilon_text, make_attack
from robench.transforms.draws import KeyedDraws
from tests.builders import each, run_files, tiny_classifier, tiny_dataset

RADII = ["0", "1/255", "4/255", "16/255"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "images")


def trained(classes: int = 3) -> Classifier:
    """A smooth network that is right on most images of `tiny_dataset`, whose pictures are noise: it has learned them by heart."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, classes))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    tiny = tiny_classifier()
    return replace(tiny, module=module.eval().requires_grad_(False), classes=classes)


@pytest.fixture(scope="module")
def learned(data: Path) -> Classifier:
    classifier = trained()
    dataset = open_dataset(data)
    pixels = torch.from_numpy(decode_few(dataset, np.arange(30), classifier.preprocessing.geometry()))
    module = classifier.module.requires_grad_(True)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        values = pixels.float() / 255
        nn.functional.cross_entropy(
            classifier.differentiable_logits(values), torch.from_numpy(dataset.labels)
        ).backward()
        optimizer.step()
    module.requires_grad_(False)
    return classifier


def evaluate(classifier: Classifier, data: Path, out: Path, **options: Any) -> robench.Run:
    chosen: dict[str, Any] = {"epsilon": RADII, "steps": 8, "attack": "apgd-ce", "per_class": 4, **options}
    return robench.evaluate(classifier, data, "adversarial", out, progress=False, **chosen)


@pytest.fixture(scope="module")
def run(learned: Classifier, data: Path, tmp_path_factory: pytest.TempPathFactory) -> robench.Run:
    return evaluate(learned, data, tmp_path_factory.mktemp("run") / "run", batch_size=5)


def accuracies(run: robench.Run, method: str = "worst") -> list[float]:
    rows = run.results[(run.results["suite"] == "adversarial") & (run.results["method"] == method)]
    values: list[float] = rows["value"].tolist()
    return values


def test_rows(run: robench.Run) -> None:
    rows = run.results[run.results["suite"] == "adversarial"]
    assert dict.fromkeys(rows["method"]) == dict.fromkeys(["apgd-ce", "worst"])
    assert rows["axis_value"].tolist() == [float(Fraction(text)) for text in RADII] * 2
    assert set(rows["axis"]) == {"epsilon"}
    clean = run.results[run.results["metric"] == "accuracy"].iloc[0]
    assert clean["value"] > 0.9
    values = accuracies(run)
    assert values[0] == clean["value"], "nothing changes within a radius of 0"
    assert values == sorted(values, reverse=True)
    assert values[1] > values[-1] == 0
    assert "apgd-ce+8steps+1starts" in rows["protocol"].iloc[0]


def test_the_batch_size_changes_at_most_one_image(learned: Classifier) -> None:
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    label = learned.logits(images).argmax(dim=1)
    attack = make_attack(["apgd-ce"], "linf", ["2/255", "3/255"], 10, 1)

    def resisting(size: int) -> NDArray[Any]:
        parts = torch.arange(12).split(size)
        found = [
            [
                (one.logits.argmax(dim=1) == label[part]).sum()
                for one in attack_images(learned, images[part], label[part], attack, draws)
            ]
            for part in parts
            for draws in [KeyedDraws(0, part, "adversarial")]
        ]
        return np.asarray(np.sum(found, axis=0))

    whole = resisting(12)
    assert 0 < whole[-1] < whole[0] < 12
    for size in (1, 5):
        assert np.abs(resisting(size) - whole).max() <= 1


def test_a_run_that_is_cut_off_in_an_attack_is_equal_byte_for_byte(
    learned: Classifier, data: Path, run: robench.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches, three attacks each: the fifth attack is cut off, and the fourth is not repeated."""
    calls = []

    def cut(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return apgd(*arguments)

    monkeypatch.setattr("robench.evaluation.adversarial.apgd", cut)
    monkeypatch.setattr("robench.evaluation.attack_state._SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(learned, data, tmp_path / "run", batch_size=5)
    (state,) = (tmp_path / "run" / "attacks").iterdir()
    evaluate(learned, data, tmp_path / "run", batch_size=5)
    assert len(calls) == 5 + 5
    assert run_files(tmp_path / "run") == run_files(run.path)
    assert not state.parent.exists()


@each("content", [b"", b"\x08" + bytes(7) + b"{}", b"\xff" * 64, b"not a state"])
def test_a_damaged_state_is_no_progress(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    state = AttackState(tmp_path / "state", "key")
    state.read(torch.device("cpu"))
    assert (state.frames, state.logits, state.runs) == ([], None, 0)


@each("norm, epsilon", [("linf", "3/255"), ("linf", "0.1"), ("l2", "0.3"), ("l2", "2")])
def test_images_stay_in_the_ball(learned: Classifier, norm: str, epsilon: str) -> None:
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images[0], images[1] = 0, 255
    label = learned.logits(images).argmax(dim=1)
    attack = make_attack(["apgd-ce"], norm, [epsilon], 6, 2)
    draws = KeyedDraws(0, torch.arange(6), "adversarial")
    (found,) = attack_images(learned, images, label, attack, draws)
    assert found.images is not None
    change = found.images.double() - (images.float() / 255).double()
    size = change.abs().flatten(1).amax(1) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert (size <= float(attack.epsilons[0])).all()
    assert size.max() > 0.5 * float(attack.epsilons[0])
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    torch.testing.assert_close(found.logits, learned.differentiable_logits(found.images), rtol=1e-4, atol=1e-4)


@each("steps, places", [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (10, [3, 5, 6, 7, 8, 9, 10]), (1, [1])])
def test_checkpoints_are_those_of_the_paper(steps: int, places: list[int]) -> None:
    """p = 0.22, then 0.03 less each time but at least 0.06; w = ceil(p * steps)."""
    assert checkpoints(steps) == places


def test_targeted_dlr_by_hand() -> None:
    logits = torch.tensor([[5.0, 3.0, 2.0, 1.0, 0.0]])
    loss = targeted_dlr(torch.tensor([0]), torch.tensor([2]))(logits, torch.tensor([0]))
    assert float(loss[0]) == pytest.approx(-(5 - 2) / (5 - (2 + 1) / 2))


def test_a_linear_network_is_attacked_to_the_corner() -> None:
    """The loss of a linear network is largest where every value moves by the radius against the sign of its weight."""
    weight = torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1).expand(3, 4, 4)

    def logits_of(images: Tensor) -> Tensor:
        score = (images * weight).sum(dim=(1, 2, 3)) + 6
        return torch.stack([score, -score], dim=1)

    clean = torch.full((2, 3, 4, 4), 0.5)
    label, radius = torch.tensor([0, 0]), Fraction(8, 255)
    ball = Ball.around(clean, radius, "linf")
    outcome = apgd(logits_of, cross_entropy(label), label, ball, ball.start(torch.zeros_like(clean)), 30)
    assert not outcome.broken.any()
    expected = clean - float(radius) * weight.sign()
    torch.testing.assert_close(outcome.images, expected.expand_as(clean), rtol=0, atol=1e-6)


def test_starts_depend_on_seed_and_sample_alone(learned: Classifier) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    label = learned.logits(images).argmax(dim=1)
    attack = make_attack(["apgd-ce"], "linf", ["1/255"], 1, 1)

    def changed(rows: list[int], seed: int) -> Tensor:
        draws = KeyedDraws(seed, torch.tensor(rows), "adversarial")
        found = next(attack_images(learned, images[rows], label[rows], attack, draws)).images
        assert found is not None
        return found

    whole = changed([0, 1, 2, 3], 0)
    torch.testing.assert_close(changed([3, 1], 0), whole[[3, 1]], rtol=0, atol=1e-6)
    assert not torch.equal(changed([3, 1], 1), whole[[3, 1]])


def test_worst_counts_every_attack_and_smaller_radii(learned: Classifier, data: Path, tmp_path: Path) -> None:
    """Four classes; the worst is recomputed from the records."""
    four = trained(4)
    found = evaluate(
        four,
        data_of_four(data, tmp_path),
        tmp_path / "run",
        attack=["apgd-t", "apgd-ce"],
        epsilon=["8/255", "2/255"],
        per_class=None,
    )
    (condition,) = [one for one in found.directory.conditions if one.suite == "adversarial"]
    records = pd.read_parquet(found.directory.records_path(condition.name))
    right = (records["pred"] == records["label"]).to_numpy().reshape(4, -1)
    assert accuracies(found, "apgd-t") == [right[0].mean(), right[2].mean()]
    assert accuracies(found, "apgd-ce") == [right[1].mean(), right[3].mean()]
    assert (right[1] <= right[0]).all(), "an image that the first attack breaks stays broken"
    assert accuracies(found) == [right[:2].all(axis=0).mean(), right.all(axis=0).mean()]


def data_of_four(data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "four"
    for number, name in enumerate(("a", "b", "c", "d")):
        (folder / name).mkdir(parents=True)
        for file in sorted(data.rglob("*.png"))[number::12]:
            (folder / name / f"{file.parent.name}{file.name}").write_bytes(file.read_bytes())
    return folder


class _Opaque(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(images.detach().flatten(1)[:, :3].numpy())


class _Noisy(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images)
        return logits + torch.randn(logits.shape)


class _Stepped(_Noisy):
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module((images * 8).round() / 8)
        return logits


def test_models_without_gradients_are_refused(data: Path, tmp_path: Path) -> None:
    opaque = replace(tiny_classifier(), module=_Opaque())
    with pytest.raises(OptionError, match="gives no gradients"):
        evaluate(opaque, data, tmp_path / "run", limit=4)
    assert not (tmp_path / "run").exists()


@each("wrap, text", [(_Noisy, "other logits for the same images"), (_Stepped, "gradients of 4 of 4 images are zero")])
def test_weak_attacks_are_announced(learned: Classifier, wrap: Callable[[nn.Module], nn.Module], text: str) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    (warning,) = attack_warnings(
        replace(learned, module=wrap(learned.module).eval()), images, torch.tensor([0, 1, 2, 0])
    )
    assert text in warning
    assert attack_warnings(learned, images, torch.tensor([0, 1, 2, 0])) == []


def test_too_few_classes_for_a_loss(learned: Classifier, data: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="apgd-t needs 4 classes"):
        evaluate(learned, data, tmp_path / "run", limit=4, attack="apgd-t")
    found = evaluate(learned, data, tmp_path / "run", limit=4, steps=1, attack=["apgd-ce", "apgd-t"])
    assert any("apgd-t is left out" in warning for warning in found.directory.warnings)
    assert accuracies(found, "apgd-t") == []


@each(
    "suite, options, message",
    [
        ("cifar-c", {"epsilon": "1/255"}, "--epsilon applies only to the suite adversarial"),
        ("cifar-c", {"steps": 7}, "--steps applies only"),
        ("adversarial", {"severity": [1]}, "--severity applies only"),
        ("adversarial", {"attack": "autoattack"}, "unknown attack"),
        ("adversarial", {"norm": "l1"}, "unknown norm"),
        ("adversarial", {"epsilon": "8"}, "larger than the range"),
        ("adversarial", {"epsilon": "-1/255"}, "takes radii"),
        ("adversarial", {"epsilon": "1/0"}, "takes radii"),
        ("adversarial", {"steps": 0}, "at least 1"),
        ("adversarial", {"treatment": "bn-test"}, "would change the others|has no"),
    ],
)
def test_options_that_do_not_fit(data: Path, tmp_path: Path, suite: str, options: dict[str, Any], message: str) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    classifier = replace(tiny_classifier(), module=module.eval().requires_grad_(False))
    with pytest.raises((OptionError, robench.RobenchError), match=message):
        robench.evaluate(classifier, data, suite, tmp_path / "run", progress=False, **options)
    assert not (tmp_path / "run").exists()


@each(
    "value, text",
    [(Fraction(4, 255), "4/255"), (0.5 / 255, "0.5/255"), (0.5, "0.5"), (0.03, "0.03"), (0.0, "0"), (2.0, "2")],
)
def test_radii_in_words(value: float, text: str) -> None:
    assert epsilon_text(value) == text


def test_commands_know_the_suite(run: robench.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "adversarial accuracy at linf 4/255" in shown
    assert "upper bound" in shown
    assert run_cli(["gate", str(run.path), "--baseline", str(run.path)]) == 0
    assert "accuracy, suite adversarial" in capsys.readouterr().out
    assert run_cli(["leaderboard", str(run.path), "--format", "csv"]) == 0
    assert "adversarial_accuracy" in capsys.readouterr().out
    section = suite_section("adversarial", run.results.assign(model="tiny"), pd.DataFrame(), ["tiny"])
    assert section is not None
    (group,) = section.groups
    assert group.text.startswith("Upper bounds on robust accuracy (apgd-ce, 8 steps and 1 start each)")
    assert [row["position"] for row in group.charts[0].rows] == [0.0, 1.0, 4.0, 16.0]
