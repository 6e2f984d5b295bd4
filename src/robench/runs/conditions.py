"""The conditions of a run as its manifest lists them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConditionEntry"]


@dataclass(frozen=True)
class ConditionEntry:
    """A condition as the manifest lists it.

    Attributes:
        name: Stem of the records file.
        suite: Name of the suite.
        corruption: Name of the corruption or perturbation.
        severity: Severity, or the difficulty of a sequence; 0 for clean images.
        resolution: Side of the image in pixels.
        protocol: Protocol string of the rows of the results.
        source: `computed` or `released`.
        clean: Name of the condition with the same images unperturbed.
        frames: Rows of the records for each sample; 1 except for perturbations.
        axis: Meaning of the records' `axis_value`.
        independent: Whether each frame is compared with the first frame, not with the previous one.
        methods: Names of the attacks, separated by commas, in the order of their frames at each radius; empty for no attacks.
        gflops: Operations of the network for one image, in 10^9 floating-point operations, if counted.
        exits: Name and operations, likewise, of each exit or setting of the network, in the order of the frames.
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
    methods: str = ""
    gflops: float | None = None
    exits: tuple[tuple[str, float | None], ...] = ()

    def __post_init__(self) -> None:
        # A manifest holds lists.
        object.__setattr__(self, "exits", tuple((name, cost) for name, cost in self.exits))
