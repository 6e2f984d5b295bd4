"""Progress of runs, read from outside. Oracles: changes that the test made to the run, and a table of states by hand."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from robench.cli.entry import run_cli
from robench.errors import RunError
from robench.runs import progress, status
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.lock import is_locked, lock_run
from robench.runs.observer import ConditionScore, FinishedCondition, StartedRun, WorkerState
from robench.runs.progress import PROGRESS, Heartbeat, Note, Progress, read_progress
from tests.analysis.gate.invented import write_run
from tests.builders import mistake
from tests.evaluation.test_shards import part, records

CELLS: dict[tuple[str, int], list[bool]] = {("clean", 0): [False] * 30, ("fog", 1): [True] * 30}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.open(write_run(tmp_path / "run", CELLS, metrics=["error_rate"]))


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def started(path: Path, conditions: int = 1, done: int = 0) -> StartedRun:
    entries = tuple(
        ConditionEntry(f"fog-{n}", "cifar-c", "fog", n, 32, "protocol", "computed", "clean") for n in range(conditions)
    )
    scores = {entry.name: ConditionScore("error_rate", 0.5) for entry in entries[:done]}
    return StartedRun(path, "model", "data", 96, 10, "cpu", entries, scores)


def write(path: Path, progress: Progress) -> None:
    (path / PROGRESS).write_text(json.dumps(asdict(progress)))


def test_what_a_run_says_of_itself(tmp_path: Path) -> None:
    with Heartbeat("ray", every=0) as beat:
        beat.phase("decoding at x", 10)
        beat.note("before there is a folder")
        assert read_progress(tmp_path) is None
        beat.begin(started(tmp_path, conditions=5, done=2))
        beat.phase("evaluating", 3000)
        beat.workers([WorkerState("w1", "node", "fog"), WorkerState("w2", "node")])
        beat.workers([WorkerState("w1", "node", "snow", 64, 12.5)])
        beat.advance(64)
        beat.advance(32)
        run = started(tmp_path)
        beat.condition(FinishedCondition(tmp_path, run.conditions[0], ConditionScore("error_rate", 0.5), 96, 1.0))
        found = read_progress(tmp_path)
        assert found is not None
        assert (found.state, found.phase, found.done, found.total) == ("running", "evaluating", 96, 3000)
        assert (found.conditions_done, found.conditions, found.engine) == (3, 5, "ray")
        assert found.workers == (WorkerState("w1", "node", "snow", 64, 12.5),)
        assert [note.text for note in found.notes] == ["before there is a folder"]
        assert found.host == socket.gethostname()
        assert found.started <= found.updated
    ended = read_progress(tmp_path)
    assert ended is not None
    assert (ended.state, ended.workers) == ("finished", ())
    assert [file.name for file in tmp_path.iterdir()] == [PROGRESS]


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt(), "interrupted"), (RunError("no space\nleft"), "failed")]
)
def test_how_it_ended(tmp_path: Path, error: BaseException, state: str) -> None:
    beat = Heartbeat()
    beat.begin(started(tmp_path))
    with pytest.raises(type(error)), beat:
        raise error
    found = read_progress(tmp_path)
    assert found is not None
    assert found.state == state
    assert bool(found.notes) == (state == "failed")


def test_it_writes_seldom_and_the_speed_is_of_the_last_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, []
    monkeypatch.setattr("robench.runs.progress.time.monotonic", lambda: now)
    beat = Heartbeat()
    beat.begin(started(tmp_path))
    beat.phase("evaluating", 10**6)
    for images in [10] * 3000 + [50] * 1000:  # 100 images/s for 5 minutes, then 500.
        now += 0.1
        beat.advance(images)
        written.append((tmp_path / PROGRESS).stat().st_ino)
    assert 350 <= len([one for one, other in pairwise(written) if one != other]) + 1 <= 401
    found = read_progress(tmp_path)
    assert found is not None
    assert found.images_per_second == pytest.approx(500, rel=0.03)


def test_where_it_cannot_be_written_the_run_goes_on(tmp_path: Path) -> None:
    beat = Heartbeat(every=0)
    beat.begin(started(tmp_path / "absent"))
    beat.advance(1)
    (tmp_path / PROGRESS).mkdir()
    beat.begin(started(tmp_path))
    assert read_progress(tmp_path) is None


def test_damaged_progress_is_none(tmp_path: Path) -> None:
    write(tmp_path, Progress(updated=ago(0), workers=(WorkerState("w"),), notes=(progress.Note(ago(0), "e"),)))
    whole = (tmp_path / PROGRESS).read_bytes()
    assert read_progress(tmp_path) is not None
    for end in range(0, len(whole), 7):
        (tmp_path / PROGRESS).write_bytes(whole[:end])
        assert read_progress(tmp_path) is None
    cells = json.loads(whole)
    others: list[Any] = [None, [], {}, "x", True, [[]], [{}], [1], 1.5, [{"name": 3}]]
    for name in cells:
        for other in others:
            (tmp_path / PROGRESS).write_text(json.dumps({**cells, name: other}))
            found = read_progress(tmp_path)
            assert found is None or (type(getattr(found, name)) is type(getattr(Progress(), name)))
        (tmp_path / PROGRESS).write_text(json.dumps({key: one for key, one in cells.items() if key != name}))
        read_progress(tmp_path)
    for text in ("[]", "3", "null", "[" * 100_000, "\x00", '{"workers": 3, "notes": 1}'):
        (tmp_path / PROGRESS).write_text(text)
        assert read_progress(tmp_path) is None


HERE, ELSEWHERE = socket.gethostname(), "another.invalid"


@pytest.mark.parametrize(
    ("locked", "whole", "progress", "expected"),
    [
        (True, False, None, "running"),
        (True, False, ("running", HERE, 900), "running"),
        (True, True, ("finished", HERE, 900), "finished"),
        (False, True, None, "finished"),
        (False, False, None, "interrupted"),
        (False, False, ("running", HERE, 1), "interrupted"),
        (False, True, ("running", HERE, 1), "finished"),
        (False, False, ("running", ELSEWHERE, 1), "running"),
        (False, False, ("running", ELSEWHERE, 90), "stalled"),
        (None, False, ("running", HERE, 1), "running"),
        (None, False, ("running", HERE, 90), "stalled"),
        (False, False, ("failed", HERE, 1), "failed"),
        (False, False, ("interrupted", ELSEWHERE, 1), "interrupted"),
        (False, False, ("finished", HERE, 1), "interrupted"),  # A records file was deleted since.
    ],
)
def test_states(
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    locked: bool | None,
    whole: bool,
    progress: tuple[str, str, float] | None,
    expected: str,
) -> None:
    monkeypatch.setattr(status, "is_locked", lambda _: locked)
    if not whole:
        run.records_path("cifar-c-fog-1-32px").unlink()
    if progress is not None:
        state, host, age = progress
        write(run.path, Progress(state, updated=ago(age), host=host, pid=1))
    found = status.status(run.path)
    assert found.state == expected
    assert (found.conditions_done, found.conditions) == (1 + whole, 2)
    assert (found.images_done, found.images) == (30 * (1 + whole), 60)
    assert bool(found.next) == (expected != "running")
    assert ("on another.invalid is alive" in found.next) == (expected == "stalled" and progress[1] == ELSEWHERE)  # type: ignore[index]


def test_images_of_parts_and_of_the_phase_are_counted(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.records_path("cifar-c-fog-1-32px").unlink()
    run.write_shard("cifar-c-fog-1-32px", 0, 8, part(records(30, 1), 1, 0, 8))
    run.write_shard("cifar-c-fog-1-32px", 20, 30, part(records(30, 1), 1, 20, 30))
    assert status.status(run.path).images_done == 30 + 18
    monkeypatch.setattr(status, "is_locked", lambda _: True)
    now = Progress(phase="evaluating", done=24, total=30, images_per_second=2.0, updated=ago(1))
    write(run.path, now)
    found = status.status(run.path)
    assert (found.images_done, found.images_per_second, found.seconds_left) == (30 + 24, 2.0, 3.0)
    write(run.path, replace(now, phase="scoring", total=0, done=0))
    assert (status.status(run.path).seconds_left, status.status(run.path).images_done) == (None, 48)


_CODE = """
import sys, time
from pathlib import Path
from robench.runs.progress import Heartbeat
from robench.runs.directory import RunDirectory
from robench.runs.lock import lock_run
from robench.runs.observer import StartedRun
run = RunDirectory.open(sys.argv[1])
with lock_run(run.path), Heartbeat() as beat:
    beat.begin(StartedRun(run.path, "model", "data", 30, 10, "cpu", tuple(run.conditions)))
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_process(run: RunDirectory) -> None:
    assert is_locked(run.path) is False, "nothing ever held it"
    run.records_path("cifar-c-fog-1-32px").unlink()
    process = subprocess.Popen([sys.executable, "-c", _CODE, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "ready\n"
        found = status.status(run.path)
        assert (found.state, found.pid, is_locked(run.path)) == ("running", process.pid, True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = status.status(run.path)
    assert (found.state, is_locked(run.path)) == ("interrupted", False)
    assert "the same `robench evaluate` resumes the run" in found.next


def test_looking_never_refuses_a_run_that_begins(run: RunDirectory) -> None:
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            is_locked(run.path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            with lock_run(run.path):
                pass
    finally:
        ended.set()
        looking.join()


def lines(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    code = run_cli(["status", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_verb(run: RunDirectory, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest: dict[str, Any] = dict(run.manifest)
    started = {**manifest, "environment": {"command": ["evaluate", "a b.pth", "--data", "x"]}}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(started))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "new").mkdir()
    write(tmp_path / "new", Progress(updated=ago(0), host=ELSEWHERE, phase="decoding"))
    code, out, _ = lines(capsys, tmp_path, "--format", "json")
    found = {Path(one["path"]).name: one for one in json.loads(out)}
    assert code == 0
    states = {name: one["state"] for name, one in found.items()}
    assert states == {"run": "finished", "other": "interrupted", "broken": "damaged", "new": "running"}
    assert found["other"]["next"] == "`robench evaluate 'a b.pth' --data x` resumes the run"
    began = ["evaluate", "a.pth", "--fresh", "--out", str(tmp_path / "other")]
    (tmp_path / "other.1").mkdir()
    for name in ("other", "other.1"):
        again = {**manifest, "environment": {"command": began}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(again))
        _, out, _ = lines(capsys, tmp_path / name, "--format", "json")
        expected = f"`robench evaluate a.pth --out {tmp_path / name}` resumes the run"
        assert json.loads(out)[0]["next"] == expected, "--fresh would begin another run, and has moved one aside"
    code, out, _ = lines(capsys, run.path)
    assert (code, "finished" in out, "100 %" in out, "robench show" in out) == (0, True, True, True)
    assert lines(capsys, run.path, "--watch")[0] == 0, "nothing runs, so it ends"
    assert lines(capsys, run.path, "--watch", "--format", "json")[0] == 2
    assert lines(capsys, run.path, "--format", "xml")[0] == 2
    (tmp_path / "empty").mkdir()
    for path, text in ((tmp_path / "absent", "is not a directory"), (tmp_path / "empty", "there is no run in")):
        code, out, error = lines(capsys, path)
        assert (code, out, text in mistake(error)) == (2, "", True)


def test_names_of_runs_are_whole_in_80_columns(
    run: RunDirectory, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs in a folder of the folder are listed too. Notes are printed on demand."""
    monkeypatch.chdir(tmp_path)
    names = ["resnet20-cifar10-cifar-c_cifar-p_shift_occlusion_noise_resolution_scale", "two/a", "two/b"]
    for name in names:
        shutil.copytree(run.path, Path("runs") / name)
        write(Path("runs") / name, Progress("finished", updated=ago(90000), notes=(Note(ago(0), "an old note"),)))
    for columns in (80, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = lines(capsys, "runs")
        assert code == 0
        assert max(map(len, out.splitlines())) <= columns
        starts = [line.split()[0] for line in out.splitlines()[1:] if line]
        assert "".join(starts) == "".join(f"runs/{name}" for name in names)
        assert out.count("1 d ago") == 3
        assert ("images/s" in out, "an old note" in out) == (False, False)
    assert "runs/two/b: " in lines(capsys, "runs", "--notes")[1]


def test_watching_sees_the_end(run: RunDirectory, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run.path, Progress(updated=ago(0), host=ELSEWHERE, workers=(WorkerState("w1", "n1", "fog", 30, 5.0),)))
    looks = iter([None, KeyboardInterrupt, None])

    def sleep(_: float) -> None:
        if (error := next(looks)) is not None:
            raise error
        write(run.path, Progress("finished", updated=ago(0), host=ELSEWHERE))

    monkeypatch.setattr("robench.cli.status.time.sleep", sleep)
    code, out, _ = lines(capsys, run.path, "--watch")
    assert (code, "finished" in out) == (0, True)
    write(run.path, Progress(updated=ago(0), host=ELSEWHERE))
    code, out, error = lines(capsys, run.path, "--watch")
    assert (code, "running" in out, error) == (0, True, ""), "Ctrl-C ends the looking"
