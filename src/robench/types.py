"""Names for the values that flow through robench: what a reader would otherwise have to guess from a bare Tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    Images: TypeAlias = Tensor
    """(b, 3, h, w) uint8, RGB, 0..255: what is stored and what a model's preprocessing takes."""

    FloatImages: TypeAlias = Tensor
    """(b, 3, h, w) float32, RGB, 0..1, not yet clipped where a corruption returns it."""

    Logits: TypeAlias = Tensor
    """(b, classes) float32."""

    Records: TypeAlias = pd.DataFrame
    """One row per condition and sample: the columns of `tables.RECORDS`."""

    Results: TypeAlias = pd.DataFrame
    """One figure per row: the columns of `tables.RESULTS`."""

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

else:  # importable at run time without importing torch
    FloatImages = Floats = Images = Ints = Logits = Records = Results = object

__all__ = ["FloatImages", "Floats", "Images", "Ints", "Logits", "Records", "Results"]
