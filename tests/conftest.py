"""Paths of real data and golden files; tests that need them skip without them, so any clone passes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from robench.errors import flags_shown
from robench.evaluation import prepare
from robench.models import Classifier, load
from tests.builders import finished_run, tiny_classifier, tiny_dataset

ROOT = Path(__file__).parents[1]

# Tests run one process a core; threads within each would only wait for one another.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Python's readline sets the width of a terminal in the processes of pytest; outputs depend on it.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none; the longest first, so that at the end no worker is left alone with one."""
    if not torch.cuda.is_available():
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    items.sort(key=_minutes, reverse=True)


def _minutes(item: pytest.Item) -> float:
    """Return a test's minutes by its marker: `slow(minutes=3)`."""
    markers = (item.get_closest_marker(name) for name in ("slow", "nightly"))
    return max(float(marker.kwargs.get("minutes", 0)) if marker else 0.0 for marker in markers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a quick test that takes more than $ROBENCH_QUICK_SECONDS, where that is set; by default no time is asserted."""
    report = yield
    limit = float(os.environ.get("ROBENCH_QUICK_SECONDS", "inf"))
    is_quick = not any(item.get_closest_marker(name) for name in ("slow", "nightly"))
    if is_quick and report.when == "call" and report.passed and call.duration > limit:
        report.outcome = "failed"
        report.longrepr = (
            f"took {call.duration:.1f} s, over the {limit:g} s of a quick test: make it faster, or mark it slow"
        )
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images and checkpoints (ROBENCH_SHARED)."""
    folder = Path(os.environ.get("ROBENCH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real data: ROBENCH_SHARED={folder} is no folder")
    return folder


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """Folder of reference pixels (ROBENCH_GOLDEN)."""
    folder = os.environ.get("ROBENCH_GOLDEN")
    path = Path(folder) if folder else Path(os.environ.get("ROBENCH_SHARED", ROOT.parent / "shared")) / "golden"
    if not path.is_dir():
        pytest.skip(f"no golden files: ROBENCH_GOLDEN={path} is no folder")
    return path


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """The CUDA device of a test marked `gpu`."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def _isolated_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never touch the user's decode cache, nor each other's."""
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("ROBENCH_CACHE_SIZE", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(autouse=True)
def _flags_shown() -> Iterator[None]:
    """Errors name options as the command line does; tests of Python's texts start another process."""
    with flags_shown():
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_trial_of_inputs() -> Iterator[None]:
    """Runs are evaluated without the trial of other inputs (up to 2 s each), but in the tests of the trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "input_warnings", lambda *_: [])
        yield


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tests need not outlive a loss of power: waiting for the disk is left out."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def _without_sandbox(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _isolated_cache: None,
) -> None:
    """Programs are loaded without their trial in another process (2 to 3 s each), but in tests marked `sandbox`."""
    if request.node.get_closest_marker("sandbox") is None:
        monkeypatch.setattr(load, "run_in_sandbox", lambda *_: None)
    else:  # What has passed in another test is tried again.
        monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset: 3 classes of 10 smooth random pictures at about 40 px."""
    return tiny_dataset(tmp_path_factory.mktemp("pictures") / "pictures")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """A small untrained network with three classes, on the CPU, always the same."""
    return tiny_classifier()


@pytest.fixture(scope="session")
def evaluated(classifier: Classifier, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, evaluated once a process and never written to: a test that changes it takes `whole`."""
    return finished_run(classifier, picture_folder, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture
def whole(evaluated: Path, tmp_path: Path) -> Path:
    """A finished run of the test's own: a copy of `evaluated`."""
    return shutil.copytree(evaluated, tmp_path / "whole")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The Chromium of the system, without a window."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page that must neither log, nor fail, nor ask another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, problems = context.new_page(), []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url) if _is_foreign(request.url) else None)
    opened.set_default_timeout(20_000)
    yield opened
    context.close()
    assert not problems


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file://", "data:", "blob:"))
