"""The images of one geometry and their labels."""

from __future__ import annotations

from dataclasses import dataclass

from robench.datasets import ImageStack, Name
from robench.evaluation.prefetch import DeviceImages
from robench.types import Ints

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """The images of one geometry and who they are.

    images: decoded ones, on the host or a device.  rows: (m,) which of them to evaluate, in order.
    index, label: (m,) position in the whole dataset, and class.
    names: (m,) by which their released files are found; empty where no condition has such files.
    """

    images: ImageStack | DeviceImages
    rows: Ints
    index: Ints
    label: Ints
    names: tuple[Name, ...] = ()

    def at(self, part: Ints) -> Samples:
        """Return some of them, by their place among these."""
        names = tuple(self.names[place] for place in part.tolist()) if self.names else ()
        return Samples(self.images, self.rows[part], self.index[part], self.label[part], names)
