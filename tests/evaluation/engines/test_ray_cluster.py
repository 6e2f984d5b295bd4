"""Connections to clusters, with something else in Ray's place; those to real ones are in test_ray.py."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from robench.errors import OptionError
from robench.evaluation.engines.ray_cluster import connected


class Pretended:
    """Record the calls to Ray; `init` raises the error that the test sets."""

    def __init__(self, there: bool = False, error: Exception | None = None) -> None:
        self.there, self.error = there, error
        self.asked: dict[str, Any] = {}

    def is_initialized(self) -> bool:
        return self.there

    def init(self, **asked: Any) -> None:
        self.asked = asked
        if self.error is not None:
            raise self.error
        self.there = True

    def shutdown(self) -> None:
        self.there = False


@pytest.fixture
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "0")


def pretend(monkeypatch: pytest.MonkeyPatch, ray: Pretended) -> Pretended:
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


@pytest.mark.usefixtures("_no_cluster")
def test_a_cluster_that_is_started_here_ends_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pretend(monkeypatch, Pretended())

    def work() -> None:
        with connected(None, 3) as given:
            assert given is ray
            assert ray.there
            raise ValueError("the work's")

    with pytest.raises(ValueError, match="the work's"):
        work()
    assert not ray.there
    assert ray.asked["address"] == "local"
    assert ray.asked["num_cpus"] == 3


def test_a_connection_of_the_process_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pretend(monkeypatch, Pretended(there=True))
    with connected("elsewhere:1", None):
        pass
    assert ray.there
    assert not ray.asked


@pytest.mark.usefixtures("_no_cluster")
def test_what_ray_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Pretended(error=ConnectionError("no cluster\nfound")))
    with pytest.raises(OptionError, match=r"cannot use the Ray cluster auto \(no cluster.*found\)") as raised:
        connected("auto", None).__enter__()
    assert "\n" not in str(raised.value)


def test_without_ray_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match="--engine ray needs Ray; pip install"):
        connected(None, None).__enter__()
