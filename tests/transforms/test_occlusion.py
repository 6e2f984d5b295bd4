"""Occlusion: what is covered, of how much, and the curve over it.

Oracles: masks drawn pixel by pixel in numpy from the keyed draws; the areas themselves; trapezoids over the records.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import robench
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.suites import suites_for
from robench.suites.sweeps import OCCLUSION
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import PERTURBATIONS
from robench.transforms.perturbations.occlusion import _RATIOS, _size
from robench.transforms.warps import PaddedBatch
from robench.types import Images

MEAN_COLOUR = np.array([124, 116, 104], np.uint8)[:, None, None]
"""round(255 * (.485, .456, .406)), what ImageNet's models subtract."""
AREAS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
NAMES = ("rectangle", "noise_rectangle", "grid")


def keyed(name: str, count: int) -> KeyedDraws:
    return KeyedDraws(0, torch.arange(count), f"frames/{name}")


def pictures(side: int, count: int) -> Images:
    """Noise without the fill's red, so that what is covered shows."""
    drawn = np.random.default_rng(2).integers(0, 124, (count, 3, side, side), dtype=np.uint8)
    return torch.from_numpy(drawn)


def frames(name: str, images: Images) -> list[NDArray[np.uint8]]:
    one = PERTURBATIONS[name]
    level = one.params("32")
    assert list(level["frames"]) == AREAS
    made = one(PaddedBatch.of(images), images.shape[2], keyed(name, len(images)), level)
    return [frame.numpy() for frame in made]


def rectangle_mask(side: int, area: float, ratio: float, down: int, right: int) -> NDArray[np.bool_]:
    """By the definition, pixel by pixel: down and right are 32-bit words."""
    height, width = math.sqrt(area * ratio) * side, math.sqrt(area / ratio) * side
    if height > side:
        height, width = side, area * side
    if width > side:
        height, width = area * side, side
    h, w = round(height), round(width)
    top, left = down * (side - h + 1) // 2**32, right * (side - w + 1) // 2**32
    mask = np.zeros((side, side), bool)
    for y in range(side):
        for x in range(side):
            mask[y, x] = top <= y < top + h and left <= x < left + w
    return mask


def grid_mask(side: int, area: float, units: int, down: int, right: int) -> NDArray[np.bool_]:
    """The lines nearest to the middles of their units, as many of each axis as make up the area."""
    wanted = round(side * math.sqrt(area))
    lines = []
    for phase, count in ((down, wanted), (right, round(side**2 * area / wanted))):

        def distance(place: int, phase: int = phase) -> tuple[Fraction, int]:
            within = (Fraction(2 * place + 1, 2) * units / side + Fraction(phase, 2 * side)) % 1
            # Places are multiples of 1/(2 side); half of that further, the middle lies between two of them.
            return abs(within + Fraction(1, 4 * side) - Fraction(1, 2)), place

        lines.append(np.isin(np.arange(side), sorted(range(side), key=distance)[:count]))
    mask: NDArray[np.bool_] = lines[0][:, None] & lines[1][None, :]
    return mask


@pytest.mark.parametrize("side", [32, 45])
@pytest.mark.parametrize("name", ["rectangle", "noise_rectangle"])
def test_rectangles_are_those_of_the_definition(name: str, side: int) -> None:
    count = 12
    images, draws = pictures(side, count), keyed(name, count)
    shape = (draws.words("ratio", 1) * 65 >> 32)[:, 0].tolist()
    down, right = (draws.words(axis, 1)[:, 0].tolist() for axis in ("down", "right"))
    noise = draws.int16("fill", (3, side, side)).numpy().astype(np.uint8)
    for area, frame in zip(AREAS, frames(name, images), strict=True):
        for row in range(count):
            ratio = 0.3 * (1 / 0.09) ** (shape[row] / 64)
            mask = rectangle_mask(side, area, ratio, down[row], right[row])
            fill = MEAN_COLOUR if name == "rectangle" else noise[row]
            assert (frame[row] == np.where(mask, fill, images.numpy()[row])).all()


@pytest.mark.parametrize("side", [32, 45])
def test_grids_are_those_of_the_definition(side: int) -> None:
    count = 12
    images, draws = pictures(side, count), keyed("grid", count)
    units = (2 + (draws.words("units", 1) * 3 >> 32))[:, 0].tolist()
    down, right = ((draws.words(f"phase/{a}", 1) * 2 * side >> 32)[:, 0].tolist() for a in ("down", "right"))
    assert set(units) == {2, 3, 4}
    for area, frame in zip(AREAS, frames("grid", images), strict=True):
        for row in range(count):
            mask = grid_mask(side, area, units[row], down[row], right[row])
            assert (frame[row] == np.where(mask, MEAN_COLOUR, images.numpy()[row])).all()


