"""Filters and orders. Oracle: the same selections with pandas, from the records themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.errors import OptionError, RobenchError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.viewer.items import items, sample
from robench.viewer.overview import condition_facts, overview
from robench.viewer.query import Query, class_number, find, parse_query
from robench.viewer.samples import SampleTable, read_samples
from tests.builders import each

TEXTS = [
    {},
    {"suite": "cifar-c"},
    {"corruption": "contrast", "severity": "5"},
    {"corruption": "snow", "outcome": "right,wrong"},
    {"outcome": "broken,any", "order": "confidence"},
    {"outcome": ",broken", "of": "1", "order": "doubt"},
    {"outcome": "flip,flip", "suite": "cifar-c"},
    {"outcome": "flip", "suite": "cifar-p", "order": "flips"},
    {"runs": "differ", "order": "disagreement"},
    {"runs": "agree", "outcome": "wrong", "label": "1"},
    {"label": "1", "predicted": "2"},
    {"low": "0.4", "high": "0.6", "of": "1"},
    {"condition": "cifar-p-tilt-1-32px", "frame": "3", "outcome": "wrong"},
    {"suite": "clean", "outcome": "wrong,right"},
    {"severity": "0"},
    {"order": "flips", "of": "1"},
    {"corruption": "snow", "label": "0", "predicted": "0", "low": "1", "high": "1"},
]


def long_records(pair: list[Path]) -> pd.DataFrame:
    """One row for each condition, frame and sample, with the columns of both runs side by side."""
    frames = []
    for number, path in enumerate(pair):
        run = RunDirectory.open(path)
        parts = []
        for place, entry in enumerate(run.finished()):
            records = run.read_records(entry.name)[
                ["suite", "corruption", "severity", "frame", "sample", "label", "pred", "confidence"]
            ]
            parts.append(records.assign(condition=entry.name, clean=entry.clean, place=place))
        whole = pd.concat(parts)
        clean = whole[whole["suite"] == "clean"].set_index(["condition", "sample"])["pred"]
        whole["clean_pred"] = clean.loc[list(zip(whole["clean"], whole["sample"], strict=True))].to_numpy()
        whole = whole.sort_values(["condition", "sample", "frame"])
        sequences = whole.groupby(["condition", "sample"])["pred"]
        # Frames of noise are compared with the first frame, others with the one before; the first is compared with none.
        is_noise = whole["corruption"] == "gaussian_noise"
        before = sequences.shift().where(~is_noise, sequences.transform("first"))
        moved = before.notna() & (whole["pred"] != before)
        whole["flip"] = np.where(whole["suite"] == "cifar-p", moved, whole["pred"] != whole["clean_pred"])
        frames.append(
            whole.rename(columns={name: f"{name}{number}" for name in ("pred", "confidence", "clean_pred", "flip")})
        )
    keys = ["suite", "corruption", "severity", "frame", "sample", "label", "condition", "clean", "place"]
    return frames[0].merge(frames[1], on=keys).sort_values(["place", "frame", "sample"])


def selected(records: pd.DataFrame, query: Query) -> tuple[int, list[tuple[int, str, int]]]:
    """Return the number of matches, and (sample, condition, frame) in order."""
    rows = records
    if query.suite != "clean" and query.severity != 0:
        rows = rows[rows["suite"] != "clean"]
    for name in ("suite", "corruption", "severity", "condition", "frame"):
        wanted = getattr(query, name)
        rows = rows if wanted in ("", None) else rows[rows[name] == wanted]
    flips = rows.groupby("sample")[f"flip{query.of}"].sum()
    if query.label is not None:
        rows = rows[rows["label"] == query.label]
    if query.predicted is not None:
        rows = rows[(rows["pred0"] == query.predicted) | (rows["pred1"] == query.predicted)]
    if query.runs:
        rows = rows[(rows["pred0"] == rows["pred1"]) == (query.runs == "agree")]
    rows = rows[rows[f"confidence{query.of}"].between(np.float32(query.low), np.float32(query.high))]
    for number, outcome in enumerate(query.outcome):
        right, was = (rows[f"{name}{number}"] == rows["label"] for name in ("pred", "clean_pred"))
        choice = {"right": right, "wrong": ~right, "broken": was & ~right, "flip": rows[f"flip{number}"]}
        rows = rows[choice[outcome]] if outcome else rows
    right = rows[["pred0", "pred1"]].to_numpy() == rows[["label"]].to_numpy()
    one_right = right.sum(axis=1) == 1
    own = rows[f"confidence{query.of}"]
    score = {
        "sample": 0,
        "confidence": own,
        "doubt": -own,
        "flips": rows[f"flip{query.of}"].astype(int),
        "disagreement": np.where(one_right, rows["confidence0"] + rows["confidence1"], -1),
    }[query.order]
    best = rows.assign(score=score).sort_values("score", ascending=False, kind="stable").drop_duplicates("sample")
    best = best.sort_values("sample")
    if query.order == "flips":
        best["score"] = flips.loc[best["sample"]].to_numpy()
    best = best.sort_values("score", ascending=False, kind="stable")
    return len(rows), list(best[["sample", "condition", "frame"]].itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def records(pair: list[Path]) -> pd.DataFrame:
    return long_records(pair)


@each("texts", TEXTS)
def test_queries_select_what_pandas_selects(texts: dict[str, str], table: SampleTable, records: pd.DataFrame) -> None:
    query = parse_query(texts, table)
    found = find(table, query)
    images, expected = selected(records, query)
    assert found.images == images
    shown = items(table, found, 0, 1000)
    assert [(one["sample"], one["condition"], one["frame"]) for one in shown] == expected
    rows = records.set_index(["sample", "condition", "frame"])
    for one in shown:
        row = rows.loc[(one["sample"], one["condition"], one["frame"])]
        assert one["label"] == row["label"]
        assert one["differ"] == (row["pred0"] != row["pred1"])
        for number, run in enumerate(one["runs"]):
            right = row[f"pred{number}"] == row["label"]
            was = row[f"clean_pred{number}"] == row["label"]
            holds = {"right": right, "wrong": not right, "broken": was and not right, "flip": row[f"flip{number}"]}
            assert run["outcomes"] == [name for name, holds_here in holds.items() if holds_here]
            assert run["pred"] == row[f"pred{number}"]
            assert run["confidence"] == pytest.approx(row[f"confidence{number}"], abs=1e-6)


def test_the_selections_are_not_trivial(table: SampleTable) -> None:
    counts = [find(table, parse_query(texts, table)).images for texts in TEXTS]
    assert len(set(counts)) > 12, counts
    assert counts[-1] == 0, "no match is an answer too"


def test_a_query_is_its_own_text(table: SampleTable) -> None:
    for texts in TEXTS:
        query = parse_query(texts, table)
        assert parse_query(query.text, table) == query


@each(
    "texts, problem",
    [
        ({"suite": "cifar-d"}, "unknown suite 'cifar-d'; did you mean 'cifar-"),
        ({"corruption": "fog"}, "unknown corruption 'fog'"),
        ({"severity": "-1"}, "--severity must be a whole number from 0 to 10"),
        ({"severity": "²"}, "--severity must be a whole number"),
        ({"frame": "1e9"}, "frame must be a whole number"),
        ({"label": "bee"}, "class must be a whole number from 0 to 2"),
        ({"predicted": "-1"}, "class must be a whole number"),
        ({"outcome": "wrong,right,wrong"}, "3 outcomes are given for 2 runs"),
        ({"outcome": "bad"}, "unknown outcome 'bad'"),
        ({"low": "nan"}, "confidence must be from 0 to 1, not 'nan'"),
        ({"high": "2"}, "confidence must be from 0 to 1"),
        ({"of": "2"}, "number of the run must be a whole number from 0 to 1"),
        ({"order": "__class__"}, "unknown order"),
        ({"condition": "../manifest"}, "unknown condition"),
    ],
)
def test_bad_queries_are_refused(texts: dict[str, str], problem: str, table: SampleTable) -> None:
    with pytest.raises(OptionError) as caught:
        parse_query(texts, table)
    assert problem in str(caught.value)


def test_classes_are_names_before_they_are_numbers(table: SampleTable) -> None:
    assert [class_number(text, table) for text in ("bee", "1", "cow")] == [1, 1, 2]
    digits = replace(table)
    vars(digits)["classes"] = ["0", "10", "2"]  # As folders are sorted.
    assert [class_number(text, digits) for text in ("10", "2", "1")] == [1, 2, 1]
    with pytest.raises(OptionError, match=r"unknown class 'be'.*did you mean 'bee'"):
        class_number("be", table)


@each(
    ("suite", "corruption", "severity", "title"),
    [
        ("cifar-c", "fog", 3, "Fog, severity 3"),
        ("cifar-p", "gaussian_noise", 2, "Gaussian noise 2"),
        ("resolution", "network", 1, "Network at 24 px"),
    ],
)
def test_a_card_names_the_whole_condition(suite: str, corruption: str, severity: int, title: str) -> None:
    entry = ConditionEntry("name", suite, corruption, severity, 24, "protocol", "computed", "clean")
    assert condition_facts(entry)["title"] == title


def test_heat_maps_hold_the_results(table: SampleTable, pair: list[Path]) -> None:
    """Oracle: results.csv."""
    content = overview(table)
    titles = [one["title"] for one in content["maps"]]
    assert titles == ["disagreement", "error of tiny", "error of other", "other minus tiny"]
    rates = []
    for path in pair:
        rows = RunDirectory.open(path).read_results()
        rows = rows[(rows["metric"] == "error_rate") & rows["axis"].isna() & (rows["suite"] == "cifar-c")]
        rates.append(rows.set_index(["corruption", "severity"])["value"])
    (suite,) = [one for one in content["suites"] if one["name"] == "cifar-c"]
    checked = 0
    for row in suite["rows"]:
        for cell in row["cells"]:
            tiny, other = (100 * rate[row["corruption"], int(cell["column"])] for rate in rates)
            texts = [value["text"] for value in cell["values"]]
            assert float(texts[1]) == pytest.approx(tiny, abs=0.51)
            assert float(texts[3].replace("\N{MINUS SIGN}", "-")) == pytest.approx(other - tiny, abs=0.51)
            checked += 1
    assert checked == 6


def test_runs_of_one_model_are_told_apart(pair: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(pair[number], tmp_path / name) for number, name in ((0, "a"), (0, "b"), (1, "c"))]
    content = overview(read_samples(copies))
    assert [run["name"] for run in content["runs"]] == ["tiny (a)", "tiny (b)", "other"]
    assert "no difference: tiny (b)" in content["answer"][0].lower()
    assert any("other" in text and "tiny (a)" in text for text in content["answer"])


def test_a_sample_has_every_condition(table: SampleTable, records: pd.DataFrame) -> None:
    one = sample(table, 4)
    assert one["path"] == "ant/4.png"
    own = records[records["sample"] == one["sample"]].sort_values("frame", kind="stable")
    for name, rows in own.groupby("condition"):
        assert one["conditions"][name]["pred"] == rows[["pred0", "pred1"]].to_numpy().tolist()


def test_conditions_that_one_run_lacks_are_left_out(pair: list[Path], tmp_path: Path) -> None:
    part = shutil.copytree(pair[1], tmp_path / "part")
    (part / "records" / "cifar-c-snow-5-32px.parquet").unlink()
    table = read_samples([pair[0], part])
    assert "cifar-c-snow-5-32px" not in table.conditions
    assert table.notes == ("tiny: 1 of 11 conditions are left out, because another run lacks them",)


@each(
    "change, problem",
    [
        ("samples", "has samples"),
        ("seed", "has seed 5"),
        ("records", "has other samples than samples.parquet"),
        ("twice", "a run is named twice"),
        ("csv", "is a file without records"),
        ("empty", "has no records"),
    ],
)
def test_runs_that_cannot_be_joined(change: str, problem: str, pair: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(pair[1], tmp_path / "other")
    runs = [pair[0], other]
    manifest = (other / "manifest.json").read_text()
    if change == "samples":
        sha = RunDirectory.open(other).manifest["data"]["sha256"]
        (other / "manifest.json").write_text(manifest.replace(sha, "f" * 64))
    elif change == "seed":
        (other / "manifest.json").write_text(manifest.replace('"seed": 0', '"seed": 5'))
    elif change == "records":
        run = RunDirectory.open(other)
        run.write_records("cifar-c-snow-5-32px", run.read_records("cifar-c-snow-5-32px").iloc[::-1])
    elif change == "twice":
        runs = [other, other]
    elif change == "csv":
        runs = [pair[0], other / "results.csv"]
    else:
        shutil.rmtree(other / "records")
        runs = [other]
    with pytest.raises(RobenchError) as caught:
        read_samples(runs)
    assert problem in str(caught.value)


def test_tables_of_the_page_need_no_torch(pair: list[Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from robench.viewer import items, overview, query, samples\n"
        f"table = samples.read_samples([Path({str(pair[0])!r})]); overview.overview(table)\n"
        "items.items(table, query.find(table, query.first_query(table)), 0, 9); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
