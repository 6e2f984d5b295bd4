"""The samples of a run under one geometry."""

from __future__ import annotations

from dataclasses import dataclass

from robench.datasets import ImageStack, Name
from robench.evaluation.prefetch import DeviceImages
from robench.types import Ints

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Decoded images of one geometry with their labels.

    Attributes:
        images: The images, on the host or a device.
        rows: (m,) Row in `images` of each sample, in order of evaluation.
        index: (m,) Position of each sample in the whole dataset.
        label: (m,) Class of each sample.
        label_sets: (m, k) Classes of each sample, filled up with -1, if samples have several; None if each has one.
        names: (m,) Name of each sample among released files; empty if no condition has such files.
    """

    images: ImageStack | DeviceImages
    rows: Ints
    index: Ints
    label: Ints
    names: tuple[Name, ...] = ()
    label_sets: Ints | None = None

    def select(self, positions: Ints) -> Samples:
        """Return the samples at some positions among these."""
        names = tuple(self.names[position] for position in positions.tolist()) if self.names else ()
        sets = None if self.label_sets is None else self.label_sets[positions]
        return Samples(self.images, self.rows[positions], self.index[positions], self.label[positions], names, sets)

    @property
    def truth(self) -> Ints:
        """The class of each sample, (m,), or the classes of each, (m, k)."""
        return self.label if self.label_sets is None else self.label_sets
