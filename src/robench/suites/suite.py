"""What a suite is: corruptions or perturbations, image protocol and baseline, as data. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from robench.errors import OptionError, unknown_name
from robench.suites.geometry import Geometry

__all__ = ["BACKENDS", "CLEAN", "SEVERITIES", "Condition", "Family", "ReleasedFiles", "Suite"]

CLEAN = "clean"
"""Name of the suite, and of the corruption, of the unperturbed images (severity 0)."""

SEVERITIES = (1, 2, 3, 4, 5)

BACKENDS = ("torch", "reference")
"""Who computes the pixels of a condition: robench, or the published package's own functions, on a CPU."""


Family: TypeAlias = Literal["corruptions", "sequences", "shift", "scale", "noise", "occlusion", "resolution"]


@dataclass(frozen=True)
class ReleasedFiles:
    """The published files of a condition.

    path: the folder of class folders, or the .npy file.  frames: images of each sample.
    """

    path: Path
    frames: int


@dataclass(frozen=True)
class Condition:
    """The unit of work and of resuming: one corruption at one severity on the images of one geometry.

    severity: of a corruption, or the difficulty of a perturbation.
    geometry: of the images that are corrupted, or of the pictures that a perturbation makes frames of.
    side: of the frames, px; None for the images' own.  native: whether the model runs at that side, instead of its own.
    constants: which of the corruption's.  release_jpeg: quality of a JPEG pass after it.  backend: one of BACKENDS.
    files: the published ones that take the place of computed images; geometry is then that of their clean images.
    places: of the frames on their axis, where the run chooses them; None for the perturbation's own.
    named_geometry: whether the name says the geometry, because another condition of the run would have the same name.
    """

    suite: str
    corruption: str
    severity: int
    geometry: Geometry
    constants: str = ""
    release_jpeg: int | None = None
    backend: str = BACKENDS[0]
    side: int | None = None
    native: bool = False
    files: ReleasedFiles | None = None
    axis_values: tuple[int, ...] | None = None
    named_geometry: bool = False

    @property
    def source(self) -> str:
        """Where its images come from: `computed` or `released`."""
        return "computed" if self.files is None else "released"

    @property
    def resolution(self) -> int:
        """Side of the images that are classified, in pixels."""
        return self.geometry.side if self.side is None else self.side

    @property
    def name(self) -> str:
        """Short unique name within a run; also the stem of its records file."""
        parts = [CLEAN] if self.is_clean else [self.suite, self.corruption, str(self.severity)]
        return "-".join([*parts, f"{self.resolution}px", *([str(self.geometry)] if self.named_geometry else [])])

    @property
    def is_clean(self) -> bool:
        """Whether the images are left as they are."""
        return self.corruption == CLEAN


@dataclass(frozen=True)
class Suite:
    """A named set of conditions.

    geometry: how a picture becomes the suite's image; None takes the model's own.
    constants: the corruption constants to use, a key of `Corruption.levels`; empty for those of the model's input size.
    corruptions: the ones that aggregates are over, in the published order; `extra` are evaluated on request.
    later: those that joined after figures of the suite were made: their constants are in the protocols of their own figures
        alone, so that older ones still compare.
    family: what its corruptions are, and so what it measures: "corruptions" (errors by severity) or frames of perturbations:
        "sequences" (flips), "shift", "scale", "noise" and "occlusion" (curves), "resolution".
    side: of the images that are classified, px; None for the model's input.  smallest: the least it may be.
    pictures: what a perturbation takes: the "rectangle" of the whole picture, the "margin", a square somewhat larger than
        the crop, or the "crop" itself.
    release_jpeg: quality of the JPEG pass that the released files went through, None for none.
    baseline: name of the published baseline errors (`robench/baselines`), None where none were published.
    """

    name: str
    summary: str
    source: str
    geometry: Geometry | None = None
    constants: str = ""
    corruptions: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    release_jpeg: int | None = None
    baseline: str | None = None
    family: Family = "corruptions"
    side: int | None = None
    smallest: int = 32
    source_region: Literal["rectangle", "margin", "crop"] = "crop"

    @property
    def released_side(self) -> int | None:
        """Side of the files that were published of it, px; None where none were."""
        if self.family == "sequences":
            return self.side
        return self.geometry.side if self.family == "corruptions" and self.geometry is not None else None

    def select(
        self,
        *,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        extra: bool = False,
    ) -> list[tuple[str, int]]:
        """Return the (corruption, severity) cells to evaluate, in the published order.

        Asking for an extra corruption by name needs no `extra`. Raises OptionError for names and severities it does not have.
        """
        known = (*self.corruptions, *self.extra)
        if corruptions is None:
            chosen = {*(known if extra else self.corruptions)}
        else:
            for name in corruptions:
                if name not in known:
                    raise OptionError(unknown_name(f"corruption of suite {self.name!r}", name, known))
            chosen = set(corruptions)
        for severity in severities or ():
            if severity not in self.severities:
                raise OptionError(
                    f"severity {severity} does not exist in suite {self.name!r}: use 1 to {max(self.severities)}"
                )
        levels = [s for s in self.severities if severities is None or s in severities]
        return [(name, severity) for name in known if name in chosen for severity in levels]
