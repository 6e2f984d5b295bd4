"""Leaderboards: oracles are tables small enough to be written by hand, and other readers of CSV than the one that wrote it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from rich.console import Console

from robench.analysis.leaderboard import FORMATS
from robench.analysis.leaderboard.columns import ENDS, METRIC_COLUMNS
from robench.analysis.leaderboard.grids import grids
from robench.analysis.leaderboard.leaderboard import leaderboard
from robench.analysis.leaderboard.ranking import ranks
from robench.analysis.leaderboard.schema import LEADERBOARD, leaderboard_of
from robench.analysis.metrics import METRICS
from robench.display.leaderboard import board_tables
from robench.errors import OptionError, RobenchError
from robench.runs import schema
from robench.runs.csv import read_csv, write_csv
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS
from robench.suites import C_BAR_VALUES, SUITES
from tests.analysis.gate.invented import first, write_run
from tests.builders import each

CELLS = [(name, severity) for name in SUITES["imagenet-c"].corruptions for severity in range(1, 6)]


def rows_of(
    model: str, error: float, low: float, high: float, cells: Sequence[tuple[str, int]] = CELLS, **common: object
) -> list[dict[str, object]]:
    """A model with half that error on clean images, that one in every cell, and twice that, in percent, as mCE."""
    same: dict[str, object] = {
        "schema": 1, "model": model, "dataset": "d", "data_sha": "x", "source": "computed", "protocol": "p#1", "seed": "0",
        "robench_version": "0.1.0", "resolution": 224, "unit": "fraction", "n": 200,
    } | common  # fmt: skip
    clean = {**same, "suite": "clean", "corruption": "clean", "severity": 0, "protocol": "c#1", "source": "computed"}
    whole = {**same, "suite": "imagenet-c"}
    return [
        {**clean, "metric": "accuracy", "value": 1 - error / 2, "ci_low": 1 - high / 2, "ci_high": 1 - low / 2},
        {**clean, "metric": "top5_error", "value": error / 4, "ci_low": low / 4, "ci_high": high / 4},
        *({**whole, "metric": "error_rate", "value": error, "corruption": c, "severity": s} for c, s in cells),
        {**whole, "metric": "mean_error", "value": error, "ci_low": low, "ci_high": high, "n": len(cells)},
        {
            **whole, "metric": "mce", "value": 200 * error, "ci_low": 200 * low, "ci_high": 200 * high,
            "unit": "percent", "baseline": "alexnet",
        },
    ]  # fmt: skip


def results_file(path: Path, rows: list[dict[str, object]]) -> Path:
    write_csv(RESULTS, schema.rows_to_frame(RESULTS, rows), path)
    return path


def make_run(path: Path, rows: list[dict[str, object]], **model: object) -> Path:
    facts = {
        "label": rows[0]["model"], "sha256": "ab" * 32, "parameters": 1_234_567,
        "preprocessing": {"resize": 256, "crop": 224, "interpolation": "bicubic"},
    }  # fmt: skip
    manifest = {
        "schema": 1,
        "model": facts | model,
        "data": {"name": rows[0]["dataset"], "sha256": rows[0]["data_sha"], "samples": 200},
        "identity": {},
        "options": {},
        "conditions": [],
        "seed": 0,
    }
    path.mkdir()
    run = RunDirectory(path, manifest)
    run.write_manifest()
    run.write_results(schema.rows_to_frame(RESULTS, rows))
    return path


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def test_one_row_of_a_run(tmp_path: Path) -> None:
    board = leaderboard([make_run(tmp_path / "run", rows_of("m", 0.4, 0.36, 0.44))])
    assert board.rows == [
        {
            "model": "m", "top1": 80.0, "top1_err": 20.0, "top1_ci_low": 78.0, "top1_ci_high": 82.0,
            "top5": 90.0, "top5_err": 10.0, "top5_ci_low": 89.0, "top5_ci_high": 91.0,
            "param_count": 1.234567, "img_size": 224, "crop_pct": 0.875, "interpolation": "bicubic",
            "rank": 1, "rank_by": "mce", "mean_error": 40.0, "mean_error_ci_low": 36.0, "mean_error_ci_high": 44.0,
            "mce": 80.0, "mce_ci_low": 72.0, "mce_ci_high": 88.0, "weights_sha": "ab" * 32, "dataset": "d", "data_sha": "x",
            "images": 200, "source": "computed", "protocol": "clean c#1; imagenet-c p#1", "baseline": "alexnet", "seed": "0",
            "robench_version": "0.1.0", "schema": 1,
        }
    ]  # fmt: skip


def test_crop_pct_of_a_squashing_model_is_of_its_sides(tmp_path: Path) -> None:
    stated = {"resize": [256, 256], "crop": 224, "interpolation": "bicubic"}
    run = make_run(tmp_path / "run", rows_of("m", 0.4, 0.36, 0.44), preprocessing=stated)
    assert leaderboard([run]).rows[0]["crop_pct"] == 0.875


def test_frames_have_their_columns(tmp_path: Path) -> None:
    same = {key: value for key, value in rows_of("m", 0.4, 0.3, 0.5)[-2].items() if key not in ("suite", "metric")}
    more = [
        ("imagenet-p", "mean_flip_rate", 0.9, {"axis": "difficulty", "axis_value": 2.0}),
        ("imagenet-p", "mean_flip_rate", 0.1, {"axis": "difficulty", "axis_value": 1.0}),
        ("shift", "consistency", 0.2, {"corruption": "crop", "severity": 1}),
        ("shift", "consistency", 0.3, {"corruption": "circular", "severity": 1}),
        ("scale", "consistency", 0.4, {"corruption": "scale", "severity": 1}),
        ("scale", "consistency", 0.9, {"corruption": "scale", "severity": 1, "axis": "scale", "axis_value": 0.5}),
        ("noise", "accuracy_auc", 0.5, {}),
        ("occlusion", "accuracy_auc", 0.7, {"corruption": "grid", "severity": 1}),
        ("occlusion", "accuracy_auc", 0.8, {}),
        ("resolution", "accuracy", 0.6, {"corruption": "network", "resolution": 96}),
        ("resolution", "accuracy", 0.9, {"corruption": "information", "resolution": 224}),
    ]
    rows = [{**same, "suite": suite, "metric": name, "value": value, **where} for suite, name, value, where in more]
    row = leaderboard([results_file(tmp_path / "r.csv", [*rows_of("m", 0.4, 0.3, 0.5), *rows])]).rows[0]
    found = {name: row[name] for name in row if name in [f.column for f in METRIC_COLUMNS] or name.endswith("px")}
    assert found == {
        "top1": 80.0, "top5": 90.0, "mean_error": 40.0, "mce": 80.0, "mean_flip_rate": 10.0, "consistency": 20.0,
        "circular_consistency": 30.0, "scale_consistency": 40.0, "accuracy_auc": 50.0,
        "occlusion_accuracy_auc": 80.0, "top1_96px": 60.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("intervals", "higher", "expected"),
    [
        ([(1, 2), (3, 4), (5, 6)], False, [1, 2, 3]),
        ([(1, 2), (3, 4), (5, 6)], True, [3, 2, 1]),
        ([(1, 3), (3, 4), (5, 6)], False, [1, 1, 3]),
        ([(5, 6), (1, 3), (2, 5)], False, [2, 1, 1]),  # joined by the third, which is no tie
        ([(1, 2), (2, 3), (3, 4), (4, 5)], False, [1, 1, 2, 3]),  # a chain
        ([(1, 2), (3, 4), (0, 9)], False, [1, 2, 1]),
        ([(5, 6), (1, 9), (2, 3)], True, [1, 1, 2]),  # a wide one holds the others
        ([(2, 2), (1, 1), (2, 2)], False, [2, 1, 2]),  # published figures have no width
        ([], True, []),
    ],
)
def test_ranks(intervals: list[tuple[float, float]], higher: bool, expected: list[int]) -> None:
    assert ranks(intervals, higher) == expected
    for (low, high), place in zip(intervals, expected, strict=True):
        better = [one for one in intervals if (one[0] > high if higher else one[1] < low)]
        assert place == 1 + len(better), "counted one by one"


def test_models_are_ranked_by_what_is_asked_for(tmp_path: Path) -> None:
    file = results_file(
        tmp_path / "r.csv",
        [*rows_of("b", 0.4, 0.36, 0.44), *rows_of("c", 0.6, 0.58, 0.62), *rows_of("a", 0.42, 0.38, 0.46)],
    )
    for sort_by in (None, "mce", "top1", "accuracy", "top5"):
        rows = leaderboard([file], sort_by=sort_by).rows
        assert [(row["model"], row["rank"]) for row in rows] == [("b", 1), ("a", 1), ("c", 3)], sort_by
    with pytest.raises(OptionError, match="did you mean 'mce'"):
        leaderboard([file], sort_by="mcee")
    rows = leaderboard([file], sort_by="mfr").rows
    assert [(row["model"], row["rank"]) for row in rows] == [("a", None), ("b", None), ("c", None)]


def test_merging_replaces_keeps_and_repeats_to_the_byte(tmp_path: Path) -> None:
    out, new = tmp_path / "leaderboard.csv", [make_run(tmp_path / "a", rows_of("a", 0.4, 0.36, 0.44))]
    leaderboard(new, out)
    leaderboard([make_run(tmp_path / "b", rows_of("b", 0.3, 0.29, 0.31))], out)
    assert read(out)[["model", "rank", "mce"]].values.tolist() == [["b", 1, 60.0], ["a", 2, 80.0]]
    before = out.read_bytes()
    leaderboard(new, out)
    leaderboard([out], out)
    assert out.read_bytes() == before
    again = make_run(tmp_path / "again", rows_of("a", 0.2, 0.19, 0.21))
    leaderboard([again], out)
    assert read(out)[["model", "rank", "mce"]].values.tolist() == [["a", 1, 40.0], ["b", 2, 60.0]]
    leaderboard([make_run(tmp_path / "weights", rows_of("a", 0.1, 0.09, 0.11), sha256="cd" * 32)], out)
    assert read(out)["model"].tolist() == ["a", "a", "b"], "other weights are another row"
    with pytest.raises(OptionError, match="leave one out"):
        leaderboard([*new, again])
    assert len(leaderboard([*new, *new]).rows) == 1
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["leaderboard.csv"]


def test_a_finished_run_replaces_what_it_was(tmp_path: Path) -> None:
    out = tmp_path / "leaderboard.csv"
    part = make_run(tmp_path / "part", rows_of("a", 0.4, 0.36, 0.44, CELLS[:4]))
    whole = make_run(tmp_path / "whole", rows_of("a", 0.5, 0.46, 0.54))
    leaderboard([part], out)
    assert "imagenet-c p#1 (4 of 75 cells#" in read(out)["protocol"][0]
    leaderboard([whole], out)
    assert read(out)["protocol"].tolist() == ["clean c#1; imagenet-c p#1"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"protocol": "p#2"}, "protocol of imagenet-c, p#1 and p#2"),
        ({"cells": CELLS[:40]}, "protocol of imagenet-c, p#1 and p#1 .40 of 75 cells"),
        ({"dataset": "e"}, "datasets are d and e"),
        ({"data_sha": "y" * 64}, "samples are x and yyyyyyyyyyyy; "),
        ({"source": "released"}, "sources are computed and released"),
    ],
)
def test_what_does_not_compare_is_refused_or_split(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    files = [
        results_file(tmp_path / "a.csv", rows_of("a", 0.4, 0.36, 0.44)),
        results_file(tmp_path / "b.csv", rows_of("b", 0.5, 0.46, 0.54, **change)),
    ]
    out = tmp_path / "leaderboard.csv"
    with pytest.raises(OptionError, match=match):
        leaderboard(files, out)
    assert not out.exists()
    assert [len(section) for section in leaderboard(files, out, split=True).sections] == [1, 1]
    assert read(out)["rank"].tolist() == [1, 1]
    before = out.read_bytes()
    with pytest.raises(OptionError, match="give --split"):
        leaderboard(files[:1], out)
    assert out.read_bytes() == before


def test_two_baselines_do_not_compare(tmp_path: Path) -> None:
    other = [row | ({"baseline": "mine"} if "baseline" in row else {}) for row in rows_of("b", 0.5, 0.46, 0.54)]
    files = [
        results_file(tmp_path / "a.csv", rows_of("a", 0.4, 0.36, 0.44)),
        results_file(tmp_path / "b.csv", other),
    ]
    with pytest.raises(OptionError, match="normalised by alexnet and mine"):
        leaderboard(files)


def test_a_model_may_lack_a_suite(tmp_path: Path) -> None:
    files = [
        results_file(tmp_path / "a.csv", rows_of("a", 0.4, 0.36, 0.44)),
        results_file(tmp_path / "b.csv", rows_of("b", 0.3, 0.29, 0.31)[:2]),
    ]
    rows = leaderboard(files).rows
    assert [(row["model"], row["rank_by"], row["rank"]) for row in rows] == [("b", "top1", 1), ("a", "top1", 2)]


def test_two_suites_of_a_kind(tmp_path: Path) -> None:
    rows = rows_of("a", 0.4, 0.36, 0.44)
    more = [row | {"suite": "imagenet-c-299"} for row in rows_of("a", 0.6, 0.5, 0.7) if row["suite"] != "clean"]
    file = results_file(tmp_path / "a.csv", [*rows, *more])
    with pytest.raises(OptionError, match="give --suite imagenet-c, or --suite imagenet-c-299"):
        leaderboard([file])
    assert leaderboard([file], suites=["imagenet-c-299"]).rows[0]["mean_error"] == 60.0
    with pytest.raises(OptionError, match=r"unknown suite .imagenet-p. of .*did you mean .imagenet-c."):
        leaderboard([file], suites=["imagenet-p"])


TIMM = """model,top1,top1_err,top5,top5_err,param_count,img_size,cropt_pct,interpolation,top1_diff,rank_diff
big,90.052,9.948,99.048,0.952,"1,014.45",448,1.000,bicubic,-1.5,+1
small,70.1,29.9,90,10,3.2,224,0.875,,-1.5,-2
"""


def test_results_of_timm(tmp_path: Path) -> None:
    (tmp_path / "results-imagenet-a.csv").write_text(TIMM)
    first, second = leaderboard([tmp_path / "results-imagenet-a.csv"]).rows
    assert first == {
        "model": "big", "top1": 90.052, "top1_err": 9.948, "top5": 99.048, "top5_err": 0.952, "param_count": 1014.45,
        "img_size": 448, "crop_pct": 1.0, "interpolation": "bicubic", "rank": 1, "rank_by": "top1", "dataset": "imagenet-a",
        "source": "timm", "protocol": "clean timm", "schema": 1,
    }  # fmt: skip
    assert (second["model"], second["rank"], "interpolation" in second) == ("small", 2, False)


PUBLISHED = [
    {
        "model": "a",
        "img_size": 224,
        "top1": 81.25,
        "top1_err": 18.75,
        "top5": 95.5,
        "top5_err": 4.5,
        "param_count": 25.5,
    },
    {"model": "a", "img_size": 288, "top1": 82.5, "top1_err": 17.5, "top5": 96.0, "top5_err": 4.0, "param_count": 25.5},
    {
        "model": "b",
        "img_size": 224,
        "top1": 70.0,
        "top1_err": 30.0,
        "top5": 90.0,
        "top5_err": 10.0,
        "param_count": 1014.5,
    },
]
"""Rows of timm since its pull request 2603."""

_FRAME = pd.DataFrame(PUBLISHED)


@each(
    ("name", "content"),
    [
        ("results-x.csv", _FRAME.to_csv(index=False)),
        ("results-x.csv", _FRAME[_FRAME.columns[::-1]].assign(rank_diff="+1").to_csv(index=False)),
        ("results-x.csv", _FRAME.assign(macro_f1_score=70.0, crop_pct="").to_csv(index=False)),
        ("results-x.csv", _FRAME.drop(columns=["top1", "top5_err"]).to_csv(index=False)),
        ("results-x.csv", _FRAME.astype({"img_size": float}).to_csv(index=False)),
        ("results-x.csv", _FRAME.to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n")),
        (
            "results-x.csv",
            _FRAME.assign(param_count=["25,500,000", "25500000", "1,014.50"]).to_csv(
                index=False, quoting=csv.QUOTE_ALL
            ),
        ),
        ("x.json", json.dumps(PUBLISHED, indent=4)),
        ("x.json", "\ufeff" + json.dumps([row | {"param_count": str(row["param_count"])} for row in PUBLISHED])),
        ("x.JSON", f"Test: [ 10/196] Acc@1: 80.0\n--result\n{json.dumps(PUBLISHED)}\n"),
    ],
)
def test_results_of_timm_in_any_order(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    rows = leaderboard([tmp_path / name]).rows
    assert {row["dataset"] for row in rows} == {"x"}
    wanted = sorted(PUBLISHED, key=lambda row: -float(str(row["top1"])))
    assert [{column: row[column] for column in PUBLISHED[0]} for row in rows] == wanted


def test_one_result_of_timm_as_json(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(PUBLISHED[0]))
    assert leaderboard([tmp_path / "one.json"]).rows[0]["top1"] == 81.25
    for content, says in (
        ({"model": "a", "error": "out of memory"}, "row 1 has no top1 of a; leave the row out"),
        ({"model": "a", "top1": [1]}, r"row 1: top1 is '\[1\]', not a number"),
        ({"model": None, "top1": 1}, "has a row without model"),
    ):
        (tmp_path / "one.json").write_text(json.dumps(content))
        with pytest.raises(RobenchError, match=says):
            leaderboard([tmp_path / "one.json"])


def test_damaged_tables_never_crash(tmp_path: Path) -> None:
    """Fifty mutations of each kind of file are read, or refused with an error that the user can fix."""
    leaderboard([results_file(tmp_path / "r.csv", rows_of("m", 0.4, 0.3, 0.5, CELLS[:1]))], tmp_path / "board.csv")
    robustbench(tmp_path / "r.json", clean_acc="76.98%", dataset="CIFAR-10", corruptions_acc="46.91")
    (tmp_path / "t.csv").write_text(TIMM)
    (tmp_path / "t.json").write_text(json.dumps(PUBLISHED))
    rng = np.random.default_rng(0)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        assert leaderboard([file]).rows
        for _ in range(50):
            start, length = int(rng.integers(len(whole))), int(rng.integers(8))
            noise = bytes(rng.choice(list(b'\0\xff",;\t\n\r-+=<{[]}e9_')) for _ in range(rng.integers(4)))
            file.write_bytes(whole[:start] + noise + whole[start + length :])
            with suppress(RobenchError):  # Its text escapes line ends.
                leaderboard([file])


def robustbench(path: Path, **content: object) -> Path:
    path.write_text(json.dumps({"name": "A title", "dataset": "imagenet", "reported": ""} | content))
    return path


def test_results_of_robustbench(tmp_path: Path) -> None:
    old = robustbench(tmp_path / "Old2020.json", clean_acc="76.98", corruptions_acc="46.91")
    row = leaderboard([old]).rows[0]
    assert (row["model"], row["top1"], row["mean_error"], row["protocol"]) == (
        "Old2020", 76.98, 53.09, "clean robustbench; imagenet-c robustbench",
    )  # fmt: skip
    new = robustbench(
        tmp_path / "New2022.json", clean_acc=0.5538, corruptions_acc_2d="21.12", corruptions_mce_2d="100.00",
        corruptions_acc_3d="28.41", corruptions_mce_3d="1",
    )  # fmt: skip
    row = leaderboard([new]).rows[0]
    assert (row["top1"], row["mean_error"], row["mce"], row["baseline"]) == (55.38, 78.88, 100.0, "alexnet")
    cifar = robustbench(tmp_path / "c.json", dataset="cifar10", corruptions_acc="80")
    assert leaderboard([cifar]).rows[0]["protocol"] == "cifar-c robustbench"
    assert [row["model"] for row in leaderboard([old, new]).rows] == ["Old2020", "New2022"]


def test_published_rows_stand_apart_from_computed_ones(tmp_path: Path) -> None:
    (tmp_path / "results-d.csv").write_text(TIMM)
    files = [tmp_path / "results-d.csv", results_file(tmp_path / "a.csv", rows_of("a", 0.4, 0.36, 0.44))]
    with pytest.raises(OptionError, match="big and a are not comparable, their samples are not known and x"):
        leaderboard(files)
    board = leaderboard(files, split=True)
    assert [[row["source"] for row in section] for section in board.sections] == [["timm", "timm"], ["computed"]]


HOSTILE = ["=1+1", "@SUM(A1)", "+cmd|x", "-2+3", "\t=1", "<script>", "a\x1b[2J", "x;=1+1", "x; -A1", "＝1"]


@each("name", HOSTILE)
def test_cells_that_would_run_are_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "leaderboard.csv"
    with (tmp_path / "results-x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([line.split(",") for line in TIMM.splitlines()[:1]])
        csv.writer(file).writerow([name, 1, 99, 1, 99, 1, 224, 1, "bicubic", 0, 0])
    hostile = rows_of(name, 0.4, 0.36, 0.44)
    for source in (
        tmp_path / "results-x.csv",
        results_file(tmp_path / "r.csv", hostile),
        make_run(tmp_path / "r", hostile),
    ):
        with pytest.raises(OptionError, match="; rename") as caught:
            leaderboard([source], out)
        assert str(source) in str(caught.value)
    for column in ("dataset", "baseline", "robench_version"):
        rows = [row | {column: name} for row in rows_of("m", 0.4, 0.36, 0.44)]
        with pytest.raises(OptionError, match=column):
            leaderboard([results_file(tmp_path / "r.csv", rows)], out)
    assert not out.exists()


@each("name", ["-5", "a-b", "resnet+aug", "a; b", "naïve", "模型", "a,b", 'a"b', "None"])
def test_other_names_are_kept(tmp_path: Path, name: str) -> None:
    out = tmp_path / "leaderboard.csv"
    leaderboard([results_file(tmp_path / "r.csv", rows_of(name, 0.4, 0.36, 0.44))], out)
    with out.open(newline="") as file:
        assert next(csv.DictReader(file))["model"] == name


BAD: list[tuple[str, bytes]] = [
    ("empty.csv", b""),
    ("other.csv", b"a,b\n1,2\n"),
    ("binary.csv", b"\xff\xfe\x00"),
    ("nul.csv", b"model,\x00\n1"),
    ("long.csv", TIMM.encode() + b"a,1,2\n"),
    ("text.csv", TIMM.replace("90.052", "ninety").encode()),
    ("infinite.csv", TIMM.replace("90.052", "inf").encode()),
    ("nan.csv", TIMM.replace("448", "nan").encode()),
    ("much.csv", TIMM.replace("90.052", "100.1").encode()),
    ("huge.csv", TIMM.replace("448", "9" * 30).encode()),
    ("nameless.csv", TIMM.replace("big", "").encode()),
    ("none.csv", TIMM.splitlines()[0].encode()),
    ("quote.csv", TIMM.encode() + b'"open'),
    ("a.json", b"[" * 100_000),
    ("b.json", b"[]"),
    ("c.json", b'{"dataset": "imagenet"}'),
    ("d.json", b'{"dataset": ["imagenet"], "corruptions_acc": 1}'),
    ("e.json", b'{"dataset": "imagenet", "corruptions_acc": 1e999}'),
    ("f.json", b'{"dataset": "imagenet", "corruptions_acc": NaN}'),
    ("g.json", b'{"dataset": "imagenet", "corruptions_acc": [1]}'),
    ("h.json", b'{"dataset": "imagenet", "corruptions_acc": "x"}'),
    ("i.json", b'{"dataset": "imagenet", "corruptions_acc": ' + b"9" * 400 + b"}"),
    ("\ud800.json", b'{"dataset": "imagenet", "corruptions_acc": "1"}'),
]


@each(("name", "content"), BAD, ids=[ascii(name) for name, _ in BAD])
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / (name if name.isprintable() else "odd\udcff.json")
    file.write_bytes(content)
    with pytest.raises(RobenchError) as caught:
        leaderboard([file], tmp_path / "leaderboard.csv")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "leaderboard.csv").exists()


def test_a_damaged_leaderboard_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "leaderboard.csv"
    file = results_file(tmp_path / "r.csv", rows_of("m", 0.4, 0.36, 0.44))
    leaderboard([file], out)
    good = out.read_text()
    header, row = good.splitlines()
    for bad in (
        f"{header}\n{row},1\n",
        f"{header},\n{row},\n",
        good.replace(",schema", ",scheme"),
        f"{header}\n{row[:-1]}2\n",
        good.replace("imagenet-c", "<b>"),
        good.replace("72.0,88.0", "88.0,72.0"),
        good.replace("m,80.0", ",80.0"),
        "notes\nmine\n",
    ):
        assert bad != good
        out.write_text(bad)
        with pytest.raises(RobenchError):
            leaderboard([file], out)
        assert out.read_text() == bad


def seeds_of(path: Path, wrong: Sequence[int], **model: object) -> list[Path]:
    """A run a seed, of 100 images, so many of which are wrong under fog."""
    facts = {
        "label": "net", "classes": 2, "sha256": "ab" * 32, "parameters": 2_000_000,
        "preprocessing": {"resize": 36, "crop": 32, "interpolation": "bicubic"},
    }  # fmt: skip
    return [
        write_run(
            path / f"s{seed}",
            {("clean", 0): first(10, 100), ("fog", 3): first(one, 100)},
            seed=seed,
            metrics=("accuracy", "error_rate", "mean_error"),
            model=facts | (model if seed else {}),
        )
        for seed, one in enumerate(wrong)
    ]


def test_seeds_of_one_model_are_a_row(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [20, 30, 60])
    out = tmp_path / "board.csv"
    (row,) = leaderboard(runs, out).rows
    single = leaderboard(runs[:1]).rows[0]
    assert row["mean_error"] == pytest.approx((20 + 30 + 60) / 3)
    assert row["mean_error_ci_low"] < 25 < 50 < row["mean_error_ci_high"]
    assert row["seed"] == "0+1+2"
    for name in ("weights_sha", "param_count", "img_size", "crop_pct", "interpolation", "top1", "images", "protocol"):
        assert row[name] == single[name], name
    before = out.read_bytes()
    leaderboard([*runs, out, *runs], out)
    assert out.read_bytes() == before, "the board itself is one of them"
    with pytest.raises(OptionError, match="name the run directories alone"):
        leaderboard([runs[0], out])


def test_what_seeds_say_differently_of_their_model_is_left_out(tmp_path: Path) -> None:
    runs = seeds_of(
        tmp_path, [20, 30], parameters=None, preprocessing={"resize": 40, "crop": 32, "interpolation": "bilinear"}
    )
    (row,) = leaderboard(runs).rows
    assert row["img_size"] == 32
    assert not {"param_count", "crop_pct", "interpolation"} & set(row)


def test_seeds_of_other_suites_are_rows_of_their_own(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [20, 30])
    facts = RunDirectory.open(runs[0]).manifest["model"]
    other = write_run(tmp_path / "clean", {("clean", 0): first(10, 100)}, seed=1, model=facts)
    assert {row["seed"] for row in leaderboard([runs[0], other]).rows} == {"0", "1"}


def test_unfinished_seeds_are_refused(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, [20, 30])
    (runs[1] / "records" / "cifar-c-fog-3-32px.parquet").unlink()
    with pytest.raises(RobenchError, match="1 unfinished"):
        leaderboard(runs)


def test_only_leaderboards_are_replaced(tmp_path: Path) -> None:
    file, out = results_file(tmp_path / "r.csv", rows_of("m", 0.4, 0.36, 0.44)), tmp_path / "README.md"
    with pytest.raises(OptionError, match=r"--out .* is a file of another kind; choose another path"):
        leaderboard([file], file)
    leaderboard([file], out, format="markdown")
    leaderboard([file], out, format="markdown")
    out.write_text("# My project")
    for form in ("markdown", "latex"):
        with pytest.raises(OptionError, match="is a file of another kind; choose another path"):
            leaderboard([file], out, format=form)
    assert out.read_text() == "# My project"
    leaderboard([file], out, format="latex", force=True)
    assert out.read_text().startswith("% robench leaderboard")
    for place in (tmp_path, tmp_path / "nowhere" / "x.csv"):
        with pytest.raises(OptionError, match=r"is a directory|is in a directory that does not exist"):
            leaderboard([file], place)


def test_round_trip_through_pandas_and_a_reader_of_csv(tmp_path: Path) -> None:
    rows = [*rows_of('a, "b"', 1 / 3, 0.3, 0.4), *rows_of("c", 0.1 + 0.2, 0.2, 0.5)]
    out = tmp_path / "leaderboard.csv"
    board = leaderboard([make_run(tmp_path / "run", rows)], out)
    frame = read(out)
    assert list(frame.columns) == LEADERBOARD.names
    frame.to_csv(tmp_path / "again.csv", index=False, lineterminator="\n")
    with out.open(newline="") as file, (tmp_path / "again.csv").open(newline="") as other:
        for ours, theirs, row in zip(csv.DictReader(file), csv.DictReader(other), board.rows, strict=True):
            for column in LEADERBOARD.names:
                value = row.get(column)
                assert ours[column] == ("" if value is None else str(value))
                assert theirs[column] == ours[column] or float(theirs[column]) == float(ours[column])
    assert read_csv(LEADERBOARD, out).equals(board.frame)


def test_round_trip_through_a_spreadsheet(tmp_path: Path) -> None:
    """Oracle: openpyxl, which takes a text for a formula where a spreadsheet does."""
    names = ["a-b", "1-2", "-1.5", "x=1", "it's", "'=1", '"=1"', "a,=1", "#1", "1e5", "007", "TRUE", "naïve ☂"]
    out, sheet, back = tmp_path / "leaderboard.csv", tmp_path / "leaderboard.xlsx", tmp_path / "back.csv"
    rows = [row for number, name in enumerate(names, 1) for row in rows_of(name, number / 14, 0.01, 0.99)]
    leaderboard([results_file(tmp_path / "r.csv", rows)], out)
    text = {column.name: str for column in LEADERBOARD.columns if column.type == "string"}
    frame = pd.read_csv(out, dtype=text, keep_default_na=False, na_values=[""])
    frame.to_excel(sheet, index=False)
    header, *lines = openpyxl.load_workbook(sheet).active.iter_rows()
    assert [cell.value for cell in header] == LEADERBOARD.names
    assert {cell.data_type for line in lines for cell in line} <= {"s", "inlineStr", "n"}, "and no formula"
    assert sorted(line[0].value for line in lines) == sorted(names)
    for line, expected in zip(lines, frame.to_dict("records"), strict=True):
        for cell, (column, value) in zip(line, expected.items(), strict=True):
            assert (cell.value is None and pd.isna(value)) or cell.value == value, column
    pd.read_excel(sheet, dtype=text, keep_default_na=False, na_values=[""]).to_csv(back, index=False)
    before = out.read_bytes()
    for _ in range(2):
        leaderboard([back], out)
        assert out.read_bytes() == before, "merging what came back changes nothing"


def test_input_sizes_are_columns_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "leaderboard.csv"
    for model, sides in (("a", (224, 96)), ("b", (128,))):
        rows = rows_of(model, 0.4, 0.36, 0.44)
        more = [
            rows[0]
            | {"suite": "resolution", "corruption": "network", "severity": 1, "resolution": side, "protocol": "r#1"}
            for side in sides
        ]
        leaderboard([results_file(tmp_path / "r.csv", [*rows, *more])], out)
    names = [f"top1_{side}px{end}" for side in (96, 128, 224) for end in ("", *ENDS)]
    assert list(read(out).columns) == [*LEADERBOARD.names, *names]
    assert leaderboard([out], sort_by="top1_128px").rows[0]["model"] == "b"
    before = out.read_bytes()
    leaderboard([out], out)
    assert out.read_bytes() == before


def test_markdown_and_latex_show_names_as_text(tmp_path: Path) -> None:
    name = "a|b_*c*[d](e)&f%g#h$i~j^k\\l{m}`n`"
    file = results_file(tmp_path / "r.csv", [*rows_of(name, 0.4, 0.36, 0.44), *rows_of("c", 0.9, 0.88, 0.92)])
    board = leaderboard([file])
    lines = FORMATS["markdown"].text(board, "brackets").splitlines()
    assert lines[0] == "<!-- robench leaderboard -->"
    shown = r"a\|b\_\*c\*\[d\](e)&amp;f%g\#h\$i\~j^k\\l\{m\}\`n\`"
    rows = [line for line in lines if line.startswith(("| 1 ", "| 2 "))]
    assert rows[0].startswith(f"| 1 | {shown} | **80.0** \\[78.0, 82.0\\] | **90.0**")
    assert rows[1].startswith("| 2 | c | 55.0 ")
    latex = FORMATS["latex"].text(board, "pm")
    shown = r"a\textbar{}b\_*c*[d](e)\&f\%g\#h\$i\textasciitilde{}j\textasciicircum{}k\textbackslash{}l\{m\}`n`"
    assert rf"1 & {shown} & \textbf{{80.0}} $\pm$ 2.0 & " in latex
    for line in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:robench-d}", "% imagenet-c p#1"):
        assert line in latex.splitlines()
    assert "ranked by mCE. d, 200 images; baseline alexnet." in latex


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", rows_of("m", 0.4, 0.36, 0.44), sha256="ab" * 32),
        make_run(tmp_path / "b", rows_of("m", 0.4, 0.36, 0.44), sha256="cd" * 32),
        make_run(tmp_path / "c", rows_of("m+bn-1", 0.5, 0.46, 0.54, treatment="bn-1"), sha256="ab" * 32),
    ]
    board = leaderboard(runs)
    lines = [line for line in FORMATS["markdown"].text(board, "none").splitlines() if line.startswith("|")]
    assert (
        lines[0]
        == "| rank | model | treatment | clean accuracy | top-5 accuracy | mean error | mCE | params, M | size, px |"
    )
    assert lines[1].startswith("| ---: | --- | --- | ---: |")
    cells = [line.split(" | ")[1:3] for line in lines[2:]]
    assert cells == [["m (abababab)", ""], ["m (cdcdcdcd)", ""], ["m", "bn-1"]], "the treatment is named once"
    assert all(line.endswith("| 1.23 | 224 |") for line in lines[2:])
    assert r"\begin{tabular}{rllrrrrrr}" in FORMATS["latex"].text(board, "brackets")


def test_inputs_of_one_model_are_rows_of_their_own(tmp_path: Path) -> None:
    """Also where one of them is in the file already."""
    stated = {"resize": 256, "crop": 224, "interpolation": "bicubic", "std": [0.25, 0.25, 0.25]}
    first, second = (
        make_run(tmp_path / name, rows_of("m", error, error, error), preprocessing={**stated, "mean": [mean] * 3})
        for name, error, mean in (("a", 0.4, 0.5), ("b", 0.3, 0.0))
    )
    board = leaderboard([first, second])
    leaderboard([first], tmp_path / "board.csv")
    assert leaderboard([second], tmp_path / "board.csv").rows == board.rows
    assert board.rows[0]["model_input"] == "mean 0,0,0; std 0.25,0.25,0.25"
    lines = FORMATS["markdown"].text(board, "none").splitlines()
    assert [line.split(" | ")[1] for line in lines if line.startswith(("| 1", "| 2"))] == [
        "m (mean 0,0,0)", "m (mean 0.5,0.5,0.5)",
    ]  # fmt: skip


def test_columns_of_corruptions(tmp_path: Path) -> None:
    """Oracle: means by hand."""
    rows = {name: rows_of(name, 0.4, 0.36, 0.44) for name in "ab"}
    for model, fog in (("a", 0.5), ("b", 0.3)):
        for row in rows[model]:
            if row["metric"] == "error_rate" and row.get("corruption") == "fog":
                row["value"] = fog + 0.01 * int(str(row["severity"]))
    ce = [{**rows["a"][-1], "metric": "ce", "corruption": "fog", "value": 77.0, "n": 5}]
    files = [results_file(tmp_path / "a.csv", rows["a"]), results_file(tmp_path / "b.csv", rows["b"])]
    board = leaderboard(files, columns="corruptions", sort_by="mean_error")
    frame = pd.read_csv(io.StringIO(FORMATS["csv"].text(board, "none"))).set_index("model")
    assert list(frame.columns[-15:]) == list(SUITES["imagenet-c"].corruptions)
    assert frame.loc["a", ["clean_error", "mean_error", "mce", "fog", "snow"]].tolist() == pytest.approx(
        [20, 40, 80, 53, 40]
    )
    latex = FORMATS["latex"].text(board, "none")
    assert r" &  &  &  & \multicolumn{3}{c}{Noise} & \multicolumn{4}{c}{Blur} & \multicolumn{4}{c}{Weather}" in latex
    assert r"\cmidrule(lr){5-7}\cmidrule(lr){8-11}" in latex
    assert [line.count("&") for line in latex.splitlines() if line.endswith(r"\\")][1:] == [18, 18, 18]
    assert r"\textbf{33.0}" in latex
    out = tmp_path / "paper.csv"
    for _ in range(2):
        leaderboard(files, out, columns="corruptions")
    with pytest.raises(OptionError, match="is a file of another kind"):
        leaderboard(files, out)
    results_file(tmp_path / "c.csv", [*rows["a"], *ce])
    with_ce = FORMATS["markdown"].text(leaderboard([tmp_path / "c.csv"], columns="corruptions"), "none")
    assert "| Clean | mCE | " in with_ce
    assert "| 77.0 |" in with_ce
    leaderboard(files, tmp_path / "board.csv")
    with pytest.raises(OptionError, match="has no errors by corruption of a; --columns corruptions takes runs"):
        leaderboard([tmp_path / "board.csv"], columns="corruptions")


def test_the_table_of_a_terminal_fits(tmp_path: Path) -> None:
    """Whatever the width, no line is longer, no number is folded, and no empty column is shown."""
    rows = [
        row for number in range(1, 7) for row in rows_of(f"a_rather_long_name_of_model_{number}", number / 10, 0, 1)
    ]
    file = results_file(tmp_path / "r.csv", rows)
    for columns, heading, value in (("metrics", "mCE", "120.0"), ("corruptions", "Mean", "60.0")):
        board = leaderboard([file], columns=columns)
        for width in (60, 80, 100, 160, 300):
            console = Console(file=io.StringIO(), width=width)
            console.print(board_tables(board, console))
            printed = console.file.getvalue()  # type: ignore[attr-defined]
            assert max(map(len, printed.splitlines())) <= width
            assert (heading in printed, value in printed) == (True, True)
            assert "flip rate" not in printed


def test_folders_of_runs_and_misspelt_suites(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "two").mkdir()
    for name in ("a", "two/b"):
        make_run(tmp_path / "runs" / name, rows_of(name[-1], 0.4, 0.36, 0.44))
    assert [row["model"] for row in leaderboard([tmp_path / "runs"]).rows] == ["a", "b"]
    for name, hint in (("imagnet-c", "did you mean 'imagenet-c'"), ("nope", "choose one of clean, imagenet-c")):
        with pytest.raises(OptionError, match=hint):
            leaderboard([tmp_path / "runs"], suites=[name])


def test_declared_columns_and_metrics_fit() -> None:
    for figure in METRIC_COLUMNS:
        assert {figure.column, *(figure.column + end for end in ENDS)} <= set(LEADERBOARD.names)
        assert figure.metric in METRICS
    names = leaderboard_of(["fpr95_near", "top1_32px", "top1_16px", "top1_32px"]).names
    assert [name for name in names if name[-1].isalnum() and name.split("_")[-1] in ("16px", "32px", "near")] == [
        *("top1_16px", "top1_32px", "auroc_near", "fpr95_near")
    ]


def test_c_bar_has_columns_of_its_own(tmp_path: Path) -> None:
    """A run with ImageNet-C and C-bar fills the columns of both; a run with C-bar alone is ranked by them."""
    cells = [(name, severity) for name in C_BAR_VALUES["imagenet-c-bar"] for severity in (1, 2, 3, 4, 5)]
    bar = [row | {"suite": "imagenet-c-bar"} for row in rows_of("m", 0.6, 0.5, 0.7, cells) if row["suite"] != "clean"]
    both = rows_of("m", 0.4, 0.36, 0.44) + bar
    (row,) = leaderboard([make_run(tmp_path / "both", both)]).rows
    assert (row["mean_error"], row["c_bar_mean_error"], row["c_bar_mean_error_ci_low"]) == (40, 60, 50)
    assert row["rank_by"] == "mce"
    run = make_run(tmp_path / "bar", rows_of("m", 0.6, 0.5, 0.7)[:2] + [one for one in bar if one["metric"] != "mce"])
    board = leaderboard([run], columns="corruptions")
    assert "mean_error" not in board.rows[0]
    assert board.rows[0]["rank_by"] == "c_bar_mean_error"
    (grid,) = grids(board)
    assert [column.heading for column in grid.columns[2:5]] == ["Clean", "Mean", "Caustic refraction"]
    assert [cell.value for cell in grid.rows[0][2:5]] == [30, 60, 60]


def test_merges_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"net{number}" for number in range(6)]
    runs = [make_run(tmp_path / name, rows_of(name, 0.4, 0.35, 0.45), sha256=name * 8) for name in names]
    out = tmp_path / "board.csv"
    with ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(lambda run: leaderboard([run], out), runs))
    assert set(pd.read_csv(out)["model"]) == set(names)


def test_a_table_of_a_run_is_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "net", rows_of("net", 0.4, 0.35, 0.45))
    for order in ([run, run / "results.csv"], [run / "results.csv", run]):
        out = tmp_path / f"{order[0].name}.csv"
        for one in order:
            leaderboard([one], out)
        assert list(pd.read_csv(out)["weights_sha"]) == ["ab" * 32]
    again = pd.read_csv(run / "results.csv", dtype=str).assign(seed="0+1")
    again.to_csv(tmp_path / "pooled.csv", index=False)
    leaderboard([tmp_path / "pooled.csv"], out)
    assert len(pd.read_csv(out)) == 2
