"""The draws that the published code of C-bar and 3DCC recorded in its golden files, for corruptions that take them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.transforms.corruptions import find_corruption
from robench.transforms.draws import Draws
from robench.types import Images
from tests.parity.published import PublishedDraws, pixels

FILES = {
    "imagenet-c-bar": "imagenet-c-bar",
    "cifar10-c-bar": "cifar-c-bar",
    "imagenet-3dcc-2d": "imagenet-3dcc-2d",
}
"""Golden file: its suite."""

ROUNDED = ("caustic_refraction", "sparkles", "pinch_and_twirl", "circular_motion_blur")
"""A share of values of at most this differs, because sums are in another order; all others are equal."""
SHARE = 0.001

Record = Mapping[str, Any]
Values = NDArray[np.float64] | NDArray[np.int64] | float | int
Inverse = Callable[[Record, int, np.random.RandomState], Values]
"""From a record, the side and the second generator to the uniform or integer draw behind the recorded parameter."""


def _uniform(name: str, low: float, high: float) -> Inverse:
    return lambda record, side, state: (np.array(record[name]) - low) / (high - low)


def _of_side(name: str, low: float, high: float) -> Inverse:
    return lambda record, side, state: (np.array(record[name]) / side - low) / (high - low)


def _as_recorded(name: str) -> Inverse:
    return lambda record, side, state: np.array(record[name])


def _frequencies(record: Record, side: int, state: np.random.RandomState) -> Values:
    larger, smaller = sorted(record["freq"], key=abs, reverse=True)
    return np.array([(larger / math.pi + 1) / 2, (smaller / abs(larger) + 1) / 2])


def _swapped(record: Record, side: int, state: np.random.RandomState) -> Values:
    across, down = map(abs, record["freq"])
    return int(across < down)


def _ranks(record: Record, side: int, state: np.random.RandomState) -> Values:
    """Values whose order is the permutation that follows the 514 gradients."""
    state.randint(0, 2**31, (514, 2))
    permutation = np.arange(256)
    for place, other in zip(range(255, -1, -1), state.randint(0, 2**31, 256) % 256, strict=True):
        permutation[[place, other]] = permutation[[other, place]]
    ranks = np.empty(256)
    ranks[permutation] = np.arange(256) / 256
    return ranks


def _table(record: Record, side: int, state: np.random.RandomState) -> Values:
    count = int(4 * side / record["scales"][0])
    table = np.ones((40, 40))
    table[:count, :count] = state.uniform(size=(count, count))
    return table


def _normals(record: Record, side: int, state: np.random.RandomState) -> Values:
    if "rays" in record:
        return _padded(state.randn(record["rays"]))
    return np.stack([_padded(state.randn(count)) for count in record["nrays"]])


def _padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(values, (0, 199 - len(values)), constant_values=np.nan)


def _lines(record: Record, side: int, state: np.random.RandomState) -> Values:
    count = int(record["density"] * side)
    return np.pad(state.uniform(size=(count, 3)), ((0, side - count), (0, 0)), constant_values=np.nan)


def _phases(record: Record, side: int, state: np.random.RandomState) -> Values:
    return state.uniform(size=(side, side // 2))


def _three_phases(record: Record, side: int, state: np.random.RandomState) -> Values:
    return state.uniform(size=(3, side, side // 2))


INVERSES: dict[str, dict[str, Inverse]] = {
    "caustic_refraction": {"time": _uniform("time", 0.5, 2), "size": _of_side("size", 0.75, 1.25)},
    "inverse_sparkles": {"center": _of_side("center", 0.25, 0.75), "rays": _as_recorded("rays"), "lengths": _normals},
    "sparkles": {"centers": _of_side("centers", 0, 1), "nrays": _as_recorded("nrays"), "lengths": _normals},
    "perlin_noise": {
        "gradients": lambda record, side, state: state.randint(0, 2**31, (514, 2))[:256] % 512,
        "permutation": _ranks,
    },
    "blue_noise_sample": {"phases": _phases},
    "plasma_noise": {
        "time": _uniform("time", 0, 6 * math.pi),
        "iterations": _as_recorded("iterations"),
        "sharpness": _uniform("sharpness", 0.5, 1),
        "scale": _of_side("scale", 0.075, 0.2),
    },
    "checkerboard_cutout": {
        "angle": _uniform("angle", 0, 2 * math.pi),
        "scale": lambda record, side, state: (record["scales"][0] / side - 0.1) / 0.15,
        "table": _table,
    },
    "cocentric_sine_waves": {
        "offset": _of_side("offset", 0, 1),
        "freq": _uniform("freq", 0, 10),
        "amplitude": _of_side("amplitude", 0, 0.1),
        "ring_width": _of_side("ring_width", 0, 0.1),
    },
    "single_frequency_greyscale": {
        "freq": _frequencies,
        "order": _swapped,
        "phase": _uniform("phase", 0, 2 * math.pi),
    },
    "brownish_noise": {"phases": _three_phases},
    "pinch_and_twirl": {"signs": lambda record, side, state: (np.array(record["angles"]) > 0).astype(np.int64)},
    "ripple": {"wavelengths": _of_side("wavelengths", 0.1, 0.3), "phases": _uniform("phases", 0, 2 * math.pi)},
    "circular_motion_blur": {},
    "lines": {
        "angle": _uniform("angle", 0, 2 * math.pi),
        "angle_variation": _uniform("angle_variation", 0.1, 1),
        "lines": _lines,
    },
    "transverse_chromatic_abberation": {"order": lambda record, side, state: np.argsort(record["scales"]) / 3},
}
"""The draws of each corruption by name."""


@dataclass(frozen=True)
class RecordedDraws:
    """Draws from the records of one corruption, one record a sample, in float64.

    Every draw is checked to lie where its distribution does.
    """

    kernel: str
    records: tuple[Record, ...]
    side: int

    def _values(self, name: str, shape: tuple[int, ...]) -> Tensor:
        inverse = INVERSES[self.kernel][name]
        drawn = []
        for record in self.records:
            values = np.asarray(inverse(record, self.side, np.random.RandomState(record.get("seed"))))
            assert values.shape == shape, (self.kernel, name)
            drawn.append(values)
        return torch.from_numpy(np.stack(drawn))

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        values = self._values(name, shape).double()
        known = values[~values.isnan()]
        assert ((known > -1e-12) & (known < 1 + 1e-12)).all(), (self.kernel, name)
        return values

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._values(name, shape)

    def integers(self, name: str, low: int, high: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        values = self._values(name, shape).long()
        assert isinstance(high, int)
        assert ((values >= low) & (values < high)).all(), (self.kernel, name)
        return values

    def int16(self, name: str, shape: tuple[int, ...]) -> Tensor:
        raise NotImplementedError

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        raise NotImplementedError

    def select(self, chosen: slice) -> RecordedDraws:
        return replace(self, records=self.records[chosen])

    def scoped(self, scope: str) -> RecordedDraws:
        return self


class DoubleDraws(PublishedDraws):
    """The published stream with normal values in float64."""

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = [np.moveaxis(state.normal(size=(*shape[1:], shape[0])), -1, 0) for state in self.states]
        return torch.from_numpy(np.stack(drawn))


def golden_cells(golden: Path, file: str) -> dict[str, list[int]]:
    """The severities that a golden file has, by corruption."""
    cells: dict[str, list[int]] = {}
    with np.load(golden / f"{file}.npz") as arrays:
        for name, _, severity in (key.partition("/") for key in arrays.files if "/" in key):
            cells.setdefault(name, []).append(int(severity))
    return cells


def recorded_cell(golden: Path, file: str, name: str, severity: int) -> tuple[Images, Images]:
    """Return our bytes from the recorded draws, and the golden ones."""
    images, expected = pixels(golden, file, "inputs"), pixels(golden, file, f"{name}/{severity}")
    with np.load(golden / f"{file}.npz") as arrays:
        records = json.loads(str(arrays["draws"]))[name][str(severity)]
    corruption = find_corruption(name, FILES[file])
    if name in INVERSES:
        draws: Draws = RecordedDraws(name, tuple(records), images.shape[-1])
    else:
        draws = DoubleDraws(tuple(np.random.RandomState(record.get("numpy_seed")) for record in records))
    return corruption(images, draws, corruption.params(FILES[file], severity)), expected
