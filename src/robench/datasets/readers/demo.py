"""The embedded demo set: the handwritten digits that scikit-learn ships, so that a first run needs no download."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.types import Ints

__all__ = ["digits", "read_demo"]


def digits() -> tuple[Ints, Ints]:
    """(1797, 8, 8) grey levels 0..255 and (1797,) digits 0..9, in the order of the source (UCI ML repository, 1998)."""
    import gzip

    with files("sklearn.datasets").joinpath("data/digits.csv.gz").open("rb") as file:
        table = np.loadtxt(gzip.decompress(file.read()).decode().splitlines(), delimiter=",", dtype=np.int64)
    # The source counts 0..16 inked pixels in blocks of 4x4.
    return np.minimum(table[:, :64].reshape(-1, 8, 8) * 16, 255), table[:, 64]


def read_demo() -> ImageDataset:
    """Return the odd-numbered digits; the demo's model was trained on the even-numbered ones."""
    grey, labels = digits()
    chosen = np.arange(1, len(labels), 2)
    order = chosen[np.lexsort((chosen, labels[chosen]))]
    return ImageDataset(
        name="demo",
        paths=tuple(f"{labels[i]}/{i:04d}.pgm" for i in order),
        labels=labels[order],
        classes=tuple("0123456789"),
        # PGM: no compression, so the bytes, and with them the fingerprint, are the same on every machine.
        read=lambda position: b"P5 8 8 255\n" + grey[order[position]].astype(np.uint8).tobytes(),
    )
