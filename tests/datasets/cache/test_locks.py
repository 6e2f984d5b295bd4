"""Locks: a count of who is inside is the oracle."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robench.datasets.cache.locks import locked


def test_one_at_a_time_though_the_file_comes_and_goes(tmp_path: Path) -> None:
    inside, most = [], []

    def enter() -> None:
        for _ in range(10):
            with locked(tmp_path / "lock", waiting=lambda: None) as held:
                assert held
                inside.append(1)
                time.sleep(0.0002)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_what_is_held_is_left_alone_or_waited_for(tmp_path: Path) -> None:
    waited: list[str] = []

    def wait() -> None:
        with locked(tmp_path / "lock", waiting=lambda: waited.append("waits")):
            waited.append("held")

    with locked(tmp_path / "lock"):
        with locked(tmp_path / "lock") as held:
            assert not held
        assert (tmp_path / "lock").exists()
        thread = threading.Thread(target=wait)
        thread.start()
        until = time.monotonic() + 10
        while not waited and time.monotonic() < until:
            time.sleep(0.001)
        assert waited == ["waits"]
    thread.join()
    assert waited == ["waits", "held"]


def test_it_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        _ = 1 / 0
    with locked(tmp_path / "lock") as held:
        assert held


def test_it_imports_without_fcntl() -> None:
    """As on Windows."""
    code = "import sys; sys.modules['fcntl'] = None; import robench.datasets"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
