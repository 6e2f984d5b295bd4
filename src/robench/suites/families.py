"""Families: the kinds of suites, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ADVERSARIAL",
    "CLEAN",
    "CORRUPTIONS",
    "CUE_CONFLICT",
    "EXITS",
    "NOISE",
    "OCCLUSION",
    "OOD",
    "OWN",
    "RESOLUTION",
    "SCALE",
    "SEQUENCES",
    "SHIFT",
    "Family",
    "FrameKind",
]


class FrameKind(Enum):
    """Relation between the frames that a perturbation makes of one image."""

    SINGLE = "one image"
    SEQUENCE = "each frame is compared with an earlier one"
    PAIRS = "frames 2k and 2k + 1 are compared"
    MAP = "crops on a grid of offsets"
    OFFSETS = "crops at offsets along one axis"
    SCALES = "scales; neighbours are compared"
    STRENGTHS = "strengths of a degradation"
    SIZES = "the information of smaller images; the run chooses the sizes"
    NATIVE = "one image, on which the network runs at the size of the image"
    COPIES = "interchangeable copies of one image"
    EXITS = "one image, classified at each exit or setting of the network"
    ATTACKS = "attacks at several radii"


@dataclass(frozen=True)
class Family:
    """Kind of a suite. The packages that plan, score and show suites hold tables keyed by families or kinds of frames.

    Attributes:
        name: Unique name.
        frames: Relation between the frames of an image.
        exceptions: Names of perturbations with another relation, and that relation.
        has_difficulties: Whether `--difficulty` selects among the conditions.
        has_resolutions: Whether `--resolution` selects the input sizes of the network.
        is_released: Whether files of such suites were published: images of corruptions, videos of frames.
        compares_frames: Whether a metric compares predictions of the frames of an image. They must not depend on a test batch.
        shares_statistics: Whether a treatment normalizes all frames of a condition with the statistics of frame 0.
        has_clean: Whether the unperturbed images are evaluated too.
    """

    name: str
    frames: FrameKind
    exceptions: tuple[tuple[str, FrameKind], ...] = ()
    has_difficulties: bool = False
    has_resolutions: bool = False
    is_released: bool = False
    compares_frames: bool = False
    shares_statistics: bool = False
    has_clean: bool = True

    @property
    def has_frames(self) -> bool:
        """Whether conditions make frames with a perturbation, instead of one image with a corruption."""
        return self.frames is not FrameKind.SINGLE

    def kind(self, corruption: str) -> FrameKind:
        """Return the relation between the frames of a corruption or perturbation."""
        return dict(self.exceptions).get(corruption, self.frames)


CLEAN = Family("clean", FrameKind.SINGLE)

CORRUPTIONS = Family("corruptions", FrameKind.SINGLE, is_released=True)

OWN = Family("own", FrameKind.SINGLE)
"""Corruptions of the user's own files. Their suites are no family of a leaderboard."""

OOD = Family("ood", FrameKind.SINGLE)
"""Images out of distribution, of other datasets. It has values, but no conditions of its own."""

CUE_CONFLICT = Family("cue_conflict", FrameKind.SINGLE, has_clean=False)
"""Images with the shape of one category and the texture of another, a dataset of their own."""

ADVERSARIAL = Family("adversarial", FrameKind.ATTACKS)
"""Images that are attacked through the model, so that they depend on it."""

SEQUENCES = Family(
    "sequences",
    FrameKind.SEQUENCE,
    has_difficulties=True,
    is_released=True,
    compares_frames=True,
    shares_statistics=True,
)

SHIFT = Family(
    "shift",
    FrameKind.OFFSETS,
    exceptions=(("crop", FrameKind.PAIRS), ("circular", FrameKind.PAIRS), ("map", FrameKind.MAP)),
    compares_frames=True,
    shares_statistics=True,
)

SCALE = Family("scale", FrameKind.SCALES, compares_frames=True)

NOISE = Family("noise", FrameKind.STRENGTHS)

OCCLUSION = Family("occlusion", FrameKind.STRENGTHS)

RESOLUTION = Family(
    "resolution",
    FrameKind.NATIVE,
    exceptions=(("information", FrameKind.SIZES), ("best_of_k", FrameKind.COPIES)),
    has_resolutions=True,
    compares_frames=True,
)

EXITS = Family("exits", FrameKind.EXITS)
"""A network with several exits or settings. Its conditions are clean or corrupted images; their frames are the exits."""
