"""Oracles: runs whose wrong answers are counted by hand, and scipy's binomtest."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from robench.analysis.comparison import Key, ResultRow
from robench.analysis.comparison.compare import Difference, compare, costs, difference_rows, flips, write_flips
from robench.analysis.verdict import pair_verdict
from robench.cli.entry import run_cli
from robench.display.comparison import listing
from robench.display.console import as_text
from robench.errors import OptionError, RunError
from robench.runs.directory import RunDirectory
from robench.runs.find import find_runs
from tests.analysis.gate.invented import first, write_run
from tests.builders import each

N = 100


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The second loses images 20 to 31 of fog 3 and gains 0 and 1; the third is the first again."""
    root = tmp_path_factory.mktemp("runs")
    cells = {("clean", 0): first(5, N), ("fog", 3): first(20, N), ("fog", 5): first(60, N)}
    fog = first(32, N).copy()
    fog[:2] = False
    return [
        write_run(root / "a", cells),
        write_run(root / "b", {**cells, ("fog", 3): fog}),
        write_run(root / "c", cells),
    ]


def test_differences(runs: list[Path]) -> None:
    found = {
        (key.suite, key.metric, key.corruption, key.severity): one
        for one in compare(runs[:2])
        for key in [one.paired.run.key]
    }
    assert list(found) == [
        ("clean", "accuracy", "clean", 0),
        ("cifar-c", "error_rate", "fog", 3),
        ("cifar-c", "error_rate", "fog", 5),
        ("cifar-c", "mean_error", None, None),
        ("cifar-c", "mean_error", "fog", None),
    ]
    assert [one.level for one in found.values()] == ["headline", "cell", "cell", "headline", "corruption"]
    fog = found["cifar-c", "error_rate", "fog", 3]
    assert fog.paired.change == pytest.approx(0.1)
    assert fog.method == "mcnemar"
    assert fog.p == pytest.approx(binomtest(12, 14, 0.5).pvalue)
    assert fog.p_holm == pytest.approx(2 * binomtest(12, 14, 0.5).pvalue), "corrected over two cells"
    assert fog.paired.ci_low < 0.1 < fog.paired.ci_high
    mean = found["cifar-c", "mean_error", None, None]
    assert mean.method == "paired bootstrap"
    assert mean.paired.change == pytest.approx(0.05)
    assert mean.p is not None
    assert mean.p_holm == pytest.approx(2 * mean.p), "corrected over two headlines"
    assert found["cifar-c", "error_rate", "fog", 5].p == 1.0
    corruption = found["cifar-c", "mean_error", "fog", None]
    assert (corruption.paired.ci_low, corruption.paired.ci_high) == (mean.paired.ci_low, mean.paired.ci_high)
    assert (corruption.p, corruption.p_holm) == (mean.p, mean.p), "fog is the only corruption, and its mean the suite's"


