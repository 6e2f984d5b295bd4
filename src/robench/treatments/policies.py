"""How calibration images are drawn from: as the test takes them, as weak training does, as strong training does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from robench.geometry import Geometry
from robench.models import Preprocessing
from robench.types import Images

__all__ = ["POLICIES", "Policy"]


@dataclass(frozen=True)
class Policy:
    """A way from a stored picture to an image for calibration.

    geometry: what pictures are decoded to.
    change: (pixels, height and width of each, side, index, seed) -> (b, 3, side, side) uint8.
    """

    summary: str
    geometry: Callable[[Preprocessing], Geometry]
    change: Callable[[Images, Sequence[tuple[int, int]], int, Tensor, int], Images]


def _as_they_are(pixels: Images, sizes: Sequence[tuple[int, int]], side: int, index: Tensor, seed: int) -> Images:
    return pixels


POLICIES: dict[str, Policy] = {
    "clean": Policy("the model's own resize and crop", lambda preprocessing: preprocessing.geometry(), _as_they_are),
}
