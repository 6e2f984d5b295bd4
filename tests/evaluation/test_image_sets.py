"""Oracles: scikit-learn on the records of both sides, as OpenOOD's evaluator calls it, and values measured with other code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

import robench
from robench.errors import RobenchError
from robench.runs.directory import RunDirectory
from tests.builders import each, tiny_classifier, tiny_dataset


def scores_of(records: pd.DataFrame) -> dict[str, np.ndarray]:
    confidence, max_logit = records["confidence"].astype(float), records["max_logit"].astype(float)
    return {
        "msp": confidence.to_numpy(),
        "max_logit": max_logit.to_numpy(),
        "energy": (max_logit - np.log(confidence)).to_numpy(),
        "gen": -records["gen"].to_numpy(float),
        "entropy": -records["entropy"].to_numpy(float),
    }


def expected(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    score, positive = np.r_[inside, outside], np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    rates, hits, _ = roc_curve(positive, -score, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(1 - positive, score)
    other_precision, other_recall, _ = precision_recall_curve(positive, -score)
    return {
        "auroc": roc_auc_score(positive, -score),
        "fpr95": rates[np.argmax(hits >= 0.95)],
        "aupr_in": auc(recall, precision),
        "aupr_out": auc(other_recall, other_precision),
    }


def values(results: pd.DataFrame, **where: object) -> dict[tuple[str, str], float]:
    rows = results[results["suite"] == "ood"]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return {(row["metric"], row["method"]): row["value"] for row in rows.to_dict("records")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three classes, and sets of images without labels in four layouts."""
    root = tmp_path_factory.mktemp("sets")
    tiny_dataset(root / "own")
    rng = np.random.default_rng(1)
    for layout in ("flat", "listed", "folders/a", "shifted/ant", "shifted/bee"):
        (root / layout).mkdir(parents=True)
        for number in range(7):
            height, width = rng.integers(33, 80, 2)
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            image.save(root / layout / f"{number}.png")
    lines = [f"listed/{number}.png -1" if number % 2 else f"listed/{number}.png" for number in range(7)]
    (root / "list.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> robench.Run:
    return robench.evaluate(
        tiny_classifier(),
        data / "own",
        "cifar-c",
        tmp_path_factory.mktemp("runs") / "run",
        corruption="fog",
        severity=[1, 5],
        ood=[f"near={data / 'flat'}", f"near={data / 'list.txt'}", f"far={data / 'folders'}"],
        csid=[str(data / "shifted")],
    )


def test_values_of_sets_and_of_conditions(run: robench.Run) -> None:
    sets = {folder.name: RunDirectory.open(folder) for folder in sorted((run.path / "ood").iterdir())}
    assert sorted(sets) == ["csid-1", "far-1", "near-1", "near-2"]
    scored = {name: scores_of(one.read_records(one.conditions[0].name)) for name, one in sets.items()}
    own = {one.name: scores_of(run.directory.read_records(one.name)) for one in run.directory.conditions}
    clean = own["clean-32px"]
    for method in clean:
        of_near = [expected(clean[method], scored[name][method]) for name in ("near-1", "near-2")]
        spectrum = np.r_[clean[method], scored["csid-1"][method]]
        fog = own["cifar-c-fog-5-32px"][method]
        for metric in of_near[0]:
            near = values(run.results, subset="near", corruption="clean")
            assert near[metric, method] == pytest.approx(np.mean([one[metric] for one in of_near]), abs=1e-9)
            part = values(run.results, subset="near/flat", corruption="clean")
            assert part[metric, method] == pytest.approx(of_near[0][metric], abs=1e-9)
            far = values(run.results, subset="far", corruption="clean")
            assert far[f"fs_{metric}", method] == pytest.approx(
                expected(spectrum, scored["far-1"][method])[metric], abs=1e-9
            )
        cell = values(run.results, subset="far", corruption="fog", severity=5)
        assert cell["auroc", method] == pytest.approx(expected(fog, scored["far-1"][method])["auroc"], abs=1e-9)
        both = expected(np.r_[clean[method], fog], scored["far-1"][method])
        assert cell["fs_auroc", method] == pytest.approx(both["auroc"], abs=1e-9)
    # Intervals hold their values, and the suite of corruptions is as without any set.
    assert (run.results["ci_low"] <= run.results["value"]).all()
    assert "near AUROC (msp)" in str(run)


@pytest.mark.slow
def test_a_second_call_reads_the_sets_again_and_none_takes_them_away(run: robench.Run, data: Path) -> None:
    before = run.directory.path / "results.csv"
    content = before.read_bytes()
    options = {"corruption": "fog", "severity": [1, 5]}
    sets = {"ood": run.directory.manifest["options"]["ood"], "csid": run.directory.manifest["options"]["csid"]}
    robench.evaluate(tiny_classifier(), data / "own", "cifar-c", run.path, **options, **sets)  # type: ignore[arg-type]
    assert before.read_bytes() == content
    assert robench.score(run).to_csv() == run.results.to_csv()
    copy = run.path.with_name("copy")
    shutil.copytree(run.path, copy)
    alone = robench.evaluate(tiny_classifier(), data / "own", "cifar-c", copy, **options)  # type: ignore[arg-type]
    assert alone.results.to_csv() == run.results[run.results["suite"] != "ood"].to_csv()


@each(
    "ood, problem",
    [
        (["near"], "names no images"),
        (["near=/nowhere"], "there is no dataset"),
        (["=x"], "names no images"),
        (["<b>=x"], "formula or a script"),
    ],
)
def test_a_set_that_is_none(ood: list[str], problem: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RobenchError, match=problem):
        robench.evaluate(tiny_classifier(), data / "own", "clean", tmp_path / "run", ood=ood)
    assert not (tmp_path / "run").exists()


PUBLISHED = {
    "msp": (48.90, 84.06, 91.48, 67.66),
    "max_logit": (52.95, 85.79, 91.23, 73.02),
    "energy": (52.95, 85.80, 91.23, 73.12),
    "gen": (48.20, 86.03, 91.48, 73.11),
    "entropy": (48.60, 84.34, 90.88, 68.78),
}
"""FPR95, AUROC, AUPR in and AUPR out in percent, with another resize."""


@pytest.mark.slow(minutes=3)
def test_resnet20_on_real_images(tmp_path: Path, shared: Path) -> None:
    root = shared / "data"
    run = robench.evaluate(
        str(root / "checkpoints" / "cifar10_resnet20.th"),
        root / "cifar10",
        "clean",
        tmp_path / "run",
        ood=[f"near={root / 'imagenet'}"],
        csid=[str(root / "cifar10_jpeg")],
    )
    measured = {
        suite: {row["metric"]: row["value"] for row in run.results[run.results["suite"] == suite].to_dict("records")}
        for suite in ("clean",)
    }["clean"]
    assert measured["nll"] == pytest.approx(0.37552, abs=1e-4)
    assert measured["brier"] == pytest.approx(0.13111, abs=1e-4)
    assert measured["aurc"] == pytest.approx(0.01076, abs=1e-4)
    assert measured["augrc"] == pytest.approx(0.00940, abs=1e-4)
    found = values(run.results, subset="near")
    for method, of_method in PUBLISHED.items():
        for metric, value, within in zip(
            ("fpr95", "auroc", "aupr_in", "aupr_out"), of_method, (2, 0.5, 2, 2), strict=True
        ):
            assert 100 * found[metric, method] == pytest.approx(value, abs=within), (method, metric)
    assert 100 * found["fs_auroc", "msp"] == pytest.approx(77.89, abs=0.5)
    jpeg = robench.evaluate(
        str(root / "checkpoints" / "cifar10_resnet20.th"), root / "cifar10_jpeg", "clean", tmp_path / "jpeg"
    )
    of_jpeg = {row["metric"]: row["value"] for row in jpeg.results.to_dict("records")}
    expected_of_jpeg = {"nll": 0.83275, "brier": 0.30013, "aurc": 0.04631, "augrc": 0.03758}
    assert {name: of_jpeg[name] for name in expected_of_jpeg} == pytest.approx(expected_of_jpeg, abs=1e-4)
