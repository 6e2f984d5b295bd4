"""Oracle: a model of a terminal, which shows the characters that a user sees."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextvars import Context
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from robench.analysis.baselines import load_baseline
from robench.display.board import RunBoard
from robench.display.progress import LineProgress, LiveProgress, long_run_hint
from robench.errors import RunError, flags_shown
from robench.runs.conditions import ConditionEntry
from robench.runs.observer import EVALUATING, ConditionScore, FinishedCondition, StartedRun, WorkerState
from robench.suites import CLEAN, SUITES
from tests.builders import each
from tests.display.screen import Screen


def entries(suite: str, severities: tuple[int, ...] = (1, 2, 3, 4, 5)) -> list[ConditionEntry]:
    cells = [(name, severity) for name in SUITES[suite].names for severity in severities]
    return [
        ConditionEntry(f"{suite}-{name}-{level}", suite, name, level, 32, "protocol", "computed", CLEAN)
        for name, level in cells
    ]


def started(*suites: str, model: str = "resnet", path: str = "runs/resnet") -> StartedRun:
    clean = ConditionEntry(CLEAN, CLEAN, CLEAN, 0, 32, "protocol", "computed", CLEAN)
    conditions = (clean, *(one for suite in suites for one in entries(suite)))
    return StartedRun(Path(path), model, "cifar10", 200, 10, "cpu", conditions, estimate=lambda: 93.0)


def finished(run: StartedRun, condition: ConditionEntry, error: float = 0.25) -> FinishedCondition:
    return FinishedCondition(run.path, condition, ConditionScore("error_rate", error), run.samples, 0.5)


def terminal(width: int, height: int) -> Console:
    return Console(file=StringIO(), force_terminal=True, width=width, height=height, highlight=False, _environ={})


def shown(console: Console, screen: Screen) -> Screen:
    assert isinstance(console.file, StringIO)
    screen.feed(console.file.getvalue())
    console.file.seek(0)
    console.file.truncate()
    return screen


@each(
    "size, suites, workers",
    [
        ((80, 24), ("cifar-c",), 0),
        ((100, 30), ("cifar-c", "tiny-imagenet-c", "imagenet-64-c", "imagecorruptions"), 40),
        ((40, 12), ("cifar-c", "tiny-imagenet-c"), 3),
        ((20, 5), ("cifar-c",), 1),
    ],
)
def test_the_view_erases_nothing_and_never_wraps(size: tuple[int, int], suites: tuple[str, ...], workers: int) -> None:
    console, screen = terminal(*size), Screen(*size)
    console.print("before")
    run, other = started(*suites), started("cifar-c", model="other", path="runs/other")
    with LiveProgress(console, per_second=0) as display:
        display.phase("loading torch", 0)
        display.refresh()
        for one in (run, other):
            display.begin(one)
        display.phase(EVALUATING, sum(len(one.conditions) for one in (run, other)) * 200)
        for number, condition in enumerate(run.conditions):
            display.advance(200)
            display.workers([WorkerState(f"w{k}", "a-node-with-a-long-name", "fog", 5, 900.5) for k in range(workers)])
            display.condition(finished(run, condition, number / len(run.conditions)))
            if number == 5:
                display.note("seen")
                display.note("seen")
            display.refresh()
            view = shown(console, screen)
            assert view.lines[0] == "before"
            assert view.wraps == 0
            assert not [line for line in view.history if "gaussian_noise" in line], "the view does not scroll"
        with display.paused():
            console.print("the end")
    lines = shown(console, screen).lines
    assert screen.cursor_shown
    assert screen.wraps == 0
    assert [line for line in lines if line in ("before", "note: seen", "the end")] == [
        "before",
        "note: seen",
        "the end",
    ]
    assert not [line for line in lines if set(line) & set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏━")], "no stale bar"


@each("seconds, samples, hint", [(1700, 50000, None), (1900, 50000, "1000"), (90000, 800, "100")])
def test_a_long_run_has_one_hint(seconds: float, samples: int, hint: str | None) -> None:
    run = replace(started("cifar-c"), samples=samples, estimate=lambda: seconds)
    for kind, console in ((LineProgress, Console(file=StringIO(), width=200)), (LiveProgress, terminal(200, 24))):
        with flags_shown(), kind(console) as display:
            display.begin(run)
            display.begin(replace(run, path=Path("runs/other")))
        assert isinstance(console.file, StringIO)
        text = console.file.getvalue()
        assert text.count("hint: ") == (hint is not None)
        assert hint is None or f"-n {hint} evaluates fewer images, and --preset ci takes minutes" in text
    if hint is not None:
        assert f'limit={hint} evaluates fewer images, and preset="ci"' in Context().run(long_run_hint, seconds, samples)


def test_an_error_leaves_the_cursor_and_says_what_is_finished() -> None:
    console, screen, run = terminal(80, 24), Screen(80, 24), started("cifar-c")

    def fail() -> None:
        with LiveProgress(console, per_second=0) as display:
            display.begin(run)
            display.phase(EVALUATING, 1000)
            for condition in run.conditions[:7]:
                display.condition(finished(run, condition))
            display.refresh()
            console.file.write("^C")  # The terminal echoes it.
            assert not shown(console, screen).cursor_shown
            raise RunError("no space left")

    with pytest.raises(RunError):
        fail()
    text = " ".join(shown(console, screen).lines)
    assert "gaussian_noise" not in text
    assert screen.cursor_shown
    assert text.endswith("33 s resnet: 7 of 96 conditions are finished, in runs/resnet")


def test_running_means_are_those_of_the_finished_cells() -> None:
    """Oracle: a division by AlexNet's published mean errors, by hand."""
    divisor = load_baseline("alexnet").severities("gaussian_noise")
    assert divisor is not None
    run = replace(started("imagenet-c"), divisors={"imagenet-c": {"gaussian_noise": float(divisor.mean())}})
    board = RunBoard(run)
    own = board.of_suite("imagenet-c")
    board.scores |= {one.name: ConditionScore("error_rate", 0.1 * one.severity) for one in own[:5]}
    assert board.suite_text("imagenet-c") == f"mean error 30.0 %, mCE {30 / divisor.mean():.1f}"
    board.scores[own[5].name] = ConditionScore("error_rate", 0.9)
    assert board.suite_text("imagenet-c").startswith("mean error 40.0 %"), "six cells; shot_noise has no CE yet"
    speckle = next(one for one in own if one.corruption == "speckle_noise")
    board.scores[speckle.name] = ConditionScore("error_rate", 1.0)
    assert board.suite_text("imagenet-c").startswith("mean error 40.0 %"), "an extra corruption"
    table = "\n".join(line.plain for line in board.lines(79, 12))
    assert "gaussian_noise      10.0  20.0  30.0  40.0  50.0  30.0" in table
    assert "weather (4)" in table, "categories close until the table fits"
    assert len(board.lines(79, 12)) <= 12


