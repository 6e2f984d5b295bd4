"""Baselines of another protocol or another schema. Oracle: results written by hand as another version writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.gate.gate import gate
from robench.analysis.gate.rules import Rule
from robench.errors import OptionError, TableError
from robench.suites.protocol import Protocol
from tests.analysis.gate.invented import write_run

OLD = "0.0.9"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    cells = {("clean", 0): rng.random(200) < 0.1, ("fog", 1): rng.random(200) < 0.2}
    return write_run(tmp_path / "run", cells)


def older(run: Path, **cells: object) -> Path:
    """The run's results as an older version's baseline, with other cells in some columns."""
    results = pd.read_csv(run / "results.csv", dtype=str, keep_default_na=False)
    file = run.parent / "baseline.csv"
    results.assign(**{"robench_version": OLD, **cells}).to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("protocol", "difference"),
    [
        ("as-released+jpeg85+fp32#2", "the geometry (resize32x32-bilinear and as-released)"),
        ("resize36x36-bilinear+jpeg85+fp32#2", "the geometry (resize32x32-bilinear and resize36x36-bilinear)"),
        ("resize32x32-bilinear+fp32#2", "the release JPEG (jpeg85 and none)"),
        ("resize32x32-bilinear+jpeg85+bf16#2", "the precision (fp32 and bf16)"),
        ("resize32x32-bilinear+jpeg85+fp32+reference#2", "the backend (none and reference)"),
        (
            "resize36x36-bilinear+jpeg85+tf32#2",
            "the geometry (resize32x32-bilinear and resize36x36-bilinear) and the precision (fp32 and tf32)",
        ),
        ("resize32x32-bilinear+jpeg85+fp32#3", "the constants or the draws"),
    ],
)
def test_the_part_of_the_protocol_that_differs_is_named(protocol: str, difference: str) -> None:
    ours = Protocol.parse("resize32x32-bilinear+jpeg85+fp32#2")
    assert ours.difference(Protocol.parse(protocol)).startswith(difference)


def test_another_protocol_is_refused_with_the_parts_that_differ(run: Path) -> None:
    baseline = older(run, protocol="cifar#2")
    with pytest.raises(OptionError, match=r"differ in the constants or the draws \(cifar#1 and cifar#2\)"):
        gate(run, baseline, [Rule("mean_error", suite=("cifar-c",))])


def test_another_version_with_equal_protocols_compares(run: Path) -> None:
    assert not gate(run, older(run)).failed


@pytest.mark.parametrize("schema", ["0", "9"])
def test_another_schema_is_refused_before_its_columns_are(run: Path, schema: str) -> None:
    baseline = older(run, schema=schema)
    pd.read_csv(baseline, dtype=str).drop(columns=["unit", "source"]).to_csv(baseline, index=False)
    with pytest.raises(TableError, match=rf"has schema {schema}, of robench 0\.0\.9, .* --update-baseline"):
        gate(run, baseline)