@pytest.mark.parametrize(("side", "one", "mean"), [(32, 0.022, 0.012), (224, 0.0035, 0.0012)])
@pytest.mark.parametrize("name", NAMES)
def test_the_covered_share_is_the_area_and_grows(name: str, side: int, one: float, mean: float) -> None:
    """Of one picture but for whole pixels, over pictures nearly exactly; nothing is uncovered again."""
    images = torch.full((100, 3, side, side), 255, dtype=torch.uint8)
    before = np.zeros((100, side, side), bool)
    for area, frame in zip(AREAS, frames(name, images), strict=True):
        covered = (frame != 255).any(axis=1)
        share = covered.mean(axis=(1, 2))
        assert np.abs(share - area).max() < one
        assert abs(share.mean() - area) < mean
        assert (covered | ~before).all()
        before = covered


def test_shapes_and_places_of_rectangles() -> None:
    """As often wide as high, between 0.3 and 1/0.3, and anywhere, at the edges too."""
    sizes = np.array([_size((224, 224), 0.1, ratio) for ratio in _RATIOS])
    ratios = sizes[:, 0] / sizes[:, 1]
    assert (ratios[0], ratios[-1]) == pytest.approx((0.3, 1 / 0.3), rel=0.02)
    assert (sizes == sizes[::-1, ::-1]).all()
    small = frames("rectangle", torch.full((2000, 3, 32, 32), 255, dtype=torch.uint8))[0]
    covered = (small[:, 0] != 255).mean(axis=0)
    assert all(0 < edge.mean() < 0.02 for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]))
    halves = [covered[:16].mean(), covered[16:].mean(), covered[:, :16].mean(), covered[:, 16:].mean()]
    assert halves == pytest.approx([0.05] * 4, abs=0.005)


@pytest.mark.parametrize("side", [1, 2, 5, 299])
def test_any_side(side: int) -> None:
    for name in NAMES:
        assert all(frame.shape == (2, 3, side, side) for frame in frames(name, pictures(side, 2)))


def test_curves_by_area(tmp_path: Path) -> None:
    demo = robench.load_classifier("demo", device="cpu")
    done = robench.evaluate(
        demo, "demo", ["occlusion"], tmp_path / "run", options=Options(limit=60, extra_corruptions=True)
    )
    results = done.results[done.results["suite"] == "occlusion"]
    assert set(results["axis"].dropna()) == {"area", "direction"}
    clean = done.directory.read_records(next(c.clean for c in done.directory.conditions if c.suite == "occlusion"))
    accuracy = (clean["pred"] == clean["label"]).mean()
    areas = {}
    for name in NAMES:
        records = done.directory.read_records(f"occlusion-{name}-1-32px")
        right = (records["pred"] == records["label"]).groupby(records["axis_value"]).mean()
        assert right.index.tolist() == AREAS
        curve = results[(results["metric"] == "accuracy") & (results["corruption"] == name)]
        assert curve.set_index("axis_value")["value"].to_dict() == right.to_dict()
        areas[name] = np.trapezoid([accuracy, *right], [0, *AREAS]) / AREAS[-1]
        half = results[(results["metric"] == "half_accuracy_strength") & (results["corruption"] == name)]
        reached = np.array([accuracy, *right])
        first = int(np.argmax(reached <= accuracy / 2))
        expected = np.interp(accuracy / 2, reached[[first, first - 1]], np.array([0, *AREAS])[[first, first - 1]])
        assert half["value"].item() == pytest.approx(expected)
    scored = results[results["metric"] == "accuracy_auc"].set_index("corruption")["value"]
    assert scored[list(NAMES)].to_dict() == pytest.approx(areas)
    whole = results[(results["metric"] == "accuracy_auc") & results["corruption"].isna()]
    assert whole["value"].item() == pytest.approx((areas["rectangle"] + areas["grid"]) / 2)
    assert whole["n"].item() == 2


def test_all_has_it() -> None:
    assert OCCLUSION in suites_for(["all"], 28)
    preprocessing = robench.load_classifier("demo", device="cpu").preprocessing
    planned = make_plan(["occlusion"], Options(), preprocessing).listed
    assert [one.corruption for one in planned] == ["clean", "rectangle", "grid"]
