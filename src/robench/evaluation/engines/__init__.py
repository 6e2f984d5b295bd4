"""Engines: who evaluates the shards of runs, one after the other here, or many at once elsewhere; two, by name in `make_engine`."""

from __future__ import annotations

from robench.errors import OptionError, unknown_name
from robench.evaluation.engines.base import Engine, Event, Task
from robench.evaluation.engines.local import LOCAL, Local
from robench.evaluation.engines.ray import Ray

__all__ = ["ENGINES", "LOCAL", "Engine", "Event", "Local", "Ray", "Task", "make_engine"]

ENGINES: dict[str, str] = {
    "local": "one shard after the other, in this process",
    "ray": "on the workers of a Ray cluster, or of one that is started on this machine (pip install 'robench[ray]')",
}
"""What `--engine` takes, and what each does."""


def make_engine(name: str, address: str | None, workers: int | None, device: str, threads: int | None) -> Engine:
    """Return an engine by its name, with what `robench evaluate` was given for it; OptionError where that cannot be.

    threads: of a CPU, for the model; None for all cores, and for one in each of several workers.
    """
    if name == "ray":
        return Ray(address, workers, device, 1 if threads is None else threads)
    if name != "local":
        raise OptionError(unknown_name("engine", name, ENGINES))
    return LOCAL if threads is None else Local(threads)
