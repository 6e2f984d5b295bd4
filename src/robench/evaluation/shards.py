"""Shards, the units of work of a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from robench.evaluation.profile import Profile
from robench.suites import Condition
from robench.transforms.apply import condition_frames

__all__ = ["Shard", "ShardResult", "shards_of"]


_FRAMES = 16_384
"""About the fewest images through the model in a shard, if its condition has as many.

A lost worker then costs minutes, and the start of a shard is negligible.
"""


@dataclass(frozen=True)
class Shard:
    """The samples at positions `start` to `stop` of a run under one condition.

    Shards begin and end at borders of batches, so that records do not depend on shards.
    """

    condition: Condition
    start: int
    stop: int

    @property
    def frames(self) -> int:
        """Number of images through the model."""
        return (self.stop - self.start) * condition_frames(self.condition)


@dataclass(frozen=True)
class ShardResult:
    """An evaluated shard.

    Attributes:
        content: Records as a Parquet file with one row group for each frame; the final file if the shard is a whole condition.
        seconds: Time of the evaluation, without a treatment's estimates before the first shard.
        batch_size: Actual batch size, which is smaller than the run's if the device ran out of memory.
        profile: Profile of the time, if the run asks for one.
    """

    content: bytes
    seconds: float
    batch_size: int
    profile: Profile | None = None


def shards_of(condition: Condition, samples: int, batch_size: int, whole: bool) -> list[Shard]:
    """Cut a condition into shards.

    Args:
        condition: The condition.
        samples: Number of samples.
        batch_size: Batch size of the run.
        whole: Whether the condition must stay in one shard, because a treatment depends on all of its samples.
    """
    batches = -(-samples // batch_size)
    count = max(1, min(batches, samples * condition_frames(condition) // _FRAMES))
    if condition.attack is not None:
        count = batches  # The attacks on one batch take longer than any other shard.
    # Shards of about equal numbers of batches, so that none is so small that its start counts.
    ends = [samples] if whole else [min(batches * n // count * batch_size, samples) for n in range(1, count + 1)]
    return [Shard(condition, start, stop) for start, stop in pairwise([0, *ends])]
