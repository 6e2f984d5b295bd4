"""`robench leaderboard`: real runs in one table, and its exit codes."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from robench.cli.entry import run_cli
from tests.builders import mistake

Capture = pytest.CaptureFixture[str]


def test_runs_of_the_demo(tmp_path: Path, capsys: Capture) -> None:
    small = ["--limit", "30", "--corruption", "contrast,crop,network", "--severity", "3", "--resolution", "16,32"]
    suites = ["--suite", "cifar-c,shift,resolution", "--device", "cpu"]
    assert run_cli(["evaluate", "demo", *small, *suites, "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "leaderboard.csv"
    capsys.readouterr()
    assert run_cli(["leaderboard", str(tmp_path / "run"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"1 row in {out}\n")
    row = pd.read_csv(out).iloc[0]
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    clean = results[(results["suite"] == "clean") & (results["metric"] == "accuracy")]
    assert row["top1"] == pytest.approx(100 * clean["value"].iloc[0])
    assert (row["model"], row["img_size"], row["images"], row["source"]) == ("demo", 32, 30, "computed")
    assert {"top1_16px", "top1_32px"} < set(row.index)
    before = out.read_bytes()
    assert run_cli(["leaderboard", str(tmp_path / "run"), str(out), "--out", str(out)]) == 0
    assert out.read_bytes() == before
    capsys.readouterr()
    assert run_cli(["leaderboard", str(out)]) == 0
    assert capsys.readouterr().out.encode() == before
    for form in ("markdown", "latex"):
        assert run_cli(["leaderboard", str(out), "--format", form]) == 0
        assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "no run is given"),
        (["nowhere"], "No such file"),
        (["."], "there is no run in ."),
        (["t.csv", "--format", "html"], "--format is table, csv, markdown or latex"),
        (["t.csv", "--sort-by", "speed"], "unknown column"),
        (["t.csv", "--out", "nowhere/l.csv"], "a directory that does not exist"),
        (["t.csv", "--out", "t.csv"], "a file of another kind; choose another path, or write it with --force"),
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
    assert run_cli(["leaderboard", *arguments]) == 2
    printed = capsys.readouterr()
    assert match.casefold() in mistake(printed.err).casefold()
    assert printed.out == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.csv", "t.csv", "u.csv"]


def test_it_starts_without_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,top1,top1_err,top5,top5_err,param_count,img_size\na,1,99,1,99,1,32\n")
    code = (
        "import sys; from robench.cli.entry import run_cli\n"
        f"assert run_cli(['leaderboard', {str(tmp_path / 't.csv')!r}]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model,top1,")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor: how long others keep it busy is not its own.
    assert used.ru_utime + used.ru_stime - start.ru_utime - start.ru_stime < 2


@pytest.mark.nightly
def test_all_shared_checkpoints(shared: Path, tmp_path: Path, capsys: Capture) -> None:
    models = {
        "cifar10_resnet20.th": ("zoo:cifar_resnet20", "cifar10", "cifar-c", 0.269722),
        "cifar10_resnet56.th": ("zoo:cifar_resnet56", "cifar10", "cifar-c", 0.853018),
        "squeezenet1_0_imagenet.pth": ("torchvision:squeezenet1_0", "imagenet", "imagenet-c", 1.248424),
        "squeezenet1_0_imagenet.safetensors": ("torchvision:squeezenet1_0", "imagenet", "imagenet-c", 1.248424),
    }
    small = ["--limit", "100", "--corruption", "contrast", "--severity", "3", "--device", "cpu"]
    for name, (arch, data, suite, _) in models.items():
        where = ["--arch", arch, "--data", str(shared / "data" / data), "--suite", suite, "--out", str(tmp_path / name)]
        assert run_cli(["evaluate", str(shared / "data" / "checkpoints" / name), *where, *small]) == 0
    out, runs = tmp_path / "leaderboard.csv", [str(tmp_path / name) for name in models]
    assert run_cli(["leaderboard", *runs, "--out", str(out)]) == 2
    assert "their datasets are cifar10 and imagenet" in capsys.readouterr().err
    assert run_cli(["leaderboard", *runs, "--split", "--out", str(out)]) == 0
    before = out.read_bytes()
    assert run_cli(["leaderboard", *runs, "--split", "--out", str(out)]) == 0
    assert out.read_bytes() == before
    board = pd.read_csv(out).set_index("weights_sha")
    assert len(board) == len(models), "the same weights in two files are two rows"
    for name, (*_, millions) in models.items():
        row = board.loc[json.loads((tmp_path / name / "manifest.json").read_text())["model"]["sha256"]]
        clean = pd.read_parquet(next((tmp_path / name / "records").glob("clean-*.parquet")))
        assert row["top1"] == pytest.approx(100 * (clean["pred"] == clean["label"]).mean())
        assert row["param_count"] == millions, "as their description counts them, or torchvision"
        assert (row["images"], row["model"]) == (100, Path(name).stem)
