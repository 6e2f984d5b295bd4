"""A condition as the manifest lists it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConditionEntry"]


@dataclass(frozen=True)
class ConditionEntry:
    """A condition as the manifest lists it.

    name: stem of the records file.  resolution: side of the image, px.  protocol: of its results' rows.
    source: `computed` or `released`.  clean: name of the condition of the same images unperturbed.
    frames: rows of the records by sample; 1 but for perturbations.  axis: what the records' axis_value is.
    independent: whether each frame is compared with the first instead of with the one before.
    gflops: of one image through the network, in 10^9 floating-point operations, where it was counted.
    """

    name: str
    suite: str
    corruption: str
    severity: int
    resolution: int
    protocol: str
    source: str
    clean: str
    frames: int = 1
    axis: str = ""
    independent: bool = False
    gflops: float | None = None
