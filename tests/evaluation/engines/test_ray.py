"""The engine over Ray, on nodes that are really started and faults that really happen; the oracle is the local engine's run."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench.display.run import Run
from robench.errors import DatasetError, OptionError, RunError
from robench.evaluation import shards
from robench.evaluation.engines import Local
from robench.evaluation.engines.ray_cluster import import_ray
from robench.evaluation.options import Options
from robench.evaluation.run import Job, evaluate_jobs
from robench.models import load_classifier
from robench.runs.directory import RunDirectory
from robench.runs.observer import EVALUATING, FinishedCondition, Observer, WorkerState
from tests.builders import run_files

pytest.importorskip("ray", reason="needs Ray: pip install 'robench[ray]'")
# Ray's own: it leaves sockets and log files to the collector, and calls what newer libraries deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SOME = Options(corruption=["gaussian_noise", "contrast"], severity=[1, 3, 5], batch_size=7)
FRAMES = Options(corruption=["gaussian_noise", "translate"], batch_size=4)
Started = Callable[..., Any]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Collect Ray's garbage here, where its warnings are expected."""
    yield
    gc.collect()


@contextmanager
def started() -> Iterator[Any]:
    """A cluster whose head computes nothing; nodes of one core are added by the test."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def own_cluster() -> Iterator[Any]:
    """A head of the test's own, for tests that end nodes or drivers."""
    with started() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def _head() -> Iterator[Any]:
    with started() as cluster:
        yield cluster


@pytest.fixture
def cluster(_head: Any) -> Iterator[Any]:
    """The head that tests share, one after another; the nodes are the test's own."""
    yield _head
    for node in list(_head.worker_nodes):
        _head.remove_node(node)


def job(
    data: Path,
    out: Path,
    options: Options = SOME,
    suite: str = "cifar-c",
    model: str = "demo",
    crop: int | None = None,
) -> Job:
    images = robench.open_dataset(data, _names(data))
    return Job(lambda: load_classifier(model, device="cpu", crop=crop), images, [suite], out, options)


def _names(data: Path) -> Path:
    """Ten classes for the demo's model, of which the pictures have three."""
    file = data.parent / "classes.txt"
    if not file.exists():
        file.write_text("ant\nbee\ncow\n" + "".join(f"class{number}\n" for number in range(7)))
    return file


def locally(*jobs: Job) -> list[Run]:
    return list(evaluate_jobs(jobs, Local(threads=1)))


def events(path: Path) -> list[str]:
    return [event["kind"] for event in RunDirectory.open(path).manifest.get("events", [])]


def ray_engine(cluster: Any, workers: int) -> Any:
    from robench.evaluation.engines import Ray

    return Ray(cluster.address, workers, "cpu", 1)


