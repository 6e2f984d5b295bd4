"""The embedded demo dataset: handwritten digits from scikit-learn, which need no download."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.types import Ints

__all__ = ["digits", "read_demo"]


def digits() -> tuple[Ints, Ints]:
    """Return the digits of the UCI ML repository (1998) in their original order.

    Returns:
        (1797, 8, 8) grey levels 0..255, and (1797,) digits 0..9.
    """
    import gzip

    with files("sklearn.datasets").joinpath("data/digits.csv.gz").open("rb") as file:
        table = np.loadtxt(gzip.decompress(file.read()).decode().splitlines(), delimiter=",", dtype=np.int64)
    # The source counts 0..16 inked pixels in blocks of 4x4.
    return np.minimum(table[:, :64].reshape(-1, 8, 8) * 16, 255), table[:, 64]


def read_demo() -> ImageDataset:
    """Return the digits at odd positions; the demo model was trained on those at even positions."""
    grey, labels = digits()
    selected = np.arange(1, len(labels), 2)
    order = selected[np.lexsort((selected, labels[selected]))]
    return ImageDataset(
        name="demo",
        paths=tuple(f"{labels[i]}/{i:04d}.pgm" for i in order),
        labels=labels[order],
        classes=tuple("0123456789"),
        # PGM has no compression, so that the bytes and their hash are the same on every machine.
        read=lambda position: b"P5 8 8 255\n" + grey[order[position]].astype(np.uint8).tobytes(),
    )
