"""The command line as a user meets it: exit codes, streams, one line for a mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

import robench
from robench.cli import entry
from robench.cli.entry import run_cli
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS
from tests.builders import mistake

SMALL = [
    "--limit",
    "40",
    "--corruption",
    "contrast,gaussian_noise",
    "--severity",
    "1",
    "--severity",
    "5",
    "--device",
    "cpu",
]


@pytest.fixture
def demo_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run_cli(["evaluate", "demo", *SMALL, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_demo_in_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(["evaluate", "demo", *SMALL]) == 0
    printed = capsys.readouterr()
    headline = next(line for line in printed.out.splitlines() if "mean error" in line)
    cells = pd.read_csv(tmp_path / "runs" / "demo-demo-cifar-c" / "results.csv").query("suite == 'cifar-c'")
    mean = cells.query("metric == 'error_rate'")["value"].mean()
    assert headline.split()[:4] == ["cifar-c", "mean", "error", f"{100 * mean:.1f}"]
    assert "over 4 of 75 cells" in headline
    assert "their mean does not compare with published values" in " ".join(printed.out.split())
    assert "40 images are few" in printed.out
    assert "mce" not in printed.out
    assert "ece" not in printed.out
    assert "results in runs/demo-demo-cifar-c" in printed.err
    assert printed.err.count("cifar-c contrast: ") == 1
    assert (tmp_path / "runs" / "demo-demo-cifar-c" / "results.csv").exists()


def test_score_and_show(demo_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (demo_run / "results.csv").read_bytes()
    (demo_run / "results.csv").unlink()
    assert run_cli(["show", str(demo_run)]) == 2
    assert "robench score" in capsys.readouterr().err
    assert run_cli(["score", str(demo_run)]) == 0
    assert (demo_run / "results.csv").read_bytes() == before
    table = capsys.readouterr().out
    assert run_cli(["show", str(demo_run)]) == 0
    assert capsys.readouterr().out == table
    assert run_cli(["show", str(demo_run), "--format", "csv"]) == 0
    assert capsys.readouterr().out.encode() == before
    assert run_cli(["show", str(demo_run), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert list(rows[0]) == RESULTS.names
    assert len(rows) == len(pd.read_csv(StringIO(before.decode())))


def test_normalised_by_itself_every_ce_is_100(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = ["evaluate", "demo", "--limit", "40", "--corruption", "contrast", "--device", "cpu"]
    assert run_cli([*whole, "--out", "base"]) == 0
    assert run_cli([*whole, "--out", "run", "--normalize-by", "base"]) == 0
    monkeypatch.chdir(tmp_path / "run")  # The baseline is found from any folder.
    assert run_cli(["score", "."]) == 0
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    ce = results[results["metric"] == "ce"]
    assert ce["value"].tolist() == [100.0]
    assert ce["baseline"].tolist() == ["demo"]
    capsys.readouterr()


def test_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    assert run_cli(["evaluate", "demo", *SMALL, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("demo: 5 conditions x 40 images, about ")
    assert re.search(r"^cifar-c +contrast +1,5 +32 +\d+ s$", printed, re.MULTILINE), "a line for each corruption"
    assert "200 forward passes" in printed
    assert list(tmp_path.iterdir()) == []


def test_sets_of_weights_in_one_file_are_different_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {**CifarResNet(10, depth=8).state_dict(), "probe.weight": torch.ones(3)}
    torch.save({f"{name}.{key}": state[key] for name in ("online", "target") for key in state}, tmp_path / "w.pth")
    command = ["evaluate", str(tmp_path / "w.pth"), "--arch", "zoo:cifar_resnet8", "--data", "demo", "--suite", "clean"]
    command += ["--limit", "4", "--device", "cpu", "--out", str(tmp_path / "run"), "--ignore-key", "probe.*,*.x?"]
    assert run_cli([*command, "--weights-key", "online"]) == 2
    assert "has no tensor *.x?, which --ignore-key names" in capsys.readouterr().err
    command[-1] = "probe.*"
    assert run_cli([*command, "--weights-key", "online"]) == 0
    model = json.loads((tmp_path / "run" / "manifest.json").read_text())["model"]
    assert (model["weights_key"], model["ignore_key"]) == ("online", ["probe.*"])
    capsys.readouterr()
    assert run_cli([*command, "--weights-key", "target"]) == 2
    assert "weights_key" in capsys.readouterr().err


def test_treatments_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    several = [
        "--treatment",
        "blurpool:filter=rect2,bn-calib:clean,M=20",
        "--treatment",
        "bn-prior:N=4,n=5",
        "--calibration",
        "demo",
    ]
    assert run_cli(["evaluate", "demo", "--suite", "clean", "--limit", "20", *several]) == 0
    label = "demo+blurpool:filter=rect2+bn-calib:clean,M=20@demo+bn-prior:N=4,n=5"
    printed = capsys.readouterr()
    assert label in printed.out
    assert "rect2 has an even number of taps" in printed.err
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name == f"{label.replace(':', '_').replace(',', '_')}-demo-clean"


def test_corrupt_writes_the_pixels_of_an_evaluation(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "corrupt",
        str(picture_folder),
        "--suite",
        "cifar-c",
        "--corruption",
        "gaussian_noise",
        "--severity",
        "3",
    ]
    assert run_cli([*arguments, "--seed", "5", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "30 images" in capsys.readouterr().out
    picture = Image.open(picture_folder / "bee" / "2.png").convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    clean = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    oracle = robench.corrupt(clean, "gaussian_noise", 3, "cifar-c", seed=5, index=[12])[0].permute(1, 2, 0).numpy()
    written = np.asarray(Image.open(tmp_path / "gaussian_noise" / "3" / "bee" / "2.png"))
    assert np.array_equal(written, oracle)


def test_corrupt_gives_every_image_its_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for number, name in enumerate(("one.png", "one.bmp", "two.bmp")):
        Image.new("RGB", (32, 32), (50 * number, 0, 0)).save(folder / name)
    whole = ["corrupt", str(tmp_path / "set"), "--suite", "cifar-c", "--corruption", "contrast", "--severity", "1"]
    assert run_cli([*whole, "--out", str(tmp_path / "out")]) == 0
    assert "3 images" in capsys.readouterr().out
    written = sorted(file.name for file in (tmp_path / "out" / "contrast" / "1" / "a").iterdir())
    assert written == ["one.bmp.png", "one.png.png", "two.png"]


def test_corrupt_takes_one_image(picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(picture_folder / "ant" / "0.png")
    assert run_cli(["corrupt", image, "--suite", "cifar-c", "--severity", "1", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "pixelate" / "1" / "0.png").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["evaluat"], "No such command"),
        (["evaluate"], "Missing argument"),
        (["evaluate", "demo", "--suit", "cifar-c"], "No such option"),
        (["evaluate", "demo", "--suite", "cifar-d"], "did you mean 'cifar-"),
        (["evaluate", "demo", "--corruption", "contrst"], "did you mean 'contrast'"),
        (["evaluate", "demo", "--severity", "7"], "has no severity 7; use 1 to 5"),
        (["evaluate", "demo", "--severity", "high"], "takes numbers"),
        (["evaluate", "demo", "--limit", "0"], "at least 1"),
        (["evaluate", "demo", "--batch-size", "0"], "at least 1"),
        (["evaluate", "demo", "--mean", "1,2"], "--mean has 2 values, and demo states a std of 3"),
        (["evaluate", "demo", "--std", "0,1,1"], "above 0 to 1"),
        (["evaluate", "demo", "--mean", "123,116,103"], "divide by 255"),
        (["evaluate", "demo", "--data", ""], "empty name"),
        (["evaluate", "demo", "--suite", "imagenet-p,shift", "--backend", "reference"], "has no perturbations"),
        (["evaluate", "demo", "--difficulty", "4"], "must be 1, 2 or 3"),
        (["evaluate", "demo", "--resolution", "0"], "must be at least 1"),
        (["evaluate", "demo", "--suite", "imagecorruptions", "--crop", "16"], "at least 32 px"),
        (
            ["evaluate", "demo", "--suite", "shift,resolution,noise", "--crop", "28"],
            "noise needs images of at least 32 px",
        ),
        (
            ["evaluate", "demo", "--suite", "cifar-p", "--severity", "9"],
            "--severity applies only to suites of corruptions",
        ),
        (["evaluate", "demo", "--difficulty", "3"], "--difficulty applies only to suites of sequences"),
        (["evaluate", "demo", "--resolution", "7"], "--resolution applies only to the suite resolution"),
        (
            ["evaluate", "demo", "--suite", "clean", "--resolution", "7"],
            "--resolution applies only to the suite resolution",
        ),
        (
            ["evaluate", "demo", "--suite", "shift", "--extra-corruptions"],
            "--extra-corruptions applies only to suites that",
        ),
        (
            ["evaluate", "demo", "--suite", "noise", "--geometry", "model"],
            "--geometry model applies only to suites of single",
        ),
        (["evaluate", "demo", "--resize", "40"], "--geometry model"),
        (["evaluate", "demo", "--device", "cudo"], "unknown device"),
        (["evaluate", "demo", "--data", "nowhere"], "no dataset nowhere"),
        (["evaluate", "demo", "--normalize-by", "alexnet"], "belong to imagenet-c"),
        (["evaluate", "demo", "--normalize-by", "nowhere"], "unknown baseline"),
        (["evaluate", "nothing.pth", "--arch", "zoo:cifar_resnet20"], "--data"),
        (["evaluate", "nothing.pth", "--arch", "zoo:cifar_resnet20", "--data", "demo"], "nothing.pth"),
        (["evaluate", "timm:resnet_nothing", "--data", "demo"], "unknown timm architecture"),
        (["evaluate", "demo", "--treatment", "bn-tset"], "unknown treatment 'bn-tset'; did you mean 'bn-test'?"),
        (["evaluate", "demo", "--treatment", "bn-prior:N=4,n=8,tent"], "bn-prior and tent both replace"),
        (["evaluate", "demo", "--treatment", "bn-calib:weak"], "give --calibration DIR"),
        (["evaluate", "demo", "--calibration", "demo"], "--calibration goes with --treatment"),
        (["evaluate", "demo", "--suite", "cifar-p,shift", "--treatment", "tent"], "omit cifar-p, shift"),
        (["evaluate", "demo", "--treatment", "bn-branch:aux"], "no auxiliary BatchNorm branches"),
        (["score", "nowhere"], "not a run directory"),
        (["show", "nowhere"], "not a run directory"),
        (["list", "models", "keras"], "no architecture contains 'keras'; families are zoo, torchvision, timm"),
        (["list", "corruptions", "--suite", "x"], "unknown suite"),
        (["corrupt", "nowhere"], "no dataset nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str],
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        run_cli(
            [*arguments, *(["--limit", "5"] if arguments[:1] == ["evaluate"] and "--limit" not in arguments else [])]
        )
        == 2
    )
    printed = capsys.readouterr()
    assert match.casefold() in mistake(printed.err).casefold()
    shown = [line for line in printed.err.splitlines() if not line.startswith(("note:", "reading", "decoding"))]
    assert len(shown) <= 2
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_an_internal_error_is_exit_3_with_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(entry, "program", lambda: broken)
    assert run_cli(["show", "x"]) == 3
    line = capsys.readouterr().err
    log = Path(line.split("the traceback in ")[1].strip())
    assert "ZeroDivisionError: oops" in log.read_text()
    log.unlink()


def test_an_interruption_is_exit_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "program", lambda: interrupted)
    assert run_cli(["evaluate", "demo"]) == 130
    assert "give the same command again" in capsys.readouterr().err
    assert run_cli(["evaluate", "demo", "--fresh"]) == 130
    assert "give the same command without --fresh" in capsys.readouterr().err, "again would begin another run"


@pytest.mark.slow
def test_a_cluster_that_ends_the_program_interrupts_it(tmp_path: Path) -> None:
    """By SIGTERM, as SLURM does when the time is up; the next one goes on, and knows the command."""
    arguments = [sys.executable, "-m", "robench", "evaluate", "demo", "--out", str(tmp_path / "run")]
    running = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not list(tmp_path.glob("run/records/*.parquet")):
            assert running.poll() is None
            time.sleep(0.05)
        running.terminate()
        assert "give the same command again" in running.communicate(timeout=60)[1]
        assert running.returncode == 130
    finally:
        running.kill()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["environment"]["command"] == arguments[3:]


def test_files_of_another_kind_are_replaced_only_with_force(
    demo_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file, image = str(demo_run), tmp_path / "mine.png", tmp_path / "image.png"
    Image.new("RGB", (40, 40)).save(image)
    small = ["--suite", "cifar-c", "--corruption", "contrast", "--severity", "1"]
    for line in (
        ["leaderboard", run, "--out", str(file)],
        ["leaderboard", run, "--format", "markdown", "--out", str(file)],
        ["report", run, "--examples", "0", "--out", str(file)],
        ["compare", run, run, "--flips", str(file)],
        ["gate", run, "--update-baseline", "--baseline", str(file)],
        ["preview", str(image), *small, "--out", str(file)],
    ):
        file.write_text("mine")
        assert run_cli(line) == 2, line
        assert file.read_text() == "mine"
        capsys.readouterr()
        assert run_cli([*line, "--force"]) == 0, line
        assert file.read_bytes() != b"mine"
        assert run_cli(line) == 0, "a file of its own kind is replaced"
    file.write_text("mine")
    assert run_cli(["pool", run, run, "--out", str(file)]) == 2
    assert "is a file of another kind; choose another path, or write it with --force" in mistake(
        capsys.readouterr().err
    )
    assert run_cli(["pool", run, run, "--out", str(file), "--force"]) == 2
    assert "another kind" not in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([]) == 2
    assert "evaluate" in "".join(capsys.readouterr())
    assert run_cli(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    for group in ("Conditions", "Samples", "Model input", "Execution", "Run"):
        assert group in text
    assert run_cli(["--version"]) == 0
    assert capsys.readouterr().out.startswith("robench ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["suites"], "tiny-imagenet-c"),
        (["corruptions"], "jpeg_compression"),
        (["corruptions", "--suite", "cifar-c"], "sigma 0.04"),
        (["models"], "zoo:cifar_resnet56"),
        (["models", "torchvision"], "torchvision:resnet50"),
        (["metrics"], "relative_mce"),
        (["treatments"], "clean | weak | strong (clean)"),
    ],
)
def test_lists(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run_cli(["list", *arguments]) == 0
    assert expected in capsys.readouterr().out


def test_models_that_fit_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "w.pth")
    assert run_cli(["list", "models", "--fits", str(tmp_path / "w.pth")]) == 0
    assert {"torchvision:resnet18", "timm:resnet18"} < set(capsys.readouterr().out.split())
    torch.save({"mine": torch.ones(3)}, tmp_path / "w.pth")
    assert run_cli(["list", "models", "--fits", str(tmp_path / "w.pth")]) == 2
    assert "fit no known architecture" in capsys.readouterr().err


WRAPPED: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, Any]]] = {
    "distributed": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "averaged": lambda state: {"n_averaged": torch.ones(1)} | {f"module.{key}": value for key, value in state.items()},
    "EMA": lambda state: {"state_dict_ema": state, "epoch": 3},
    "Lightning": lambda state: {
        "state_dict": {"criterion.weight": torch.ones(10)} | {f"net.{key}": value for key, value in state.items()}
    },
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_models_that_fit_a_wrapped_file(wrapper: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(WRAPPED[wrapper](CifarResNet(10, depth=8).state_dict()), tmp_path / "w.pth")
    assert run_cli(["list", "models", "--fits", str(tmp_path / "w.pth")]) == 0
    assert capsys.readouterr().out.split() == ["zoo:cifar_resnet8"]


def test_models_of_a_family_or_of_the_stated_name_that_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fitting(*family: str) -> list[str]:
        assert run_cli(["list", "models", *family, "--fits", str(tmp_path / "w.pth")]) == 0
        return capsys.readouterr().out.split()

    state = resnet18(num_classes=3).state_dict()
    torch.save(state, tmp_path / "w.pth")
    assert fitting("torchvision") == ["torchvision:resnet18"]
    assert len(fitting()) > len(fitting("timm")) > 1
    torch.save({"arch": "torchvision:resnet18", "state_dict": state}, tmp_path / "w.pth")
    assert fitting() == ["torchvision:resnet18"]
    assert run_cli(["list", "models", "timm", "--fits", str(tmp_path / "w.pth")]) == 2
    assert "fits no architecture of timm\nhint: it fits torchvision:resnet18" in capsys.readouterr().err


def run_robench(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a shell, as users do; a verb that needs no torch starts in a tenth of the time."""
    program = f"{sys.executable} -m robench {arguments}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_reader_that_has_enough_is_no_error_of_robench() -> None:
    done = run_robench("list metrics | true")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_one_line() -> None:
    done = run_robench("list metrics > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_closed_output_is_one_line() -> None:
    done = run_robench("list metrics >&-")
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output is closed")


def test_a_terminal_without_the_characters(demo_run: Path) -> None:
    done = run_robench(f"show {demo_run}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "mean error" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "demo", "--out", "a" * 300],
        ["evaluate", "demo", "--data", "a" * 300],
        ["evaluate", "a" * 300 + ".pth", "--arch", "zoo:cifar_resnet20", "--data", "demo"],
        ["corrupt", "a" * 300, "--suite", "cifar-c", "--corruption", "fog", "--severity", "1", "--out", "x"],
        ["evaluate", "demo", "--seed", str(2**63)],
        ["evaluate", "demo", "--seed", "-1"],
    ],
)
def test_what_the_system_refuses_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(arguments) == 2
    assert mistake(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_interrupted_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robench.evaluation.images.open_dataset", interrupt)
    assert run_cli(["evaluate", "demo"]) == 130
    assert mistake(capsys.readouterr().err).startswith("interrupted; give the same command again")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["list", "perturbations"], "zoom_blur"),
        (["list", "perturbations", "--suite", "imagenet-p"], "sigma 0.03; sigma 0.05; sigma 0.08"),
        (["list", "perturbations", "--suite", "noise"], "salt_and_pepper"),
        (["list", "perturbations", "--suite", "shift"], "32 px down, 32 px right"),
        (["list", "suites", "--format", "json"], "frames of 224 px"),
    ],
)
def test_perturbations_are_listed(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert run_cli(arguments) == 0
    assert text in capsys.readouterr().out


def test_what_has_no_axis_has_no_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert run_cli(["list", "perturbations", "--suite", "resolution"]) == 0
    network = next(line for line in capsys.readouterr().out.splitlines() if "network" in line)
    assert network.split() == ["network", "1"]


@pytest.mark.parametrize("verb", ["evaluate", "score"])
def test_help_names_what_a_baseline_divides(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([verb, "--help"]) == 0
    text = "".join(capsys.readouterr().out.replace("│", "").split())
    assert "BaselineofCE,mCE,FR,mFRandmT5D" in text


def test_titles_of_narrow_tables_stay_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--suite", "resolution", "--resolution", "16", "--limit", "3", "--device", "cpu"]
    assert run_cli(["evaluate", "demo", *arguments, "--out", str(tmp_path / "run")]) == 0
    assert "resolution, accuracy in %, by information" in capsys.readouterr().out


def test_lists_name_the_other_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "perturbations", "--suite", "imagenet-c"]) == 2
    assert "list corruptions --suite imagenet-c" in capsys.readouterr().err
    assert run_cli(["list", "corruptions", "--suite", "imagenet-p"]) == 2
    assert "list perturbations --suite imagenet-p" in capsys.readouterr().err


