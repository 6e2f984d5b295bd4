"""Shape bias and error consistency, against the published decisions and values that other code computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.metrics.error_consistency import error_consistency
from robench.analysis.metrics.shape_bias import Cues
from robench.suites import SHAPE_CATEGORIES, cues_of
from tests.builders import each


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, pd.DataFrame]:
    folder = shared / "data" / "cue_conflict"
    names = ("decisions", "decisions_all", "expected", "error_consistency", "categories")
    return {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in names}


def test_the_published_decisions_give_the_published_fractions(published: dict[str, pd.DataFrame]) -> None:
    """The 27 decision makers of both sets, of which 10 are people who may not answer (`na`)."""
    for row in published["expected"].to_dict("records"):
        table = published["decisions_all" if row["images"] == 1280 else "decisions"]
        cues = Cues.of(table["shape"], table["texture"], table[row["decision_maker"]])
        found = (len(table), cues.conflict.sum(), cues.shape.sum(), cues.texture.sum())
        assert found == (row["images"], row["conflicts"], row["shape"], row["texture"]), row["decision_maker"]
        assert cues.bias == pytest.approx(row["shape_bias"], abs=1e-6)
        assert cues.right.mean() == pytest.approx(row["accuracy"], abs=1e-6)


def test_error_consistency_of_the_published_decisions(published: dict[str, pd.DataFrame]) -> None:
    pairs = 0
    for row in published["error_consistency"].to_dict("records"):
        table = published["decisions_all" if row["images"] == 1280 else "decisions"]
        if row["a"] in table and row["b"] in table:
            first, second = ((table[name] == table["shape"]).to_numpy()[:, None] for name in (row["a"], row["b"]))
            found = error_consistency(first, second, np.ones((1, len(table)), np.int32))
            expected = (row["observed"], row["expected"], row["kappa"])
            assert [float(one[0, 0]) for one in found] == pytest.approx(expected, abs=1e-6), row
            pairs += 1
    assert pairs > 50


@each(
    "first, second, kappa",
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1.0),  # Chance agrees always, too.
        ([1, 1, 0, 0], [1, 0, 1, 0], 0.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], -1.0),
        ([1, 1, 1, 1], [1, 1, 0, 0], 0.0),
    ],
)
def test_error_consistency_by_hand(first: list[int], second: list[int], kappa: float) -> None:
    rights, others = (np.array(one, np.bool_)[:, None] for one in (first, second))
    assert float(error_consistency(rights, others, np.ones((1, 4), np.int32)).kappa[0, 0]) == kappa


def test_without_a_decision_for_shape_or_texture_there_is_no_bias() -> None:
    assert np.isnan(Cues.of(["cat", "dog"], ["dog", "dog"], ["car", "dog"]).bias)


def test_categories_are_the_published_ones(published: dict[str, pd.DataFrame]) -> None:
    table = published["categories"]
    expected = {name: tuple(sorted(group["index"])) for name, group in table.groupby("category")}
    assert expected == SHAPE_CATEGORIES
    assert list(SHAPE_CATEGORIES) == sorted(SHAPE_CATEGORIES), "the first of equal means is the first by name"


@each(
    "path, cues",
    [
        ("cat/cat3-truck1.png", ("cat", "truck")),
        ("bottle10-bottle2.jpg", ("bottle", "bottle")),
        ("cat3-lorry1.png", None),
        ("cat-truck.png", None),
        ("cat3-truck1-dog1.png", None),
    ],
)
def test_cues_of_file_names(path: str, cues: tuple[str, str] | None) -> None:
    assert cues_of(path) == cues
