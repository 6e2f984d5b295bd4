"""Mutated files of every layout: images, or one line; never a crash, a hang or a payload that runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import each
from tests.datasets import fuzz
from tests.datasets.fuzz import KINDS, SEEDS

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 4000), st.binary(min_size=1, max_size=12)),
    min_size=1,
    max_size=4,
)


@each("seed", SEEDS, ids=lambda seed: seed.name)
def test_the_seeds_themselves(seed: fuzz.Seed, tmp_path: Path) -> None:
    assert fuzz.attempt(seed, [], tmp_path) == ("refused" if seed.name.startswith("payload") else "images")
    assert not (tmp_path / "ran").exists()


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.sampled_from(SEEDS), OPERATIONS)
def test_mutated_files(seed: fuzz.Seed, operations: list[fuzz.Operation]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert fuzz.attempt(seed, operations, Path(folder)) in ("images", "some images", "refused")
        assert not (Path(folder) / "ran").exists()


@pytest.mark.nightly
def test_many_mutated_files() -> None:
    assert set(fuzz.run(1000)) <= {"images", "some images", "refused"}
