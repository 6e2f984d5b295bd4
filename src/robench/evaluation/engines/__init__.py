"""Engines, which evaluate the shards of runs, by name."""

from __future__ import annotations

from robench.errors import OptionError, unknown_name
from robench.evaluation.engines.base import Engine, Event, Task, TaskResult
from robench.evaluation.engines.local import LOCAL, Local
from robench.evaluation.engines.ray import Ray

__all__ = ["ENGINES", "LOCAL", "Engine", "Event", "Local", "Ray", "Task", "TaskResult", "make_engine"]

ENGINES: dict[str, str] = {
    "local": "one shard after the other, in this process",
    "ray": "on workers of a Ray cluster, or of a cluster started on this machine (pip install 'robench[ray]')",
}
"""Description of each value of `--engine`."""


def make_engine(name: str, address: str | None, workers: int | None, device: str, threads: int | None) -> Engine:
    """Return an engine by name.

    Args:
        name: A key of `ENGINES`.
        address: Address of a Ray cluster.
        workers: Number of Ray workers.
        device: Device as `--device` takes it.
        threads: CPU threads of the model; None for all cores with `local` and for one in each worker with `ray`.

    Raises:
        OptionError: The name is unknown, or an argument is invalid.
    """
    if name == "ray":
        return Ray(address, workers, device, 1 if threads is None else threads)
    if name != "local":
        raise OptionError(*unknown_name("engine", name, ENGINES))
    return LOCAL if threads is None else Local(threads)
