"""Ray, imported where it is asked for; and the connection to a cluster, or to one that is started on this machine."""

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
    """Return the package; OptionError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise OptionError("--engine ray needs Ray: pip install 'robench[ray]'") from error
    return ray


@contextmanager
def connected(address: str | None, cores: int | None) -> Iterator[Any]:
    """Hold a connection to a cluster, that of this process if it has one, and yield Ray; OptionError where there is no cluster.

    address: as `Ray` takes it.  cores: of a cluster that is started here; None for all of the machine.
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
    given: dict[str, Any] = {"address": address}
    if address is None and "RAY_ADDRESS" not in os.environ:
        # Nobody else is to join it, and nothing about it is to be sent anywhere.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        given = {"address": "local", "include_dashboard": False, "num_cpus": cores}
    else:
        _check_reached(address or os.environ["RAY_ADDRESS"])
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # What matters of it comes as errors.
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**given, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster {address or os.environ.get('RAY_ADDRESS', 'on this machine')}"
        raise OptionError(
            f"{where} cannot be used ({str(error)[:200]}): check --address, and set RAY_AUTH_MODE=token if it asks "
            "for a token"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own would end the process in its native code.
        signal.signal(signal.SIGTERM, terminated)


def _check_reached(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray would wait a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, or what Ray itself refuses.
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise OptionError(f"no Ray cluster listens at {address} ({error}): check --address") from error
