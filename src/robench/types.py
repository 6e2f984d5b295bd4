"""Type aliases that state shapes, types and ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

Shape: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

Size: TypeAlias = int | Shape
"""Side of a square in pixels, or the height and width of a rectangle."""

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    Images: TypeAlias = Tensor
    """(b, 3, h, w) uint8, RGB, 0..255; stored images and the input of a model's preprocessing."""

    FloatImages: TypeAlias = Tensor
    """(b, 3, h, w) float32, RGB, 0..1; the output of a corruption is not clipped yet."""

    Logits: TypeAlias = Tensor
    """(b, classes) float32."""

    Records: TypeAlias = pd.DataFrame
    """One row for each condition and sample, with the columns of `runs.schema.RECORDS`."""

    Results: TypeAlias = pd.DataFrame
    """One row for each value, with the columns of `runs.schema.RESULTS`."""

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

else:  # The names exist at run time without torch.
    FloatImages = Floats = Images = Ints = Logits = Records = Results = object

__all__ = ["FloatImages", "Floats", "Images", "Ints", "Logits", "Records", "Results", "Shape", "Size"]
