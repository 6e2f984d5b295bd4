"""Published models: oracles are values that their papers and RobustBench's site print, and fits by SciPy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

from robench import report
from robench.analysis.baselines import load_baseline
from robench.analysis.field import (
    FIELDS,
    SOURCES,
    PublishedModel,
    field_cells,
    field_fit,
    field_of,
    find_field,
    published_mce,
    published_models,
)
from robench.analysis.field.standing import standings
from robench.analysis.leaderboard.leaderboard import leaderboard
from robench.analysis.metrics.effective_robustness import effective_robustness, logit_fit, predicted_accuracy
from robench.analysis.metrics.mce import ce
from robench.analysis.run_summary import verdict
from robench.analysis.scoring import score_rows
from robench.analysis.scoring.rows import DISTRIBUTION
from robench.errors import OptionError, RobenchError
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, rows_to_frame
from robench.suites import SUITES
from tests.analysis.gate.invented import first, write_run
from tests.builders import each

R50 = (77.3, 79.3, 80.2, 74.5, 88.6, 78.7, 79.8, 78.3, 75.8, 66.5, 57.0, 71.4, 85.2, 76.8, 76.1)
ROBUSTBENCH = {
    "Standard_R50": 76.37,
    "Hendrycks2020AugMix": 64.17,
    "Hendrycks2020Many": 60.05,
    "Tian2022Deeper_DeiT-B": 41.70,
    "AlexNet": 99.97,
}
RESIDUALS = {"resnet50": -3.47, "resnet50_augmix": 3.58, "resnet50_deepaugment_augmix": 14.48, "alexnet": -4.07}
FITS = {
    "imagenet-c": (0.935, -1.424, 200),
    "imagenet-r": (0.683, -2.083, 329),
    "objectnet": (0.901, -1.845, 335),
    "imagenet-v2": (0.934, -0.496, 335),
}


def by_name(field: str) -> Mapping[str, PublishedModel]:
    return {model.model: model for model in published_models(field)}


def test_corruption_errors_of_robustbenchs_models() -> None:
    models = by_name("imagenet-c")
    suite, alexnet = SUITES["imagenet-c"], load_baseline("alexnet")
    of_r50 = [
        float(ce([models["Standard_R50"].errors[name, s] for s in suite.severities], [alexnet.means[name]]))
        for name in suite.corruptions
    ]
    assert of_r50 == pytest.approx(R50, abs=0.051)
    for name, expected in ROBUSTBENCH.items():
        assert published_mce(models[name]) == pytest.approx(expected, abs=0.01)


def test_effective_robustness_of_the_testbeds_models() -> None:
    rows = {row["model"]: row for row in leaderboard([], field="imagenet-c").rows}
    for name, expected in RESIDUALS.items():
        assert rows[name]["effective_robustness"] == pytest.approx(expected, abs=0.01)
    for name, (slope, intercept, count) in FITS.items():
        fit = field_fit(name, field_cells(name))
        assert fit is not None
        assert (round(fit.slope, 3), round(fit.intercept, 3), fit.models) == (slope, intercept, count)


def test_every_table_names_source_licence_and_protocol() -> None:
    counts = {}
    for name, field in FIELDS.items():
        models = published_models(name)
        counts[name] = len(models)
        for model in models:
            assert (model.licence, bool(model.protocol), model.source in SOURCES) == ("MIT", True, True)
            assert all(0 <= error <= 1 for error in (model.clean, *model.errors.values()))
        assert field.reference in {model.source for model in models}
    assert (counts["imagenet-c"], counts["imagenet-3dcc"], counts["cifar10-c"], counts["cifar100-c"]) == (
        212,
        12,
        23,
        13,
    )


def test_the_fit_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.2, 0.9, 50)
    accuracy = np.append(expit(0.9 * logit(clean) - 1 + rng.normal(0, 0.2, 50)), [0.0, 0.5])
    clean = np.append(clean, [0.5, 1.0])  # The last two have no finite logit.
    expected = linregress(logit(clean[:50]), logit(accuracy[:50]))
    slope, intercept = logit_fit(clean, accuracy)
    assert (slope, intercept) == pytest.approx((expected.slope, expected.intercept))
    assert predicted_accuracy([0.0, 0.5, 1.0], slope, intercept).tolist() == pytest.approx([0, expit(intercept), 1])
    assert effective_robustness(0.5, 0.4, 1.0, 0.0) == pytest.approx(-0.1)


@each(
    "suite, dataset, classes, names, expected",
    [
        ("imagenet-c", "val", 1000, (), "imagenet-c"),
        ("imagenet-c", "val", 100, (), None),
        ("imagenet-c", "val", None, (), None),
        ("imagenet-c-299", "val", 1000, (), None),
        ("cifar-c", "CIFAR-10 test", 10, (), "cifar10-c"),
        ("cifar-c", "cifar100", 100, (), "cifar100-c"),
        ("cifar-c", "cifar100", 10, (), None),
        ("cifar-c", "test", 10, ("bird", "car", "cat", "deer", "dog", "frog", "horse", "plane", "ship", "truck"), "cifar10-c"),
        ("cifar-c", "demo", 10, tuple("0123456789"), None),
        ("clean", "imagenet", 1000, (), None),
    ],
)  # fmt: skip
def test_a_run_stands_in_the_field_of_its_images(
    suite: str, dataset: str, classes: int | None, names: tuple[str, ...], expected: str | None
) -> None:
    found = field_of(suite, dataset, classes, names)
    assert (None if found is None else found.name) == expected


def run_on_cifar10(path: Path, contrast: int = 50, classes: int = 10) -> Path:
    cells = {("clean", 0): first(20, 200), ("fog", 3): first(16, 200), ("contrast", 5): first(contrast, 200)}
    write_run(path, cells, dataset="cifar10", metrics=())
    text = json.loads((path / "manifest.json").read_text())
    text["data"]["predicted_classes"] = classes
    preprocessing = {"resize": 32, "crop": 32, "interpolation": "bilinear"}
    text["model"] |= {"sha256": "ab" * 32, "parameters": 10, "preprocessing": preprocessing}
    (path / "manifest.json").write_text(json.dumps(text))
    run = RunDirectory.open(path)
    run.write_results(
        rows_to_frame(RESULTS, ({name: row.get(name) for name in RESULTS.names} for row in score_rows(run)))
    )
    return path


CELLS = ["contrast_5", "fog_3"]


def published() -> pd.DataFrame:
    from robench.analysis import field

    table = pd.read_csv(Path(str(field.__file__)).parent / "cifar10-c.csv").set_index("model")
    return table.assign(mean=table[CELLS].mean(axis=1))


def test_effective_robustness_of_a_run(tmp_path: Path) -> None:
    """The fit is over the cells of the run; its resamples are those of both accuracies."""
    table = published()
    fit = linregress(logit(1 - table["clean"] / 100), logit(1 - table["mean"] / 100))
    rows = score_rows(RunDirectory.open(run_on_cifar10(tmp_path / "run")))
    error = next(row[DISTRIBUTION] for row in rows if row["metric"] == "mean_error")
    clean = next(row[DISTRIBUTION] for row in rows if row["suite"] == "clean" and row["metric"] == "error_rate")
    above = 1 - error - expit(fit.slope * logit(1 - clean) + fit.intercept)
    row = next(row for row in rows if row["metric"] == "effective_robustness")
    assert (row["value"], row["n"], row["baseline"]) == (pytest.approx(above[0]), 2, "cifar10-c")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.quantile(above[1:], [0.025, 0.975])), abs=1e-3)
    other = score_rows(RunDirectory.open(run_on_cifar10(tmp_path / "other", classes=2)))
    assert not [row for row in other if row["metric"] == "effective_robustness"]


def test_the_place_of_a_run_in_a_sentence(tmp_path: Path) -> None:
    results = RunDirectory.open(run_on_cifar10(tmp_path / "run")).read_results()
    (standing,) = standings(results)
    better = int((published()["mean"] > 100 * 33 / 200).sum())
    assert 0 < better < 23
    assert (standing.better, standing.models, standing.metric) == (better, 23, "mean_error")
    sentence = verdict(results)[-1]
    assert sentence.startswith(
        f"cifar-c mean error 16.5 %: better than {better} of 23 published models on the same 2 cells; "
    )
    value, low, high = (100 * part for part in standing.above)
    assert sentence.endswith(f"; +{value:.1f} pp [{low:.1f}, {high:.1f}] above what its clean accuracy predicts.")
    (below,) = standings(RunDirectory.open(run_on_cifar10(tmp_path / "below", contrast=190)).read_results())
    value, low, high = (-100 * part for part in below.above)
    assert 0 < value < low
    assert below.sentence().endswith(
        f"; {value:.1f} pp [{high:.1f}, {low:.1f}] below what its clean accuracy predicts."
    )


def test_a_run_is_ranked_among_published_models(tmp_path: Path) -> None:
    run = run_on_cifar10(tmp_path / "run")
    board = leaderboard([run], field="cifar10-c")
    (section,) = board.sections
    table = published()
    assert len(section) == 24
    assert {row["source"] for row in section} == {"computed", "robustbench"}
    assert [row["model"] for row in section if row["model"] != "run"] == list(table.sort_values("mean").index)
    own = next(row for row in section if row["model"] == "run")
    assert own["rank"] == 1 + (table["mean"] < own["mean_error_ci_low"]).sum()
    assert own["field"] == "cifar10-c"
    assert len({row["protocol"].partition("(")[2] for row in section}) == 1  # All are over the same 2 of 75 cells.
    assert "Protocols are mixed" in board.notes[0]
    split = leaderboard([run], field="cifar10-c", split=True)
    assert [len(rows) for rows in split.sections] == [23, 1]
    assert not any("mixed" in note for note in split.notes)
    errors = leaderboard([run], field="cifar10-c", columns="corruptions").errors
    fog = {key[0]: value["error"]["fog"] for key, value in errors.items()}
    assert fog["run"] == 8
    assert {name: fog[name] for name in table.index} == pytest.approx(table["fog_3"].to_dict())


def test_a_file_keeps_published_rows(tmp_path: Path) -> None:
    run, out = run_on_cifar10(tmp_path / "run"), tmp_path / "board.csv"
    leaderboard([run], out, field="cifar10-c")
    before = out.read_bytes()
    leaderboard([run, out], out, field="cifar10-c")
    assert out.read_bytes() == before
    with pytest.raises(OptionError, match="no place in the field imagenet-c"):
        leaderboard([], out, field="imagenet-c")
    assert out.read_bytes() == before


def test_the_report_draws_a_run_among_published_models(tmp_path: Path) -> None:
    run, out = run_on_cifar10(tmp_path / "run"), tmp_path / "report.html"
    page = report(run, out, examples=0, field=True).read_text()
    groups = json.loads(page.partition('id="groups">')[2].partition("</script>")[0])
    (group,) = (group for group in groups if "above" in group["columns"])
    rows = {row["name"]: row for row in group["charts"][0]["rows"]}
    own, table = rows.pop("run"), published()
    assert {name: row["value"] for name, row in rows.items()} == pytest.approx((100 - table["mean"]).to_dict())
    (standing,) = standings(RunDirectory.open(run).read_results())
    assert (own["position"], own["value"]) == pytest.approx((90, 83.5))
    assert own["above"] == pytest.approx(100 * standing.above[0], abs=1e-4)
    assert own["low"] < own["value"] < own["high"]
    assert "better than 17 of 23 published models" in page
    assert "RobustBench (Croce et al. 2021, arXiv:2010.09670), MIT" in page
    other = run_on_cifar10(tmp_path / "other", classes=2)
    with pytest.raises(OptionError, match="no run has published models around it"):
        report(other, tmp_path / "other.html", examples=0, field=True)
    assert not (tmp_path / "other.html").exists()


def test_what_is_not_of_the_field_is_refused(tmp_path: Path) -> None:
    run = run_on_cifar10(tmp_path / "run")
    other = run_on_cifar10(tmp_path / "other", classes=2)
    timm = tmp_path / "results-imagenet.csv"
    timm.write_text("model,top1\nresnet,80\n")
    assert len(leaderboard([timm], field="clean").rows) == 336
    cases = {
        "unknown field 'cifar10'": ([run], "cifar10"),
        "unknown suite 'imagenet-c'": ([run], "imagenet-c"),
        "no place in the field cifar100-c": ([run], "cifar100-c"),
        "no place in the field cifar10-c": ([other], "cifar10-c"),
        "the field clean among 1,000": ([run], "clean"),
        "no place in the field imagenet-r": ([timm], "imagenet-r"),
        "no run is given": ([], None),
    }
    for match, (inputs, field) in cases.items():
        with pytest.raises(RobenchError, match=match):
            leaderboard(inputs, field=field)
    with pytest.raises(OptionError, match="did you mean 'objectnet'"):
        find_field("objectnett")


def test_suites_with_columns_of_their_own_have_published_rows() -> None:
    """Mean errors of three of the twelve corruptions of 3DCC, by hand from the published cells of one model."""
    rows = {row["model"]: row for row in leaderboard([], field="imagenet-3dcc").rows}
    errors = by_name("imagenet-3dcc")["Hendrycks2020AugMix"].errors
    mean = np.mean([errors[name, s] for name in ("iso_noise", "low_light", "color_quant") for s in range(1, 6)])
    row = rows["Hendrycks2020AugMix"]
    assert row["3dcc_2d_mean_error"] == pytest.approx(100 * mean)
    assert row["rank_by"] == "3dcc_2d_mean_error"
    assert "mean_error" not in row
