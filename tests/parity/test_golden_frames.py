"""Frames of the perturbations against the published definitions' (golden/*-p.npz)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robench.transforms.perturbations import PERTURBATIONS
from tests.parity.frames import CLOSE, EQUAL, FILES, golden_sequences

cells = [(file, name) for file in FILES for name in (*EQUAL, *CLOSE)]


@pytest.mark.parametrize(("file", "name"), cells)
def test_frames(file: str, name: str, golden: Path) -> None:
    sequences = list(golden_sequences(golden, file, name))
    assert sequences
    for sequence in sequences:
        assert sequence.ours.shape == sequence.expected.shape
        if name in EQUAL:
            assert not sequence.difference.any()
        else:
            assert sequence.difference.max() <= 1
            assert sequence.outside(rounded=name == "tilt") <= 0.001


def test_no_golden_sequence_is_left_out(golden: Path) -> None:
    for file in FILES:
        with np.load(golden / f"{file}.npz") as arrays:
            names = {key.removesuffix("_frames").rstrip("0123456789") for key in arrays} - {"source"}
        assert names == {*EQUAL, *CLOSE} <= set(PERTURBATIONS)
