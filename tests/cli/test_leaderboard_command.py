"""`robench leaderboard`: real runs in one table, and its exit codes."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from robench.cli.entry import command

Capture = pytest.CaptureFixture[str]


def test_runs_of_the_demo(tmp_path: Path, capsys: Capture) -> None:
    small = ["--limit", "30", "--corruption", "contrast,crop,network", "--severity", "3", "--resolution", "16,32"]
    suites = ["--suite", "cifar-c,shift,resolution", "--device", "cpu"]
    assert command(["evaluate", "demo", *small, *suites, "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "leaderboard.csv"
    capsys.readouterr()
    assert command(["leaderboard", str(tmp_path / "run"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"1 rows in {out}\n")
    row = pd.read_csv(out).iloc[0]
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    clean = results[(results["suite"] == "clean") & (results["metric"] == "accuracy")]
    assert row["top1"] == pytest.approx(100 * clean["value"].iloc[0])
    assert row["param_count"] == pytest.approx(0.078042, abs=0.05)
    assert (row["model"], row["img_size"], row["images"], row["source"]) == ("demo", 32, 30, "computed")
    assert {"top1_16px", "top1_32px"} < set(row.index)
    before = out.read_bytes()
    assert command(["leaderboard", str(tmp_path / "run"), str(out), "--out", str(out)]) == 0
    assert out.read_bytes() == before
    capsys.readouterr()
    assert command(["leaderboard", str(out)]) == 0
    assert capsys.readouterr().out.encode() == before
    for form in ("markdown", "latex"):
        assert command(["leaderboard", str(out), "--format", form]) == 0
        assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "Missing argument"),
        (["nowhere"], "No such file"),
        (["."], "not a run directory"),
        (["t.csv", "--format", "html"], "unknown format"),
        (["t.csv", "--sort-by", "speed"], "unknown figure"),
        (["t.csv", "--out", "nowhere/l.csv"], "no such folder"),
        (["t.csv", "--out", "t.csv"], "not a leaderboard"),
        (["t.csv", "u.csv"], "give --split"),
        (["bad.csv"], "rename it"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, model in (("t.csv", "a"), ("u.csv", "b"), ("bad.csv", "=1")):
        with Path(name).open("w", newline="") as file:
            names = ["model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size"]
            csv.writer(file).writerows([names, [model, 1, 99, 1, 99, 1, 32]])
    assert command(["leaderboard", *arguments]) == 2
    printed = capsys.readouterr()
    assert match in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.csv", "t.csv", "u.csv"]


def test_it_starts_without_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,top1,top1_err,top5,top5_err,param_count,img_size\na,1,99,1,99,1,32\n")
    code = (
        "import sys; from robench.cli.entry import command\n"
        f"assert command(['leaderboard', {str(tmp_path / 't.csv')!r}]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model,top1,")
    assert time.process_time() - start < 2