class Once(Observer):
    """Does something when the first condition is finished."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act, self.struck = act, False
        self.notes: list[str] = []

    def condition(self, finished: FinishedCondition) -> None:
        if not self.struck:
            self.struck = True
            self._act()

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.slow(minutes=0.5)
def test_one_worker_started_here_gives_the_same_bytes(picture_folder: Path, tmp_path: Path) -> None:
    from robench.evaluation.engines import Ray

    # Sets of other images come after the run on the same workers.
    sets = [f"near={picture_folder / 'ant'}", f"far={picture_folder / 'bee'}"]
    mine = job(picture_folder, tmp_path / "ray", Options(corruption=["contrast"], severity=[5], batch_size=7, ood=sets))
    list(evaluate_jobs([mine], Ray(None, 1, "cpu", 1)))
    locally(Job(mine.load, mine.dataset, mine.suites, tmp_path / "local", mine.options))
    assert run_files(tmp_path / "ray") == run_files(tmp_path / "local")
    assert not events(tmp_path / "ray")


@pytest.mark.slow(minutes=1)
def test_two_nodes_and_several_models_give_the_same_bytes(
    cluster: Any, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_FRAMES", 30)  # Several shards a condition, and parts of files.
    for _ in range(2):
        cluster.add_node(num_cpus=1)

    def jobs(folder: Path) -> list[Job]:
        return [
            job(picture_folder, folder / "frames", FRAMES, "cifar-p"),
            job(picture_folder, folder / "single", SOME),
            job(
                picture_folder,
                folder / "treated",
                Options(corruption=["contrast"], treatment=["bn-test:n=9"]),
                "cifar-c",
            ),
        ]

    runs = list(evaluate_jobs(jobs(tmp_path / "ray"), ray_engine(cluster, 2)))
    assert {run.path.name for run in runs} == {"frames", "single", "treated"}
    locally(*jobs(tmp_path / "local"))
    for name in ("frames", "single", "treated"):
        assert run_files(tmp_path / "ray" / name) == run_files(tmp_path / "local" / name)


@pytest.mark.nightly
def test_a_node_that_joins_later_is_used(cluster: Any, tmp_path: Path) -> None:
    """The head has no core, as that of a Kubernetes cluster: what it evaluates with joins one by one."""
    from robench.evaluation.engines import Ray

    class Watching(Once):
        seen: ClassVar[set[str]] = set()

        def phase(self, name: str, total: int) -> None:
            if name == "starting workers":
                cluster.add_node(num_cpus=1)

        def workers(self, states: Sequence[WorkerState]) -> None:
            self.seen.update(one.node for one in states if one.images)

    watching = Watching(lambda: cluster.add_node(num_cpus=1))
    mine = Job(lambda: load_classifier("demo", device="cpu"), "demo", ["cifar-c"], tmp_path / "run")
    list(evaluate_jobs([mine], Ray(cluster.address, None, "cpu", 1), watching))
    assert len(watching.seen) == 2
    assert not events(tmp_path / "run")


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("fault", ["worker", "node"])
def test_a_lost_worker_costs_nothing(
    own_cluster: Any, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(shards, "_FRAMES", 6)
    nodes = {node.node_id[:6]: node for node in (own_cluster.add_node(num_cpus=1), own_cluster.add_node(num_cpus=1))}
    engine = ray_engine(own_cluster, 2)

    def strike() -> None:
        victim = next((one for one in engine._pool.workers if one.call), engine._pool.ready[0])
        if fault == "node":
            own_cluster.remove_node(nodes[victim.node.rpartition("/")[2]], allow_graceful=False)
        else:
            os.kill(victim.pid, signal.SIGKILL)

    watch = Once(strike)
    list(evaluate_jobs([job(picture_folder, tmp_path / "ray")], engine, watch))
    assert watch.struck
    locally(job(picture_folder, tmp_path / "local"))
    assert run_files(tmp_path / "ray") == run_files(tmp_path / "local")
    # A node's worker may do what it has left before it hears that its node is gone.
    # On a busy machine Ray may count others as lost too.
    assert set(events(tmp_path / "ray")) <= {"worker lost"}, watch.notes
    assert events(tmp_path / "ray") or fault != "worker"
    assert not list((tmp_path / "ray" / "records").glob(".*"))


@pytest.mark.slow(minutes=2)
def test_workers_that_would_compute_something_else_are_left_out(
    cluster: Any, picture_folder: Path, tmp_path: Path
) -> None:
    """A node with no room for decoded images, one with other draws; the third does it all."""
    (tmp_path / "full").write_text("")
    other = tmp_path / "other"
    shutil.copytree(Path(robench.__file__).parent, other / "robench")
    draws = other / "robench" / "transforms" / "draws.py"
    draws.write_text(draws.read_text().replace("DRAWS_VERSION = ", "DRAWS_VERSION = 1000 + "))
    cluster.add_node(num_cpus=1, env_vars={"ROBENCH_CACHE": str(tmp_path / "full" / "cache")})
    cluster.add_node(
        num_cpus=1, env_vars={"PYTHONPATH": os.pathsep.join([str(other), os.environ.get("PYTHONPATH", "")])}
    )
    cluster.add_node(num_cpus=1)
    engine = ray_engine(cluster, 3)

    class Waiting(Once):
        def phase(self, name: str, total: int) -> None:
            if name == EVALUATING:  # Else the third could do all before the others have started.
                pending = [one.info for one in engine._pool.workers if one.info is not None]
                import_ray().wait(pending, num_returns=len(pending), timeout=120) if pending else None

    watch = Waiting(lambda: None)
    list(evaluate_jobs([job(picture_folder, tmp_path / "ray")], engine, watch))
    locally(job(picture_folder, tmp_path / "local"))
    assert run_files(tmp_path / "ray") == run_files(tmp_path / "local")
    assert events(tmp_path / "ray") == ["worker rejected"] * 2
    text = "\n".join(watch.notes)
    assert "draws" in text
    assert "instead of" in text
    assert "set ROBENCH_CACHE to another folder" in text


@pytest.mark.slow(minutes=1)
def test_a_terminated_driver_ends_in_order(own_cluster: Any, tmp_path: Path) -> None:
    """By SIGTERM, for which Ray has a handler that dumps the native stack."""
    own_cluster.add_node(num_cpus=1)
    command = [*(sys.executable, "-m", "robench", "evaluate", "demo", "--out", str(tmp_path / "run"))]
    command += ["--engine", "ray", "--address", own_cluster.address, "--workers", "1", "--device", "cpu"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run" / "records").glob("*.parquet")):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.terminate()
    said = driver.communicate(timeout=120)[1]
    assert driver.returncode == 130, said
    assert "SIGTERM" not in said
    assert "give the same command again" in said


@pytest.mark.slow(minutes=2)
def test_a_killed_driver_is_resumed(own_cluster: Any, picture_folder: Path, tmp_path: Path) -> None:
    own_cluster.add_node(num_cpus=1)
    options = ["--suite", "cifar-c", "--corruption", "gaussian_noise,contrast", "--batch-size", "7", "--class-map"]
    command = [
        *(sys.executable, "-m", "robench", "evaluate", "demo", "--data", str(picture_folder), *options),
        *(
            str(_names(picture_folder)),
            "--out",
            str(tmp_path / "ray"),
            "--engine",
            "ray",
            "--address",
            own_cluster.address,
        ),
        *("--workers", "1", "--device", "cpu"),
    ]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list((tmp_path / "ray" / "records").glob("cifar-c-*")) and driver.poll() is None:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    begun = len(list((tmp_path / "ray" / "records").glob("*.parquet")))
    assert 1 < begun < 11
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resuming {tmp_path / 'ray'}" in done.stderr
    some = Options(corruption=["gaussian_noise", "contrast"], batch_size=7)
    locally(job(picture_folder, tmp_path / "local", some))
    assert run_files(tmp_path / "ray") == run_files(tmp_path / "local")


@pytest.mark.slow(minutes=1)
def test_where_no_worker_can_the_reason_is_said(cluster: Any, picture_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    cluster.add_node(num_cpus=1, env_vars={"ROBENCH_CACHE": str(tmp_path / "full" / "cache")})
    with pytest.raises(RunError, match="no worker can evaluate demo: cannot keep decoded images"):
        list(evaluate_jobs([job(picture_folder, tmp_path / "ray")], ray_engine(cluster, 1)))
    assert events(tmp_path / "ray") == ["worker rejected", "failed"]


@pytest.mark.slow(minutes=1)
def test_a_shard_that_ends_every_worker_stops_its_run_alone(
    own_cluster: Any, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that needs more memory than any machine has: three workers are enough to tell."""
    own_cluster.add_node(num_cpus=1)
    (tmp_path / "fatal.py").write_text(
        "import os, torch\n\n\nclass Fatal(torch.nn.Module):\n    def forward(self, images):\n"
        "        if os.environ.get('DRIVER') != str(os.getpid()) and len(images) > 2:\n            os._exit(1)\n"
        "        return images.mean(dim=(2, 3)) @ torch.ones(3, 3)\n\n\ndef fatal():\n    return Fatal()\n"
    )
    monkeypatch.setenv("DRIVER", str(os.getpid()))
    fatal = job(picture_folder, tmp_path / "ray", model=f"{tmp_path / 'fatal.py'}:fatal", crop=224)
    sound = job(picture_folder, tmp_path / "sound", Options(corruption=["contrast"], severity=[1], batch_size=7))
    jobs = [Job(fatal.load, picture_folder, ["clean"], fatal.out), sound]
    finished: list[Run] = []
    with pytest.raises(RunError, match="clean-224px of fatal ended 3 workers"):
        finished.extend(evaluate_jobs(jobs, ray_engine(own_cluster, 1)))
    assert [run.path for run in finished] == [tmp_path / "sound"]
    assert events(tmp_path / "ray") == ["worker lost"] * 3 + ["failed"]
    assert "failed" not in events(tmp_path / "sound")