def test_lines_for_a_file_are_one_for_each_corruption() -> None:
    console, run = Console(file=StringIO(), width=40, soft_wrap=True, highlight=False), started("cifar-c")
    with LineProgress(console) as display:
        display.begin(run)
        display.phase(EVALUATING, 1000)
        for condition in run.conditions[:9]:
            display.condition(finished(run, condition, 0.1 * condition.severity))
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines() == [
        "resnet on cifar10 · 200 images, 10 classes · cpu · 96 conditions · about 1 min 33 s",
        "clean: 0.0 % error · 1 of 96 conditions",
        "cifar-c gaussian_noise: 30.0 % error (10.0 20.0 30.0 40.0 50.0) · 6 of 96 conditions",
    ]


@pytest.mark.slow(minutes=0.3)
@pytest.mark.parametrize("size", [(80, 24), (100, 30)])
def test_a_run_in_a_terminal_ends_with_its_path(size: tuple[int, int], tmp_path: Path) -> None:
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    small = ["--corruption", "contrast,fog", "--severity", "1,5", "--limit", "40", "--device", "cpu"]
    command = [sys.executable, "-m", "robench", "evaluate", "demo", *small, "--out", "run"]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, cwd=tmp_path, env=environment) as process:
        os.close(other)
        content = b""
        while True:
            try:
                content += os.read(main, 65536)
            except OSError:  # The other end is closed.
                break
        os.close(main)
    assert process.returncode == 0
    screen = Screen(*size)
    screen.feed(content.decode().replace("\r\n", "\n"))
    assert "loading torch" in content.decode()[:200]
    text = "\n".join(screen.lines)
    assert screen.cursor_shown
    assert screen.wraps == 0
    assert max(map(len, screen.lines)) <= size[0]
    assert screen.lines[-2:] == ["results in run", "next: robench report run · robench compare run OTHER"]
    assert text.index("demo on demo") < text.index("cifar-c mean error") < text.index("results in run")
    assert "evaluating" not in text
    assert "scoring" not in text
