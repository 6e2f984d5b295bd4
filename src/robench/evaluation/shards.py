"""Shards, the units of work of a run."""

from __future__ import annotations

from dataclasses import dataclass

from robench.evaluation.profile import Profile
from robench.suites import Condition
from robench.transforms.apply import condition_frames

__all__ = ["Shard", "ShardResult", "shards_of"]


_FRAMES = 16_384
"""Images through the model that a shard has at least, where its condition has so many: what is lost with a worker is minutes,
and what starting a shard costs is nothing beside it."""


@dataclass(frozen=True)
class Shard:
    """The samples at places `start` to `stop` of a run, under one condition.

    Cuts fall on the borders of batches, so that records do not depend on them.
    """

    condition: Condition
    start: int
    stop: int

    @property
    def frames(self) -> int:
        """Images through the model."""
        return (self.stop - self.start) * condition_frames(self.condition)


@dataclass(frozen=True)
class ShardResult:
    """An evaluated shard.

    content: its records as a file of tables.RECORDS, frame by frame, a row group each; of a whole condition that of the run.
    seconds: that it took, but for what treatments estimated before the first one.
    batch_size: that it was evaluated with; smaller than the run's where the device ran out of memory.
    profile: of its time, where the run asks for one.
    """

    content: bytes
    seconds: float
    batch_size: int
    profile: Profile | None = None


def shards_of(condition: Condition, samples: int, batch_size: int, whole: bool) -> list[Shard]:
    """Cut a condition of so many samples.  whole: whether it cannot be cut, because treatments look at all of its samples."""
    batches = 1 + _FRAMES // (batch_size * condition_frames(condition))
    step = samples if whole else batches * batch_size
    return [Shard(condition, start, min(start + step, samples)) for start in range(0, samples, step)]