def test_recipes_are_checked(picture_folder: Path, tmp_path: Path) -> None:
    """Other images, or another model, under the same names: what a machine may have that was not brought up to date."""
    from robench.errors import CheckpointError
    from robench.evaluation.prepare import prepare
    from robench.evaluation.spec import EvaluatorSpec

    data = shutil.copytree(picture_folder, tmp_path / "pictures")
    weights = tmp_path / "model.pt"
    torch.save(load_classifier("demo", device="cpu").module.state_dict(), weights)
    classifier = load_classifier(str(weights), "zoo:cifar_resnet8", "cpu")
    dataset = robench.open_dataset(data, _names(data))
    prepared = prepare(classifier, dataset, ["clean"], tmp_path / "run", Options(), Observer())
    recipe = prepared.spec
    assert isinstance(recipe, EvaluatorSpec)
    made = recipe.build("cpu")
    assert made.evaluate(prepared.shards(prepared.plan.conditions[0])[0]).batch_size == 64
    picture = next(data.rglob("*.png"))
    shutil.copy(next(one for one in data.rglob("*.png") if one.read_bytes() != picture.read_bytes()), picture)
    recipe.build("cpu")  # The cache has the pixels of the right ones, by their content.
    shutil.rmtree(os.environ["ROBENCH_CACHE"])
    with pytest.raises(DatasetError, match="has other images here, 1 of 30, for example"):
        recipe.build("cpu")
    torch.save(load_classifier("demo", device="cpu").module.half().state_dict(), weights)
    with pytest.raises(CheckpointError, match="is another file here"):
        recipe.build("cpu")