def test_costs_are_those_of_the_conditions_that_both_have(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: 200 images in 2 + 2 seconds beside 200 in 1 + 7, of which the last condition is not the other's."""
    a, b = (RunDirectory.open(shutil.copytree(run, tmp_path / run.name)) for run in runs[:2])
    row = {
        "suite": "cifar-c",
        "corruption": "fog",
        "severity": 3,
        "resolution": 32,
        "images": 100,
        "images_per_second": 0.0,
    }
    for run, severity, seconds in ((a, 3, 2.0), (a, 5, 2.0), (b, 3, 1.0), (b, 5, 4.0), (b, 5, 3.0), (b, 1, 100.0)):
        run.add_timing({**row, "severity": severity, "seconds": seconds})
    (cost,) = costs([a.path, b.path])
    assert (cost.conditions, cost.base_rate, cost.run_rate) == (2, 200 / 4, 300 / 8)
    assert costs([runs[0], runs[1]]) == [], "not timed"
    assert costs([a.path, b.path / "results.csv"]) == [], "a table has no clock"
    assert run_cli(["compare", str(a.path), str(b.path)]) == 0
    assert "throughput, each run on its own machine: b 38 images/s, a 50 (1.33x the time" in capsys.readouterr().out


def test_flips_by_hand(runs: list[Path]) -> None:
    found = flips(runs)
    assert found["index"].tolist() == [0, 1, *range(20, 32)]
    assert found["change"].tolist() == ["positive_flip"] * 2 + ["negative_flip"] * 12
    assert found["path"].tolist()[:3] == ["0/0.png", "1/1.png", "0/20.png"]
    assert set(found["corruption"]) == {"fog"}


def test_command(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(run) for run in runs]
    assert run_cli(["compare", *names, "--flips", str(tmp_path / "flips.csv")]) == 0
    printed = capsys.readouterr()
    assert "changed: 14 (2 now right, 12 now wrong, 0 wrong before and after)" in " ".join(printed.out.split())
    assert "14 changed predictions" in printed.err
    assert len(pd.read_csv(tmp_path / "flips.csv")) == 14
    assert run_cli(["compare", *names, "--format", "json", "--metric", "ece,error_rate"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in rows} == {"ece", "error_rate"}
    assert len(rows) == 2 * (3 * 2 + 1)
    assert run_cli(["compare", names[0]]) == 2
    assert run_cli(["compare", *names, "--metric", "eror_rate"]) == 2
    assert run_cli(["compare", names[0], f"{names[1]}/results.csv"]) == 0
    assert "not paired" in capsys.readouterr().err


def test_p_values_do_not_depend_on_what_is_shown(runs: list[Path]) -> None:
    columns = ["run", "metric", "suite", "corruption", "severity"]
    whole = difference_rows(compare(runs[:2])).set_index(columns)["p_holm"]
    for metric in ("mean_error", "error_rate", "accuracy"):
        for shown in ([metric], [metric, "ece"], [metric, "class_error", "top5_error"]):
            rows = difference_rows(compare(runs[:2], shown)).query("level != 'other'").set_index(columns)["p_holm"]
            assert len(rows) == (whole.index.get_level_values("metric") == metric).sum()
            assert rows.to_dict() == pytest.approx(whole[rows.index].to_dict()), shown


def test_corruptions_without_records_have_the_larger_interval(runs: list[Path]) -> None:
    """Oracle: standard errors from the intervals in results.csv; those of the same images add up as if they were equal."""
    tables = [run / "results.csv" for run in runs[:2]]
    (mean,) = (one for one in compare(tables) if one.level == "corruption")
    errors = [
        ((cells["ci_high"] - cells["ci_low"]) / (2 * 1.959964)).mean()
        for table in tables
        for frame in [pd.read_csv(table)]
        for cells in [frame[(frame["suite"] == "cifar-c") & (frame["metric"] == "error_rate")]]
    ]
    half = 1.959964 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    assert (mean.paired.ci_low, mean.paired.ci_high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-6)
    assert mean.method == "intervals"


def test_verdict(runs: list[Path], tmp_path: Path) -> None:
    """Oracles: changes counted by hand, and the intervals and p-values of `compare`."""
    first_sentence, clean = pair_verdict(compare(runs[:2]))
    mean = next(one.paired for one in compare(runs[:2], ["mean_error"]) if one.level == "headline")
    low, high = (round(100 * end, 1) for end in (mean.ci_low, mean.ci_high))
    assert first_sentence.startswith(f"b makes 5.0 pp more errors on cifar-c than a, 95 % CI {low} to {high}, p ")
    assert "n = 100" in first_sentence
    assert clean.startswith("No difference: b gets as many clean images right as a")
    cells = {(name, level): first(20, N) for name in ("fog", "snow", "frost") for level in (1, 2)}
    better = {
        **cells,
        ("fog", 1): first(0, N),
        ("fog", 2): first(2, N),
        ("snow", 1): first(60, N),
        ("snow", 2): first(70, N),
    }
    pair = [write_run(tmp_path / "x", cells), write_run(tmp_path / "y", better)]
    assert pair_verdict(compare(pair))[0].endswith("; better at fog; worse at snow.")
    assert pair_verdict(compare([pair[0], pair[0]]))[0].endswith(
        "; none of 3 corruptions differs significantly by itself."
    )
    (one,) = (one for one in compare(runs[:2]) if one.paired.run.key.suite == "clean")
    shifted = replace(one.paired.run, key=one.paired.run.key._replace(suite="shift", corruption="crop"))
    other = replace(
        one,
        paired=replace(one.paired, run=replace(shifted, row={**shifted.row, "value": one.paired.base.value + 0.02})),
        p=None,
    )
    assert pair_verdict([other])[0].startswith("b gets 2.0 pp more images right on shift (crop) than a, ")
    assert pair_verdict([other])[0].endswith(", not tested, n = 100.")


def test_a_name_cannot_control_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [
        write_run(tmp_path / str(i), {("clean", 0): first(3 + i, 30)}, model={"label": f"\x1b[2J\u202e{i}"})
        for i in range(2)
    ]
    for command in (["compare", *map(str, pair)], ["show", str(pair[0])]):
        assert run_cli(command) == 0
        assert not {"\x1b", "\u202e"}.intersection(capsys.readouterr().out)


def test_what_is_printed_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest improvement comes first, the significant one is filled, and no line is longer than the terminal."""
    cells = {(name, level): first(20, N) for name in ("elastic_transform", "snow", "frost") for level in range(1, 6)}
    better = (
        cells
        | {("snow", level): first(2, N) for level in range(1, 6)}
        | {("frost", level): first(23, N) for level in range(1, 6)}
    )
    pair = [
        str(write_run(tmp_path / "cifar10_resnet20_x", cells)),
        str(write_run(tmp_path / "cifar10_resnet56_x", better)),
    ]
    for columns in (80, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run_cli(["compare", *pair, "--cells"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        rows = [line.split()[0] for line in lines if "─" in line]
        assert rows == ["snow", "frost"], "elastic_transform did not change in any resample"
        assert ["●" in line for line in lines if line.startswith("snow ")] == [True, False]
        assert any(line.split() == ["snow", *["-18.0*"] * 5] for line in lines)
    monkeypatch.delenv("COLUMNS")
    assert run_cli(["compare", *pair]) == 0
    sentence = capsys.readouterr().out.splitlines()[0]
    assert sentence.endswith("significantly."), "a pipe gets the whole sentence on its line"
    assert len(sentence) > 100


def test_a_folder_of_runs(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, run in enumerate(runs):
        shutil.copytree(run, tmp_path / "runs" / ("two" if number else ".") / run.name)
    assert [one.run for one in compare([tmp_path / "runs"])] == [
        one.run for one in compare([*find_runs([tmp_path / "runs"])])
    ]
    shutil.copytree(runs[0], tmp_path / "runs" / "unfinished")
    (tmp_path / "runs" / "unfinished" / "results.csv").unlink()
    shutil.copytree(runs[0], tmp_path / "runs" / "a.1")
    assert [path.name for path in find_runs([tmp_path / "runs"])] == ["a", "b", "c"]
    assert run_cli(["compare", str(tmp_path / "runs")]) == 0
    assert "left out, because unfinished or moved aside" in capsys.readouterr().err


def test_without_the_list_of_samples(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs[0], tmp_path / "a")
    (tmp_path / "a" / "samples.parquet").unlink()
    line = ["compare", str(tmp_path / "a"), str(runs[1])]
    assert run_cli(line) == 0
    said = capsys.readouterr().err
    assert "no flips are counted: cannot read" in said
    assert "not paired" not in said
    assert run_cli([*line, "--flips", str(tmp_path / "flips.csv")]) == 2
    assert "give the same `robench evaluate` command again" in capsys.readouterr().err
    assert not (tmp_path / "flips.csv").exists()


def test_a_folder_that_takes_no_files(runs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flipped = flips(runs)
    monkeypatch.setattr(sys.modules[flips.__module__], "check_replaceable", lambda *_: (tmp_path / "there").rmdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*flips\.csv: its directory is gone"):
        write_flips(flipped, tmp_path / "there" / "flips.csv")


def test_what_cannot_be_compared(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no records of images"):
        flips([runs[0], runs[1] / "results.csv"])
    other = write_run(tmp_path / "seed", {("clean", 0): first(5, N)}, seed=1)
    with pytest.raises(OptionError, match=r'seed 1.*or gate them by rules with pairing = "unpaired"'):
        compare([runs[0], other])
    snow = write_run(tmp_path / "snow", {("snow", 1): first(5, N)})
    clean = write_run(tmp_path / "clean", {("clean", 0): first(5, N)})
    with pytest.raises(OptionError, match="no metric in common"):
        compare([snow, clean])


@each(
    ("others", "names", "columns"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, ["net (mean 0.485,0.456,0.406)", "net (mean 0.5,0.5,0.5)"], "mean"),
        ({"channels": "bgr"}, ["net", "net (channels bgr)"], "net"),
        ({}, ["net (r)", "net (s)"], "r"),
    ],
)
def test_models_of_one_name_are_called_by_what_differs(
    others: dict[str, object],
    names: list[str],
    columns: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file has each sentence on one line, however long it is."""
    cells = {("clean", 0): first(5, N), ("fog", 3): first(20, N), ("fog", 5): first(60, N)}
    usual = {"mean": [0.485, 0.456, 0.406], "std": [0.2, 0.2, 0.2]}
    runs = [
        write_run(tmp_path / name, cells, model={"label": "net", "classes": 2, "preprocessing": usual | facts})
        for name, facts in (("r", {}), ("s", others))
    ]
    for run in runs:  # The rows have the name of the folder.
        table = (run / "results.csv").read_text()
        (run / "results.csv").write_text(table.replace(f"1,{run.name},", "1,net,"))
    (one, *_) = compare(runs)
    assert [one.base_model, one.run_model] == names
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run_cli(["compare", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    claim = f"No difference: {names[1]} makes as many errors on cifar-c as {names[0]}, p = 1, n = 100."
    assert lines[0] == claim
    assert columns in " ".join(lines[:8]).split()


@each(
    ("metric", "ends", "half"),
    [("error_rate", (0.02, 0.1), 0.04), ("ece", (0.0, 0.05), 0.05), ("worst_class_error", (0.04, 0.15), 0.1)],
)
def test_the_longer_side_of_a_biased_interval_is_its_standard_error(
    metric: str, ends: tuple[float, float], half: float
) -> None:
    key = Key("clean", metric, None, None, "clean", 0, None, None, None, None, 32)
    row = ResultRow(key, {"value": 0.05, "ci_low": ends[0], "ci_high": ends[1]})
    assert row.error == pytest.approx(half / 1.959964)


def test_many_values_of_several_methods_are_answered_first_and_short(runs: list[Path]) -> None:
    one = next(one for one in compare(runs[:2], ["error_rate"]) if one.paired.run.key.corruption == "fog")

    def of(method: str, severity: int, change: float) -> Difference:
        base, run = (
            replace(row, key=row.key._replace(method=method, severity=severity), row={**row.row, "value": 0.5 + more})
            for row, more in ((one.paired.base, 0), (one.paired.run, change))
        )
        p = 0.001 if abs(change) > 0.1 else 0.9
        return replace(one, paired=replace(one.paired, base=base, run=run), p=p, p_holm=min(1, 10 * p))

    methods = ("energy", "gen", "msp", "entropy")
    many = [of(method, severity, 0.001 * severity) for method in methods for severity in range(6)]
    many[3], many[8] = of("energy", 3, 0.2), of("gen", 2, -0.3)
    whole = as_text(lambda console: [listing(many, console, cells=True)])
    short = as_text(lambda console: [listing(many, console)])
    answer = f"error_rate of cifar-c: {one.run_model} is significantly better in 1 and worse in 1 of 24 values."
    assert short.split("\n")[1] == answer
    assert [short.count(f"{method} / fog") for method in methods] == [2, 2, 1, 1]
    assert "18 more values; --cells shows all" in short
    assert [whole.count(f"{method} / fog") for method in methods] == [6] * 4
