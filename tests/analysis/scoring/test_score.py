"""Oracles: figures recomputed from the raw records with loops over images; a run divided by itself (exactly 100)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.analysis.baselines import load_baseline
from robench.analysis.metrics.intervals import RESAMPLES, resample_counts, wilson_interval
from robench.analysis.scoring import notes, score
from robench.errors import OptionError, RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.csv import write_csv
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION
from robench.suites import CLEAN, SUITES

IMAGES, CLASSES, SEED = 120, 4, 3
MAIN = SUITES["imagenet-c"].corruptions
ALL = [(corruption, severity) for corruption in MAIN for severity in range(1, 6)]


def condition(suite: str, corruption: str, severity: int, side: int, protocol: str) -> ConditionEntry:
    clean = f"clean-clean-0-{side}px"
    name = f"{suite}-{corruption}-{severity}-{side}px"
    return ConditionEntry(name, suite, corruption, severity, side, protocol, "computed", clean)


def records(planned: ConditionEntry, seed: int, images: int = IMAGES) -> pd.DataFrame:
    """Invented outcomes: worse with severity, overconfident, class 1 without samples."""
    rng = np.random.default_rng([seed, planned.severity, *planned.name.encode()])
    label = np.array([0, 2, 3])[np.arange(images) % 3]
    right = rng.random(images) > 0.1 + 0.12 * planned.severity + 0.05 * (label == 2)
    others = [[k for k in rng.permutation(CLASSES) if k != true] for true in label]
    top5 = [
        np.array([true, *rest] if hit else [*rest, true], dtype=np.int32)[:3]
        for true, rest, hit in zip(label, others, right, strict=True)
    ]
    return pd.DataFrame(
        {
            "suite": planned.suite,
            "corruption": planned.corruption,
            "severity": np.int16(planned.severity),
            "axis_value": np.nan,
            "dx": np.nan,
            "dy": np.nan,
            "frame": np.int32(0),
            "resolution": np.int32(planned.resolution),
            "sample": 10 * np.arange(images),
            "label": label.astype(np.int32),
            "pred": np.array([row[0] for row in top5], dtype=np.int32),
            "top5": top5,
            "confidence": np.round(rng.random(images) * 0.6 + 0.4, 2).astype(np.float32),
            "prob_label": np.float32(0.25),
            "max_logit": np.float32(2),
            "entropy": np.float32(0.5),
            "sum_p2": np.float32(0.5),
            "gen": np.float32(1),
        }
    )


def make_run(
    path: Path,
    cells: Iterable[tuple[str, int]],
    *,
    suite: str = "imagenet-c",
    side: int = 224,
    seed: int = 0,
    unfinished: Sequence[str] = (),
    protocol: str = "resize256-crop224#1",
    **manifest: Any,
) -> RunDirectory:
    clean = condition(CLEAN, CLEAN, 0, side, "clean#0")
    planned = [clean, *(condition(suite, corruption, severity, side, protocol) for corruption, severity in cells)]
    frame = records(clean, seed)
    samples = pd.DataFrame(
        {"index": frame["sample"], "path": frame["sample"].astype(str), "label": frame["label"], "sha": "0"}
    )
    facts = {
        "schema": SCHEMA_VERSION,
        "model": {"label": f"net-{seed}", "classes": CLASSES},
        "data": {"name": "pictures", "sha256": "abc", "samples": len(frame)},
        "identity": {},
        "options": {},
        "treatment": None,
        "seed": SEED,
        "normalize_by": None,
        "conditions": [asdict(one) for one in planned],
    }
    run = RunDirectory.create(path, facts | manifest, samples)
    for one in planned:
        if one.corruption not in unfinished:
            run.write_records(one.name, records(one, seed))
    return run


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """All 75 cells of ImageNet-C, the five of an extra corruption, and the clean images."""
    return make_run(tmp_path_factory.mktemp("score") / "full", [*ALL, *(("spatter", s) for s in range(1, 6))])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("score") / "other", [*ALL, *(("spatter", s) for s in range(1, 6))], seed=7)


@pytest.fixture(scope="module")
def results(full: RunDirectory) -> pd.DataFrame:
    return score(full)


def pick(results: pd.DataFrame, metric: str, suite: str = "imagenet-c", **where: object) -> Any:
    """The one row of a metric; corruption and severity are empty unless given."""
    rows = results[(results["metric"] == metric) & (results["suite"] == suite)]
    for column in ("corruption", "severity", "axis_value"):
        rows = rows[rows[column] == where[column]] if column in where else rows[rows[column].isna()]
    assert len(rows) == 1, (metric, suite, where)
    return rows.iloc[0]


def raw(run: RunDirectory, corruption: str, severity: int) -> pd.DataFrame:
    suite = CLEAN if corruption == CLEAN else "imagenet-c"
    return run.read_records(f"{suite}-{corruption}-{severity}-224px")


def wrong(run: RunDirectory, corruption: str, severity: int) -> np.ndarray:
    frame = raw(run, corruption, severity)
    return np.asarray(frame["pred"] != frame["label"])


def test_columns_and_common_facts(results: pd.DataFrame) -> None:
    RESULTS.check(results)
    assert set(results["model"]) == {"net-0"}
    assert set(results["resolution"]) == {224}
    assert set(results["source"]) == {"computed"}
    assert set(results["seed"]) == {str(SEED)}
    assert results["treatment"].isna().all()
    assert set(results.loc[results["suite"] == CLEAN, "protocol"]) == {"clean#0"}
    assert results[["ci_low", "ci_high"]].notna().all(axis=None)
    assert set(results.loc[results["baseline"].notna(), "metric"]) == {"ce", "mce", "relative_mce"}
    assert set(results.loc[results["unit"] == "percent", "metric"]) == {"ce", "mce", "relative_mce"}


CALIBRATION_OF_CELLS = (
    *("error_rate", "top5_error", "ece", "rms_calibration_error", "adaptive_ece", "nll", "brier"),
    *("aurc", "augrc", "risk_at_coverage_80", "coverage_at_risk_5"),
)


def test_order_of_rows(results: pd.DataFrame) -> None:
    suite = results[results["suite"] == "imagenet-c"]
    assert results["suite"].drop_duplicates().tolist() == [CLEAN, "imagenet-c"]
    assert suite["metric"].tolist() == (
        [*CALIBRATION_OF_CELLS, "worst_class_error", "balanced_accuracy"] * 80
        + ["ce"] * 16
        + [
            "mce",
            "relative_mce",
            *["corruption_error"] * 16,
            "mean_error",
            "ece",
            "rms_calibration_error",
            "top5_error",
            *CALIBRATION_OF_CELLS[4:],
            "balanced_accuracy",
            "worst_class_error",
        ]
        + ["class_error"] * 3
    )
    assert suite.loc[suite["metric"] == "ce", "corruption"].tolist() == [*MAIN, "spatter"]


def test_cells_are_rates_of_their_records(full: RunDirectory, results: pd.DataFrame) -> None:
    for corruption, severity in [(CLEAN, 0), ("fog", 3), ("spatter", 5)]:
        frame = raw(full, corruption, severity)
        at: dict[str, Any] = {"corruption": corruption, "severity": severity}
        at["suite"] = CLEAN if corruption == CLEAN else "imagenet-c"
        pairs = list(zip(frame["pred"], frame["label"], frame["top5"], strict=True))
        assert pick(results, "error_rate", **at)["value"] == sum(p != t for p, t, _ in pairs) / IMAGES
        assert pick(results, "top5_error", **at)["value"] == sum(t not in five for _, t, five in pairs) / IMAGES
        classes = [[p != t for p, t, _ in pairs if t == k] for k in (0, 2, 3)]
        assert pick(results, "worst_class_error", **at)["value"] == max(sum(one) / len(one) for one in classes)
        assert pick(results, "error_rate", **at)["n"] == IMAGES
    accuracy = pick(results, "accuracy", CLEAN, corruption=CLEAN, severity=0)
    error = pick(results, "error_rate", CLEAN, corruption=CLEAN, severity=0)
    assert accuracy["value"] == 1 - error["value"]
    assert [accuracy["ci_low"], accuracy["ci_high"]] == pytest.approx([1 - error["ci_high"], 1 - error["ci_low"]])


def test_errors_of_corruptions_are_means_over_severities(full: RunDirectory, results: pd.DataFrame) -> None:
    for corruption in ("fog", "spatter"):
        row = pick(results, "corruption_error", corruption=corruption)
        errors = [wrong(full, corruption, severity) for severity in range(1, 6)]
        assert row["value"] == pytest.approx(np.mean(errors))
        assert row["n"] == 5
        # The interval of a mean over correlated cells is between that of independent cells and that of one cell.
        spread = np.mean(errors, axis=0).std() / IMAGES**0.5
        assert (row["ci_high"] - row["ci_low"]) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.15)


def test_aggregates_leave_out_the_extra_corruption(full: RunDirectory, results: pd.DataFrame) -> None:
    mean = pick(results, "mean_error")
    assert mean["value"] == pytest.approx(np.mean([wrong(full, *cell).mean() for cell in ALL]))
    assert mean["n"] == 75
    for metric in ("ece", "rms_calibration_error", "top5_error"):
        cells = results[(results["metric"] == metric) & results["corruption"].isin(MAIN)]
        assert pick(results, metric)["value"] == pytest.approx(cells["value"].mean())
        assert pick(results, metric)["n"] == 75


def test_class_errors(full: RunDirectory, results: pd.DataFrame) -> None:
    label = raw(full, CLEAN, 0)["label"].to_numpy()
    means = {}
    for k in (0, 2, 3):
        clean = pick(results, "class_error", CLEAN, corruption=CLEAN, severity=0, axis_value=k)
        assert clean["value"] == wrong(full, CLEAN, 0)[label == k].mean()
        assert (clean["n"], clean["axis"]) == (IMAGES // 3, "class")
        row = pick(results, "class_error", axis_value=k)
        means[k] = np.mean([wrong(full, *cell)[label == k].mean() for cell in ALL])
        assert row["value"] == pytest.approx(means[k])
        assert row["n"] == 75
    assert pick(results, "worst_class_error")["value"] == pytest.approx(max(means.values()))
    assert set(results["axis_value"].dropna()) == {0, 2, 3}  # class 1 has no samples, so no error


def test_normalised_by_alexnet(full: RunDirectory, results: pd.DataFrame) -> None:
    alexnet = load_baseline("alexnet")
    assert alexnet.clean is not None
    mean = {c: np.mean([wrong(full, c, s).mean() for s in range(1, 6)]) for c in (*MAIN, "spatter")}
    for corruption in (*MAIN, "spatter"):
        row = pick(results, "ce", corruption=corruption)
        assert row["value"] == pytest.approx(100 * mean[corruption] / alexnet.means[corruption])
        assert (row["n"], row["baseline"]) == (5, "alexnet")
    assert pick(results, "mce")["value"] == pytest.approx(100 * np.mean([mean[c] / alexnet.means[c] for c in MAIN]))
    clean = wrong(full, CLEAN, 0).mean()
    relative = [(mean[c] - clean) / (alexnet.means[c] - alexnet.clean) for c in MAIN]
    assert pick(results, "relative_mce")["value"] == pytest.approx(100 * np.mean(relative))
    assert {pick(results, metric)["n"] for metric in ("mce", "relative_mce")} == {75}


def test_intervals_against_a_loop_over_images(full: RunDirectory, results: pd.DataFrame) -> None:
    """The same resamples, image by image, for a cell, an average, mCE, relative mCE and the worst class."""
    alexnet = load_baseline("alexnet")
    counts = np.concatenate(list(resample_counts(IMAGES, SEED)))
    label = raw(full, CLEAN, 0)["label"].tolist()
    missed = {cell: np.flatnonzero(wrong(full, *cell)).tolist() for cell in [(CLEAN, 0), *ALL]}
    found: dict[str, list[float]] = {
        "cell": [],
        "mean_error": [],
        "mce": [],
        "relative_mce": [],
        "worst_class_error": [],
    }
    for taken in counts.tolist():
        error = {cell: sum(taken[i] for i in images) / IMAGES for cell, images in missed.items()}
        mean = {c: sum(error[c, s] for s in range(1, 6)) / 5 for c in MAIN}
        found["cell"].append(error["fog", 3])
        found["mean_error"].append(sum(mean.values()) / 15)
        found["mce"].append(100 * sum(mean[c] / alexnet.means[c] for c in MAIN) / 15)
        clean = alexnet.clean or 0
        cost = [(mean[c] - error[CLEAN, 0]) / (alexnet.means[c] - clean) for c in MAIN]
        found["relative_mce"].append(100 * sum(cost) / 15)
        by_class = dict.fromkeys(label, 0.0)
        for cell in ALL:
            for i in missed[cell]:
                by_class[label[i]] += taken[i] / 75
        totals = {k: sum(taken[i] for i in range(IMAGES) if label[i] == k) for k in by_class}
        found["worst_class_error"].append(max(by_class[k] / totals[k] for k in by_class))
    assert len(found["cell"]) == RESAMPLES
    for metric, distribution in found.items():
        row = pick(results, "error_rate", corruption="fog", severity=3) if metric == "cell" else pick(results, metric)
        low, high = np.percentile(distribution, [2.5, 97.5])
        if metric == "worst_class_error":  # A maximum, whose percentiles are reflected.
            low, high = 2 * row["value"] - high, min(1.0, max(row["value"], 2 * row["value"] - low))
        assert [row["ci_low"], row["ci_high"]] == pytest.approx([low, high], abs=1e-9), metric


def test_calibration_interval_against_repeated_images(full: RunDirectory, results: pd.DataFrame) -> None:
    frame = raw(full, "fog", 3)
    confidence = frame["confidence"].to_numpy(np.float64)
    order = np.argsort(confidence, kind="stable")
    gap = (confidence - ~wrong(full, "fog", 3))[order]
    distribution = []
    for taken in np.concatenate(list(resample_counts(IMAGES, SEED))):
        sample = np.repeat(gap, taken[order])
        parts = [sample[start : start + 100] for start in range(0, IMAGES, 100)]
        distribution.append(np.sqrt(sum(len(part) / IMAGES * part.mean() ** 2 for part in parts)))
    row = pick(results, "rms_calibration_error", corruption="fog", severity=3)
    low, high = np.percentile(distribution, [2.5, 97.5])
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([2 * row["value"] - high, 2 * row["value"] - low])


def test_every_interval_holds_its_value(results: pd.DataFrame) -> None:
    held = (results["ci_low"] <= results["value"]) & (results["value"] <= results["ci_high"])
    assert held.all(), results[~held]
    assert (results.loc[results["unit"] == "fraction", ["ci_low", "ci_high"]].stack().between(0, 1)).all()


def test_divided_by_itself_it_is_exactly_one_hundred(full: RunDirectory) -> None:
    results = score(full, str(full.path))
    assert pick(results, "mce")["value"] == 100.0
    assert pick(results, "relative_mce")["value"] == 100.0
    assert results.loc[results["metric"] == "ce", "value"].tolist() == [100.0] * 16
    assert set(results["baseline"].dropna()) == {"net-0"}
    assert notes(full, str(full.path)) == []


def test_divided_by_another_run(full: RunDirectory, other: RunDirectory) -> None:
    results = score(full, str(other.path))
    fog = [np.mean([wrong(run, "fog", s).mean() for s in range(1, 6)]) for run in (full, other)]
    assert pick(results, "ce", corruption="fog")["value"] == pytest.approx(100 * fog[0] / fog[1])
    assert set(results["baseline"].dropna()) == {"net-7"}


def test_the_manifest_chooses_unless_told_otherwise(full: RunDirectory, other: RunDirectory) -> None:
    chosen = replace(full, manifest={**full.manifest, "normalize_by": str(other.path)})
    assert set(score(chosen)["baseline"].dropna()) == {"net-7"}
    assert set(score(chosen, "alexnet")["baseline"].dropna()) == {"alexnet"}
    assert score(chosen, "none")["baseline"].isna().all()
    assert not set(score(chosen, "none")["metric"]) & {"ce", "mce", "relative_mce"}


def test_same_bytes(full: RunDirectory, results: pd.DataFrame, tmp_path: Path) -> None:
    write_csv(RESULTS, results, tmp_path / "a.csv")
    write_csv(RESULTS, score(RunDirectory.open(full.path)), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(path.name for path in full.path.iterdir()) == ["manifest.json", "records", "samples.parquet"]


def test_a_partial_run_has_no_mce(tmp_path: Path) -> None:
    cells = [*(("fog", s) for s in range(1, 6)), ("snow", 1), ("snow", 2), ("spatter", 1)]
    run = make_run(tmp_path / "run", cells)
    results = score(run)
    assert results.loc[results["metric"] == "ce", "corruption"].tolist() == ["fog"]
    assert not set(results["metric"]) & {"mce", "relative_mce"}
    assert pick(results, "mean_error")["n"] == 7
    assert notes(run)[0] == (
        "imagenet-c: 7 of 75 cells evaluated; their mean does not compare with published values and there is no mce"
    )
    assert "measured on the released files" in notes(run)[1]


def test_one_cell_short_of_all_has_no_mce(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALL)
    run.records_path("imagenet-c-fog-3-224px").unlink()
    results = score(run)
    assert not set(results["metric"]) & {"mce", "relative_mce"}
    assert pick(results, "mean_error")["n"] == 74
    assert (results["metric"] == "ce").sum() == 14
    assert notes(run)[0] == "75 of 76 conditions are finished: the values are of these alone"


def test_only_extra_corruptions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("spatter", 1), ("saturate", 1)])
    results = score(run)
    assert pick(results, "mean_error")["n"] == 2
    assert "none of the 75 cells evaluated: mean_error is over 2 extra ones" in notes(run)[0]


def test_a_suite_without_published_baseline(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALL, suite="cifar-c", side=32)
    results = score(run)
    assert not set(results["metric"]) & {"ce", "mce", "relative_mce"}
    assert notes(run) == [], "the field does not normalize these errors"
    assert pick(score(run, str(run.path)), "mce", "cifar-c")["value"] == 100.0
    for ask in (score, notes):
        with pytest.raises(OptionError, match=r"belong to imagenet-c at 224 px .* --normalize-by RUN"):
            ask(run, "alexnet")


def test_alexnet_does_not_divide_another_size(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("fog", s) for s in range(1, 6)], side=288)
    assert "ce" not in set(score(run)["metric"])
    assert "alexnet's errors are of another size" in " ".join(notes(run))
    with pytest.raises(OptionError, match="imagenet-c at 288 px"):
        score(run, "alexnet")


def with_classes(run: RunDirectory, number: int, names: Sequence[str] = ()) -> RunDirectory:
    """Return a run of a model of 1,000 classes that predicts among `number` of them."""
    data = {**run.manifest["data"], "predicted_classes": number, "classes": list(names)}
    changed = RunDirectory(run.path, {**run.manifest, "model": {"label": run.path.name, "classes": 1000}, "data": data})
    changed.write_manifest()
    return changed


def test_published_errors_divide_only_predictions_among_as_many_classes(tmp_path: Path) -> None:
    fog = [("fog", s) for s in range(1, 6)]
    run, base = (make_run(tmp_path / name, fog) for name in ("run", "base"))
    assert "ce" in set(score(with_classes(run, 1000))["metric"])
    few = with_classes(run, 8, list("abcdefgh"))
    assert "ce" not in set(score(few)["metric"])
    told = "imagenet-c: alexnet predicts among 1000 classes, this run among 8, so no mce; --normalize-by RUN"
    assert notes(few)[1].startswith(told)
    for ask in (score, notes):
        with pytest.raises(OptionError, match=r"alexnet cannot normalize imagenet-c: .* among 1000 .* among 8; give"):
            ask(few, "alexnet")
    with_classes(base, 8, list("hgfedcba"))
    assert pick(score(few, str(base.path)), "ce", corruption="fog")["value"] == 100.0, "the same classes in any order"
    for number, names, says in (
        (1000, "abcdefgh", "among 1000 classes, this run among 8"),
        (8, "abcdefgx", "among 8 other classes than this run"),
    ):
        with_classes(base, number, list(names))
        with pytest.raises(OptionError, match=says):
            score(few, str(base.path))


def test_a_damaged_choice_of_the_baseline_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("fog", 1)], normalize_by=["alexnet"])
    for ask in (score, notes):
        with pytest.raises(RunError, match="damaged: its normalize_by is not a text; give --normalize-by"):
            ask(run)
    assert len(score(run, "none"))


def test_rates_of_zero_and_one_have_a_width(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("fog", 1)])
    for name, shift in ((CLEAN, 0), ("fog", 1)):
        planned = next(one for one in run.conditions if one.corruption == name)
        frame = records(planned, 0)
        frame["pred"] = frame["label"] + np.int32(shift)
        run.write_records(planned.name, frame)
    results = score(run)
    clean: dict[str, Any] = {"corruption": CLEAN, "severity": 0}
    for row, expected in (
        (pick(results, "error_rate", CLEAN, **clean), wilson_interval(0, IMAGES)),
        (pick(results, "accuracy", CLEAN, **clean), wilson_interval(IMAGES, IMAGES)),
        (pick(results, "class_error", CLEAN, **clean, axis_value=2), wilson_interval(0, IMAGES // 3)),
        (pick(results, "error_rate", corruption="fog", severity=1), wilson_interval(IMAGES, IMAGES)),
    ):
        assert (row["ci_low"], row["ci_high"]) == expected


def test_a_baseline_without_errors_divides_nothing(full: RunDirectory, tmp_path: Path) -> None:
    perfect = make_run(tmp_path / "perfect", ALL, seed=9)
    for planned in perfect.conditions:
        if planned.corruption in (CLEAN, "fog"):
            frame = records(planned, 9)
            frame["pred"] = frame["label"]
            perfect.write_records(planned.name, frame)
    run = make_run(tmp_path / "run", ALL)
    results = score(run, str(perfect.path))
    assert "fog" not in set(results.loc[results["metric"] == "ce", "corruption"])
    assert not set(results["metric"]) & {"mce", "relative_mce"}
    assert any("makes no error: fog" in note for note in notes(run, str(perfect.path)))


def test_the_baseline_run_must_have_the_cells(full: RunDirectory, tmp_path: Path) -> None:
    short = make_run(tmp_path / "short", ALL, unfinished=["fog"])
    with pytest.raises(OptionError, match="lacks 10 of the 80 cells needed, for example fog at severity 1"):
        score(full, str(short.path))


def test_the_baseline_run_must_have_the_protocol(full: RunDirectory, tmp_path: Path) -> None:
    different = make_run(tmp_path / "different", ALL, protocol="resize256-crop224-jpeg85#2")
    with pytest.raises(OptionError, match=r"computed with resize256-crop224-jpeg85#2, this run"):
        score(full, str(different.path))


def test_a_baseline_on_other_images_is_noted(full: RunDirectory, other: RunDirectory, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALL, data={"name": "pictures", "sha256": "def", "samples": IMAGES})
    assert notes(run, str(other.path)) == ["imagenet-c: the baseline net-7 was evaluated on other images than this run"]


def test_a_run_of_a_model_called_alexnet_is_no_published_baseline(tmp_path: Path) -> None:
    model = {"label": "alexnet", "classes": CLASSES}
    base = make_run(tmp_path / "base", ALL, seed=7, model=model)
    run = make_run(tmp_path / "run", ALL, normalize_by=str(base.path))
    assert notes(run) == []


def test_unknown_baseline(full: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no run directory either; did you mean 'alexnet'"):
        score(full, "alexnett")
    with pytest.raises(RunError, match="not a run directory"):
        score(full, str(tmp_path))


def test_nothing_finished(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("fog", 1)], unfinished=[CLEAN, "fog"])
    with pytest.raises(RunError, match="no finished condition"):
        score(run)
    assert notes(run)[0] == "0 of 2 conditions are finished: the values are of these alone"


@pytest.mark.parametrize("column", ["sample", "label"])
def test_conditions_of_other_samples_are_refused(tmp_path: Path, column: str) -> None:
    run = make_run(tmp_path / "run", [("fog", 1)])
    planned = run.conditions[1]
    frame = records(planned, 0)
    frame.loc[5, column] = 1
    run.write_records(planned.name, frame)
    with pytest.raises(RunError, match="fog-1-224px has other samples than clean-clean-0-224px"):
        score(run)


def test_records_of_another_condition_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [("fog", 1), ("snow", 1)])
    run.write_records(run.conditions[1].name, records(run.conditions[2], 0))
    with pytest.raises(RunError, match="are of corruption snow, not fog"):
        score(run)
    run.write_records(run.conditions[1].name, records(replace(run.conditions[1], severity=2), 0))
    with pytest.raises(RunError, match="are of severity 2, not 1"):
        score(run)


@pytest.mark.parametrize("rows", [0, 5])
def test_records_of_some_of_the_samples_are_refused(rows: int, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    run.write_records(run.conditions[0].name, records(run.conditions[0], 0).iloc[:rows])
    with pytest.raises(RunError, match=f"have {rows} rows for {IMAGES} samples"):
        score(run)


def test_scoring_needs_no_torch(full: RunDirectory) -> None:
    code = (
        "import sys\n"
        "from robench.runs.directory import RunDirectory\n"
        f"from {score.__module__} import score\n"
        "score(RunDirectory.open(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(full.path)], check=False)
    assert done.returncode == 0