def test_frames_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--suite",
        "cifar-p,shift,scale,noise,resolution",
        "--corruption",
        "rotate,crop,map,scale,gain,network",
    ]
    place = ["--limit", "6", "--out", str(tmp_path / "run"), "--resolution", "32,32,16", "--device", "cpu"]
    assert run_cli(["evaluate", "demo", *arguments, *place]) == 0
    printed = capsys.readouterr()
    for text in (
        "cifar-p mean flip rate",
        "shift crop consistency",
        "scale, accuracy in %, by scale",
        "noise area under",
    ):
        assert text in printed.out
    assert "2 of 10 perturbations evaluated" in printed.out
    assert "demo on demo · 6 images" in printed.out
    assert run_cli(["show", str(tmp_path / "run"), "--verbose"]) == 0
    assert printed.out.splitlines()[1:5] == capsys.readouterr().out.splitlines()[1:5]
    assert run_cli(["show", str(tmp_path / "run"), "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert quiet.out.splitlines() == [line for line in printed.out.splitlines() if line in quiet.out.splitlines()]
    assert quiet.err == f"results in {tmp_path / 'run'}\n"


def test_models_of_one_label_share_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = CifarResNet(10, depth=8).state_dict()
    files = [str(tmp_path / name) for name in ("sd.pth", "sd.pth.tar")]
    for file in files:
        torch.save(state, file)
    options = ["--arch", "zoo:cifar_resnet8", "--data", "demo", *SMALL, "--out", str(tmp_path / "runs")]
    assert run_cli(["evaluate", *files, *options]) == 2
    assert "two models have the label sd" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_file_of_jobs_among_the_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values of the file replace those of the options, job by job; each run has its label below --out."""
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(
        'treatment = ["bn-prior"]\n[[job]]\nmodel = "demo"\n'
        '[[job]]\nmodel = "demo"\ntreatment = ["localnorm"]\nsuite = ["clean", "cifar-c"]\n'
    )
    arguments = ["--limit", "10", "--corruption", "contrast", "--severity", "5", "--device", "cpu"]
    assert run_cli(["evaluate", str(jobs), "demo", *arguments, "--out", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().err.count("results in") == 3
    runs = {path.name: RunDirectory.open(path) for path in (tmp_path / "runs").iterdir()}
    assert {name: run.manifest["options"]["treatment"] for name, run in runs.items()} == {
        "demo+bn-prior_N=16_n=8": ["bn-prior"],
        "demo+localnorm_g=16": ["localnorm"],
        "demo": [],
    }
    assert all(len(run.finished()) == 2 and run.manifest["data"]["samples"] == 10 for run in runs.values())


def test_a_quiet_evaluation_keeps_its_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "demo", "--suite", "clean", "--limit", "4", "--mean", "0.9,0.9,0.9", "-q"]
    assert run_cli([*command, "--out", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["warning", "warning"]
    assert "--mean 0.9,0.9,0.9 differs" in lines[0]
