"""The connection to a Ray cluster, which may be started on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from robench.errors import OptionError

__all__ = ["connected", "import_ray"]


def import_ray() -> Any:
    """Import Ray; OptionError if it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise OptionError("--engine ray needs Ray", "pip install 'robench[ray]'") from error
    return ray


@contextmanager
def connected(address: str | None, cores: int | None) -> Iterator[Any]:
    """Hold a connection to a cluster, or use the connection of this process, and yield Ray.

    Args:
        address: Address as `Ray` takes it.
        cores: Cores of a cluster that is started here; None for all cores of the machine.

    Raises:
        OptionError: The cluster cannot be reached.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, address, cores)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None, cores: int | None) -> None:
    options: dict[str, Any] = {"address": address}
    if address is None and "RAY_ADDRESS" not in os.environ:
        # A private cluster has no dashboard and sends no usage statistics.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"address": "local", "include_dashboard": False, "num_cpus": cores}
    else:
        _check_reachable(address or os.environ["RAY_ADDRESS"])
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # Relevant messages arrive as errors.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        name = address or os.environ.get("RAY_ADDRESS", "on this machine")
        raise OptionError(
            f"cannot use the Ray cluster {name} ({str(error)[:200]})",
            "check --address, and set RAY_AUTH_MODE=token if the cluster asks for a token",
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's handler would end the process in native code.
        signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Refuse an address without a listener, for which Ray would wait a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, or an address that Ray refuses.
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise OptionError(f"no Ray cluster listens at {address} ({error})", "check --address") from error
