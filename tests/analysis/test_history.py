"""`robench history`. Oracle: `compare` for the test of a change, and numbers written down here."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from robench.analysis.comparison.compare import compare
from robench.analysis.history import history
from robench.cli.entry import run_cli
from robench.display.history import history_charts
from robench.errors import RunError
from robench.runs.progress import Progress
from tests.analysis.gate.invented import first, write_run
from tests.builders import each, mistake

Capture = pytest.CaptureFixture[str]


def write(path: Path, clean: int, fog: Sequence[int], *, day: int | None = None, **facts: object) -> Path:
    """A run of 200 images of which the first `clean` and `fog` (a severity each) are wrong."""
    cells = {("clean", 0): first(clean, 200), **{("fog", 1 + i): first(wrong, 200) for i, wrong in enumerate(fog)}}
    run = write_run(path, cells, metrics=("accuracy", "error_rate", "corruption_error", "mean_error"), **facts)  # type: ignore[arg-type]
    if day is not None:
        stamp = f"2026-01-{day:02d}T10:00:00+00:00"
        (run / "progress.json").write_text(json.dumps(asdict(Progress(state="finished", updated=stamp))))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("history")
    write(root / "v9", 20, [60, 80], day=1)
    write(root / "v10", 20, [40, 52], day=2)
    write(root / "v11", 22, [41, 52], day=3)
    return root


def test_a_change_is_tested_as_compare_tests_it(runs: Path) -> None:
    found = history([runs])
    assert [entry.label for entry in found.entries] == ["v9", "v10", "v11"], "by date"
    clean, mean = found.series
    assert [point.row.value for point in clean.points] == [0.9, 0.9, 0.89]
    assert np.allclose([point.row.value for point in mean.points], [0.35, 0.23, 0.2325])
    for series, metric in ((clean, "accuracy"), (mean, "mean_error")):
        for before, after in ((0, 1), (1, 2)):
            names = [str(found.entries[number].results.name) for number in (before, after)]
            (expected,) = (one for one in compare(names, [metric]) if one.paired.run.key.corruption in ("clean", None))
            change = series.points[after].change
            assert change is not None
            assert (change.p, change.method, change.paired.ci_low) == (
                expected.p,
                expected.method,
                expected.paired.ci_low,
            )
    steps = [point.change for point in mean.points[1:] if point.change is not None]
    assert [step.is_significant for step in steps] == [True, False]
    small, large = sorted(step.p or 0.0 for step in steps)
    assert sorted(step.p_holm or 0.0 for step in steps) == [2 * small, max(2 * small, large)], "Holm by hand"
    assert mean.since_first is not None
    assert mean.since_first.paired.change == pytest.approx(-0.1175)


def test_orders(runs: Path, tmp_path: Path) -> None:
    """Versions are numbers: v9 comes before v10; without a date for each, the given order counts."""
    for name in ("v9", "v10"):
        (tmp_path / f"{name}.csv").write_bytes((runs / name / "results.csv").read_bytes())
    with pytest.raises(RunError, match=r"there is no run in .*; name its files, as .*\*\.csv"):
        history([tmp_path])
    given = [runs / "v11", tmp_path / "v10.csv", tmp_path / "v9.csv"]
    assert [entry.label for entry in history(given).entries] == ["v11", "v10", "v9"]
    assert [entry.label for entry in history(given, by="version").entries] == ["v9", "v10", "v11"]
    assert [entry.label for entry in history([runs / "v11", runs / "v9"]).entries] == ["v9", "v11"]
    same = [runs / "v9", tmp_path / "v9.csv"]
    assert len({entry.label for entry in history(same).entries}) == 2
    (note,) = history(same).notes
    assert note.startswith("2 of 2 changes are tested with the intervals")


def test_only_comparable_values_share_a_chart(runs: Path, tmp_path: Path) -> None:
    """Clean images have no draws, so that another seed leaves their test paired."""
    other = write(tmp_path / "other", 20, [40, 52], data="def", day=4)
    seed = write(tmp_path / "seed", 22, [41, 52], seed=1, day=5)
    part = write(tmp_path / "part", 20, [40], day=6)
    protocol = write(tmp_path / "protocol", 20, [40, 52], protocol="resize#2", day=7)
    found = history([runs / "v10", other, seed, part, protocol])
    drawn = {(series.label, series.only): [point.entry.label for point in series.points] for series in found.series}
    assert drawn == {
        ("accuracy", "samples abc, geometry cifar"): ["v10", "seed", "part"],
        ("accuracy", "samples def, geometry cifar"): ["other"],
        ("accuracy", "samples abc, geometry resize"): ["protocol"],
        ("mean error", "samples abc, over 2 of 75 cells, geometry cifar"): ["v10", "seed"],
        ("mean error", "samples def, over 2 of 75 cells, geometry cifar"): ["other"],
        ("mean error", "samples abc, over 1 of 75 cells, geometry cifar"): ["part"],
        ("mean error", "samples abc, over 2 of 75 cells, geometry resize"): ["protocol"],
    }
    methods = [
        series.points[1].change.method for series in found.series if series.points[1:] and series.points[1].change
    ]
    assert methods == ["mcnemar", "intervals"]


def test_the_drawing_fits(runs: Path) -> None:
    for width in (80, 100):
        console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
        console.print(history_charts(history([runs]), console))
        assert isinstance(console.file, io.StringIO)
        lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
        assert max(map(len, lines)) <= width
        start = next(number for number, line in enumerate(lines) if line.startswith("cifar-c mean error, %"))
        text = " ".join(lines[start:])
        assert "v11 makes 11.8 pp fewer errors on cifar-c than v9" in text
        charted = [line for line in lines[start:] if line.startswith("2026-01-0")]
        assert [line.split()[1:3] for line in charted] == [["v9", "35.0"], ["v10", "23.0"], ["v11", "23.2"]]
        assert ["-12.0*" in line for line in charted] == [False, True, False]
        dots = [line.index("●") for line in charted]
        assert dots[0] > dots[2] >= dots[1]


def test_formats_have_every_value(runs: Path, capsys: Capture) -> None:
    assert run_cli(["history", str(runs), "--format", "csv", "--metric", "error_rate,mean_error"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table["suite"]) == ["cifar-c"] * 3 + ["clean"] * 3
    assert np.allclose(table["change"].dropna(), [-0.12, 0.0025, 0, 0.01])
    assert run_cli(["history", str(runs), "--format", "json", "--suite", "clean"]) == 0
    assert [row["value"] for row in json.loads(capsys.readouterr().out)] == [0.9, 0.9, 0.89]


@each(
    ("arguments", "reason"),
    [
        (["--metric", "mean_eror"], "unknown metric 'mean_eror'; did you mean 'mean_error'?"),
        (["--suite", "cifar-p"], "unknown suite 'cifar-p' of these runs; did you mean 'cifar-c'?"),
        (["--metric", "mfr"], "these runs have no mfr; `robench show RUN --verbose` lists metrics"),
    ],
)
def test_mistakes(arguments: list[str], reason: str, runs: Path, capsys: Capture) -> None:
    assert run_cli(["history", str(runs), *arguments]) == 2
    assert mistake(capsys.readouterr().err) == reason


def test_a_run_without_a_date(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    undated = write(tmp_path / "undated", 20, [60])
    assert run_cli(["history", str(runs), str(undated), "--by", "date"]) == 2
    assert mistake(capsys.readouterr().err) == "undated has no date; give --by version or --by given"
