"""Parquet through fastparquet, as the light installation reads it. Oracle: pyarrow, on the same files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.errors import RunError, TableError
from robench.runs import parquet
from robench.runs.parquet import read_arrays, read_distinct, read_parquet, schema_of, write_parquet
from robench.runs.schema import RECORDS, SAMPLES

ROWS = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "suite": "cifar-p",
            "corruption": ["tilt", "snow"] * (ROWS // 2),
            "severity": np.int16(2),
            "axis_value": np.where(np.arange(ROWS) % 3, rng.random(ROWS), np.nan),
            "dx": np.nan,
            "dy": np.nan,
            "frame": np.arange(ROWS, dtype=np.int32) % 4,
            "resolution": np.int32(32),
            "sample": np.arange(ROWS) * 10**10,
            "label": rng.integers(0, 9, ROWS).astype(np.int32),
            "pred": rng.integers(-1, 9, ROWS).astype(np.int32),
            "top5": list(rng.integers(0, 9, (ROWS, 5)).astype(np.int32)),
            "confidence": rng.random(ROWS, np.float32),
            "prob_label": rng.random(ROWS, np.float32),
            **{name: rng.random(ROWS, np.float32) for name in ("max_logit", "entropy", "sum_p2", "gen")},
        }
    )
    write_parquet(RECORDS, frame, tmp_path / "records.parquet")
    return tmp_path / "records.parquet"


NULLABLE = ("axis_value", "dx", "dy")


def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError

    monkeypatch.setattr(parquet, "_pyarrow", absent)


def test_both_readers_read_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, arrays = read_parquet(RECORDS, file), read_arrays(RECORDS, file, RECORDS.names)
    own, others = ["suite", "corruption", "severity"], ["pred", "sample"]
    part, values = read_distinct(RECORDS, file, others, own)
    without_pyarrow(monkeypatch)
    light, light_arrays = read_parquet(RECORDS, file), read_arrays(RECORDS, file, RECORDS.names)
    assert list(light.columns) == RECORDS.names
    for name in RECORDS.names:
        assert np.array_equal(
            np.stack(light[name].tolist()), np.stack(frame[name].tolist()), equal_nan=name in NULLABLE
        )
        assert np.array_equal(light_arrays[name], arrays[name], equal_nan=name in NULLABLE)
        assert light_arrays[name].dtype == arrays[name].dtype
    light_part, light_values = read_distinct(RECORDS, file, others, own)
    assert light_values == values == {"suite": ["cifar-p"], "corruption": ["tilt", "snow"], "severity": [2]}
    assert light_part.equals(part)


def test_bad_files_are_one_line_for_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = file.read_bytes()
    damaged = {
        "empty": b"", "text": b"a,b\n1,2\n", "cut": whole[:-9], "short": whole[: len(whole) // 2],
        "garbled": whole[:200] + bytes(300) + whole[500:], "absent": None,
    }  # fmt: skip
    for light in (False, True):
        if light:
            without_pyarrow(monkeypatch)
        with pytest.raises(TableError, match="is not a samples table"):
            read_parquet(SAMPLES, file, ["index"])
        for name, content in damaged.items():
            other = file.parent / f"{name}.parquet"
            if content is not None:
                other.write_bytes(content)
            with pytest.raises(TableError, match=f"cannot read .*{name}"):
                read_parquet(RECORDS, other)


def test_lists_of_different_lengths_are_refused_by_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({name: [0, 0] for name in RECORDS.names})
    frame = frame.assign(suite="s", corruption="c", top5=[[1, 2], [1]])
    write_parquet(RECORDS, frame.astype({"axis_value": float}), tmp_path / "r.parquet")
    for light in (False, True):
        if light:
            without_pyarrow(monkeypatch)
        with pytest.raises(TableError, match="rows of top5 have different lengths"):
            read_arrays(RECORDS, tmp_path / "r.parquet", ["top5"])


def test_without_either_a_line_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pyarrow(monkeypatch)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(RunError, match=r"pip install fastparquet, or give the run's results\.csv"):
        read_parquet(RECORDS, file)


def test_the_schema_has_the_declared_types() -> None:
    schema = schema_of(RECORDS)
    assert schema.names == RECORDS.names
    assert [str(schema.field(one.name).type) for one in RECORDS.columns if one.name != "top5"] == [
        one.type for one in RECORDS.columns if one.name != "top5"
    ]
    assert str(schema.field("top5").type.value_type) == "int32"
    assert [field.name for field in schema if field.nullable] == ["axis_value", "dx", "dy"]
