"""Shape bias: decisions for the shape of a cue-conflict image among those for its shape or its texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = ["Cues", "shape_bias"]


def shape_bias(shape_hits: ArrayLike, texture_hits: ArrayLike) -> Floats:
    """Return S / (S + T), NaN where both are 0.

    Args:
        shape_hits: S, numbers of decisions for the shape, (...,).
        texture_hits: T, numbers of decisions for the texture, (...,).
    """
    shape, texture = np.asarray(shape_hits, np.float64), np.asarray(texture_hits, np.float64)
    either = shape + texture
    return np.asarray(np.divide(shape, either, out=np.full(either.shape, np.nan), where=either > 0))


@dataclass(frozen=True)
class Cues:
    """Decisions on cue-conflict images.

    Attributes:
        right: Whether the decision is the shape, with conflict or without, (n,).
        conflict: Whether shape and texture are of different categories, (n,).
        texture: Whether the decision is the texture of an image with conflict, (n,).
    """

    right: NDArray[np.bool_]
    conflict: NDArray[np.bool_]
    texture: NDArray[np.bool_]

    @classmethod
    def of(cls, shape: Sequence[str], texture: Sequence[str], decision: Sequence[str]) -> Cues:
        """Compare decisions with the categories of shape and texture, (n,) each; any other text is wrong for both."""
        shapes, textures, decisions = (np.asarray(names, dtype=np.str_) for names in (shape, texture, decision))
        conflict = shapes != textures
        return cls(decisions == shapes, conflict, (decisions == textures) & conflict)

    @property
    def shape(self) -> NDArray[np.bool_]:
        """Whether the decision is the shape of an image with conflict, (n,)."""
        return self.right & self.conflict

    @property
    def bias(self) -> float:
        """Shape bias; NaN if no decision is for shape or texture."""
        return float(shape_bias(self.shape.sum(), self.texture.sum()))
