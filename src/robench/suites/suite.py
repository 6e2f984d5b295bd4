"""Suites and the conditions that they consist of, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from robench.errors import OptionError, unknown_name
from robench.suites.families import CORRUPTIONS, Family, FrameKind
from robench.suites.geometry import Geometry, height_width, size_text
from robench.types import Shape, Size

__all__ = ["BACKENDS", "CLEAN", "OOD", "SEVERITIES", "Attack", "Condition", "ReleasedFiles", "Suite"]

CLEAN = "clean"
"""Name of the suite, and of the corruption, of the unperturbed images (severity 0)."""

OOD = "ood"
"""Name of the suite of the values of out-of-distribution detection."""

SEVERITIES = (1, 2, 3, 4, 5)

BACKENDS = ("torch", "reference")
"""Implementations of the corruptions: robench, or the published package's own functions on a CPU."""


@dataclass(frozen=True)
class ReleasedFiles:
    """The published files of a condition.

    Attributes:
        path: Folder of class folders, or .npy file.
        frames: Images of each sample.
    """

    path: Path
    frames: int


@dataclass(frozen=True)
class Attack:
    """Adversarial attacks on the images of a condition. They depend on the model.

    Attributes:
        names: Attacks in their order; each one starts from the unperturbed images that are still right.
        norm: Norm of the changes.
        epsilons: Radii of the ball, ascending, for images in 0 to 1.
        steps: Updates of an image.
        restarts: Starts of each attack.
    """

    names: tuple[str, ...]
    norm: str
    epsilons: tuple[Fraction, ...]
    steps: int
    restarts: int


@dataclass(frozen=True)
class Condition:
    """One corruption at one severity on images of one geometry: the unit of a run.

    Attributes:
        suite: Name of the suite.
        corruption: Name of the corruption or perturbation.
        severity: Severity of a corruption, or difficulty of a perturbation.
        geometry: Geometry of the images that the corruption or perturbation takes. With `files`, that of their clean images.
        constants: Name of the set of constants.
        release_jpeg: Quality of a JPEG pass after the corruption; None for no pass.
        backend: One of `BACKENDS`.
        size: Size of the frames in pixels; None for that of `geometry`.
        native: Whether the network runs at `size` instead of its own input size.
        aspect: Height and width of the network's own input in lowest terms, if the network runs at several sizes.
        files: Published files that replace computed images.
        axis_values: Positions of the frames on their axis if the run chooses them; None for the perturbation's own.
        named_geometry: Whether the name includes the geometry, because another condition would have the same name.
        treated: Whether the treatments of the run apply.
        attack: Attacks on the images, whose frames are the attacks at each radius.
    """

    suite: str
    corruption: str
    severity: int
    geometry: Geometry
    constants: str = ""
    release_jpeg: int | None = None
    backend: str = BACKENDS[0]
    size: Size | None = None
    native: bool = False
    aspect: Shape = (1, 1)
    files: ReleasedFiles | None = None
    axis_values: tuple[int, ...] | None = None
    named_geometry: bool = False
    treated: bool = True
    attack: Attack | None = None

    @property
    def source(self) -> str:
        """Origin of the images: `computed` or `released`."""
        return "computed" if self.files is None else "released"

    @property
    def shape(self) -> Shape:
        """Height and width of the classified images in pixels."""
        return self.geometry.shape if self.size is None else height_width(self.size)

    @property
    def resolution(self) -> int:
        """Short side of the classified images in pixels."""
        return min(self.shape)

    @property
    def name(self) -> str:
        """Short unique name within a run; also the stem of the file of records."""
        parts = [CLEAN] if self.is_clean else [self.suite, self.corruption, str(self.severity)]
        return "-".join([*parts, f"{size_text(self.shape)}px", *([str(self.geometry)] if self.named_geometry else [])])

    @property
    def is_clean(self) -> bool:
        """Whether the condition is that of the unperturbed images for all suites."""
        return self.suite == CLEAN


@dataclass(frozen=True)
class Suite:
    """A named set of corruptions or perturbations.

    Attributes:
        name: Unique name.
        summary: One line for lists.
        source: Paper, and the place in the published code.
        geometry: Geometry of the suite's images; None for the model's own.
        constants: Set of constants, a key of `Corruption.levels`; empty for that of the model's input size.
        corruptions: Names that aggregates cover, in the published order.
        extra: Names that are evaluated on request.
        severities: Severities of corruptions, or difficulties of perturbations.
        release_jpeg: Quality of the JPEG pass of the released files; None for no pass.
        baseline: Name of the published baseline in `robench.analysis.baselines`; None if none was published.
        family: Kind of the suite.
        prefix: Beginning of the names of its columns in a leaderboard. Suites of one family and prefix share their columns.
        side: Side of the classified images in pixels; None for the model's input size.
        smallest: Least side in pixels.
        source_region: Region of the image that a perturbation takes: the whole "rectangle", the "margin", a square somewhat
            larger than the crop, or the "crop".
    """

    name: str
    summary: str
    source: str
    geometry: Geometry | None = None
    constants: str = ""
    corruptions: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    release_jpeg: int | None = None
    baseline: str | None = None
    family: Family = CORRUPTIONS
    prefix: str = ""
    side: int | None = None
    smallest: int = 32
    source_region: Literal["rectangle", "margin", "crop"] = "crop"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all corruptions or perturbations, `extra` last."""
        return self.corruptions + self.extra

    @property
    def n_cells(self) -> int:
        """Number of cells that aggregates cover."""
        return len(self.corruptions) * len(self.severities)

    @property
    def released_side(self) -> int | None:
        """Side of the published files in pixels; None if none were published."""
        if not self.family.is_released:
            return None
        if self.family.has_frames:
            return self.side
        return None if self.geometry is None else self.geometry.side

    def kind(self, corruption: str) -> FrameKind:
        """Return the relation between the frames of one of the suite's perturbations."""
        return self.family.kind(corruption)

    def own_or_extra(self, corruptions: Iterable[str]) -> set[str]:
        """Return the names that an aggregate over `corruptions` covers: the suite's own, or all if none is its own."""
        present = set(corruptions)
        return present.intersection(self.corruptions) or present

    def select(
        self,
        *,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        extra: bool = False,
    ) -> list[tuple[str, int]]:
        """Return the selected (corruption, severity) cells in the published order.

        Args:
            corruptions: Names; None for all. An extra corruption that is named here needs no `extra`.
            severities: Severities; None for all.
            extra: Whether to add the extra corruptions.

        Raises:
            OptionError: If the suite does not have a name or a severity.
        """
        if corruptions is None:
            chosen = {*(self.names if extra else self.corruptions)}
        else:
            for name in corruptions:
                if name not in self.names:
                    raise OptionError(*unknown_name(f"corruption of suite {self.name!r}", name, self.names))
            chosen = set(corruptions)
        for severity in severities or ():
            if severity not in self.severities:
                raise OptionError(f"suite {self.name!r} has no severity {severity}", f"use 1 to {max(self.severities)}")
        levels = [level for level in self.severities if severities is None or level in severities]
        return [(name, severity) for name in self.names if name in chosen for severity in levels]