def released_files(data: Path, folder: Path) -> Path:
    """Pictures of noise under two severities of contrast, one for each sample."""
    rng = np.random.default_rng(0)
    for severity in ("1", "5"):
        for picture in data.rglob("*.png"):
            file = folder / "contrast" / severity / picture.parent.name / f"{picture.stem}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return folder


def test_a_recipe_tells_released_files_from_others(picture_folder: Path, tmp_path: Path) -> None:
    from robench.evaluation.prepare import prepare

    files = released_files(picture_folder, tmp_path / "files")
    mine = job(picture_folder, tmp_path / "run", Options(corruption=["contrast"], severity=[1, 5], released=files))
    recipe = prepare(mine.load(), mine.dataset, ["cifar-c"], mine.out, mine.options, Observer()).spec
    assert recipe is not None
    recipe.build("cpu")
    changed = next((files / "contrast" / "5").rglob("*.JPEG"))
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(DatasetError, match=r"--released has other files here, .* of cifar-c-contrast-5-32px"):
        recipe.build("cpu")
    changed.unlink()
    with pytest.raises(DatasetError, match="has no released file"):
        recipe.build("cpu")


class Changing(Observer):
    """Changes a file when the driver has checked it and no worker has: what another machine's would be."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def phase(self, name: str, total: int) -> None:
        if name == EVALUATING:
            self._file.write_bytes(self._file.read_bytes() + b"\0")


@pytest.mark.slow(minutes=1)
def test_released_files_give_the_same_bytes_and_others_are_refused(
    cluster: Any, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_FRAMES", 12)  # Several shards a condition: not all begin with its first file.
    cluster.add_node(num_cpus=1)
    files = released_files(picture_folder, tmp_path / "files")
    options = Options(corruption=["contrast"], severity=[1, 5], released=files, batch_size=7)
    changed = files / "contrast" / "5" / "bee" / "3.JPEG"
    content = changed.read_bytes()
    mine = job(picture_folder, tmp_path / "ray", options)
    with pytest.raises(RunError, match="no worker can evaluate demo: --released has other files here"):
        list(evaluate_jobs([mine], ray_engine(cluster, 1), Changing(changed)))
    assert events(tmp_path / "ray") == ["worker rejected", "failed"]
    assert not RunDirectory.open(tmp_path / "ray").finished()
    changed.write_bytes(content)
    list(evaluate_jobs([mine], ray_engine(cluster, 1)))
    locally(job(picture_folder, tmp_path / "local", options))
    assert run_files(tmp_path / "ray") == run_files(tmp_path / "local")


@pytest.mark.slow(minutes=0.5)
def test_what_workers_cannot_load_is_said_before_anything_is_written(picture_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from robench.evaluation.engines import Ray

    classifier = replace(load_classifier("demo", device="cpu"), origin=None)
    mine = Job(
        lambda: classifier, robench.open_dataset(picture_folder, _names(picture_folder)), ["clean"], tmp_path / "run"
    )
    with pytest.raises(OptionError, match="create them with load_classifier"):
        list(evaluate_jobs([mine], Ray(None, 1, "cpu", 1)))
    assert not (tmp_path / "run").exists()


def test_an_address_where_nobody_listens_is_refused_at_once(picture_folder: Path, tmp_path: Path) -> None:
    import socket

    from robench.evaluation.engines import Ray

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OptionError, match=f"no Ray cluster listens at {address}"):
        list(evaluate_jobs([job(picture_folder, tmp_path / "run")], Ray(address, 1, "cpu", 1)))
    with pytest.raises(OptionError, match="--address is empty"):
        Ray(" ")
