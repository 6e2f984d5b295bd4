"""Tables: what is written is what is read, whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest

from robench.errors import TableError
from robench.runs import parquet, schema
from robench.runs.csv import read_csv, read_versions, write_csv
from robench.runs.files import atomic_write
from robench.runs.schema import RECORDS, RESULTS, SAMPLES
from tests.builders import each


def result(**cells: object) -> dict[str, object]:
    row: dict[str, object] = {
        "schema": 1, "model": "m", "dataset": "d", "data_sha": "x", "suite": "s", "source": "computed", "protocol": "p",
        "metric": "error_rate", "value": 0.1, "unit": "fraction", "n": 5, "seed": "0", "robench_version": "0",
    }  # fmt: skip
    return row | cells


def test_results_survive_csv_to_the_last_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 1e-300, 2.0**-1074, 100.0]
    frame = schema.rows_to_frame(RESULTS, [result(value=v, severity=3, corruption="fog") for v in values] + [result()])
    write_csv(RESULTS, frame, tmp_path / "r.csv")
    assert read_csv(RESULTS, tmp_path / "r.csv").equals(frame)
    assert ",3," in (tmp_path / "r.csv").read_text(), "an integer column with empty cells stays integer"


def test_a_required_cell_may_not_be_empty() -> None:
    with pytest.raises(TableError, match="'value' of the results table has empty cells"):
        schema.rows_to_frame(RESULTS, [result(value=None)])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\x00\x01"])
def test_other_csv_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(TableError):
        read_csv(RESULTS, tmp_path / "r.csv")


def saved(frame: pd.DataFrame, delimiter: str = ",", decimal: str = ".", end: str = "\n", **quoting: Any) -> str:
    """Return a file as a spreadsheet writes it."""
    return str(frame.to_csv(index=False, sep=delimiter, decimal=decimal, lineterminator=end, **quoting))


@each(
    "content",
    [
        lambda frame: saved(frame, ";", ",", "\r\n").encode("utf-8-sig"),
        lambda frame: saved(frame, "\t", end="\r\n").encode("utf-16"),
        lambda frame: ("sep=;\r\n" + saved(frame, ";", ",")).encode(),
        lambda frame: saved(frame, decimal=",", quoting=csv.QUOTE_ALL).encode(),
        lambda frame: (saved(frame) + "," * (len(frame.columns) - 1) + "\n\n  \n").encode(),
        lambda frame: saved(frame, end="\r").encode(),
        lambda frame: saved(frame[frame.columns[::-1]].assign(comment="mine")).encode(),
        lambda frame: saved(frame).replace("\n", ",,\n").encode(),
    ],
)
def test_tables_that_a_spreadsheet_saved_are_read(tmp_path: Path, content: Callable[[pd.DataFrame], bytes]) -> None:
    rows = [result(value=v, severity=3, model="a, b; c", ci_low=0.25) for v in (0.125, 1e-7, 1 / 3)]
    frame = schema.rows_to_frame(RESULTS, rows)
    (tmp_path / "r.csv").write_bytes(content(frame))
    assert read_csv(RESULTS, tmp_path / "r.csv").equals(frame)
    assert read_versions(tmp_path / "r.csv") == ("1", "0")


@each(
    ("change", "says"),
    [
        (lambda text: text.replace(b",m,", b",na\xefve,"), "is not UTF-8 text; save the table as CSV in UTF-8"),
        (lambda text: text[:-6], r"line 3 has \d+ cells for 26 columns; quote .* complete cut lines"),
        (lambda text: text.replace(b"0.1", b"0.1,2", 1), "line 2 has 27 cells for 26 columns; quote"),
        (
            lambda text: text.replace(b"0.1", b"#DIV/0!", 1),
            r"line 2: value is '#DIV/0!', not a number; correct the cell",
        ),
        (lambda text: text.replace(b",5,", b",1_0,", 1), "line 2: n is '1_0', not a number; correct the cell"),
        (lambda text: text.replace(b",5,", b",1e30,", 1), "line 2: n is '1e30', not a whole number; correct"),
        (
            lambda text: text.replace(b",value,", b",valeur,", 1),
            "not a results table: missing columns value; write it again",
        ),
        (lambda text: text.replace(b"dataset", b"model", 1), "has two columns 'model'; leave one out"),
        (lambda text: text.replace(b"0.1", b'"0.1', 1), r"is not CSV \(unexpected end of data\); save"),
        (lambda text: text.replace(b"0.1", b"0.1\0", 1), "line 2"),
        (lambda text: b" \n,,\n", "is empty"),
    ],
)
def test_other_damage_is_one_line_with_its_place(tmp_path: Path, change: Callable[[bytes], bytes], says: str) -> None:
    write_csv(RESULTS, schema.rows_to_frame(RESULTS, [result(), result()]), tmp_path / "r.csv")
    (tmp_path / "r.csv").write_bytes(change((tmp_path / "r.csv").read_bytes()))
    with pytest.raises(TableError, match=says) as caught:
        read_csv(RESULTS, tmp_path / "r.csv")
    assert len(str(caught.value).splitlines()) == 1


def test_text_in_a_number_column_is_refused(tmp_path: Path) -> None:
    frame = schema.rows_to_frame(RESULTS, [result()])
    write_csv(RESULTS, frame, tmp_path / "r.csv")
    (tmp_path / "r.csv").write_text((tmp_path / "r.csv").read_text().replace("0.1", "ten"))
    with pytest.raises(TableError, match=r"r\.csv"):
        read_csv(RESULTS, tmp_path / "r.csv")


def test_parquet_of_another_table_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"index": [1], "path": ["a"], "label": [0], "sha": ["x"]})
    parquet.write_parquet(SAMPLES, frame, tmp_path / "s.parquet")
    assert parquet.read_parquet(SAMPLES, tmp_path / "s.parquet")["path"].tolist() == ["a"]
    with pytest.raises(TableError, match="is not a records table"):
        parquet.read_parquet(RECORDS, tmp_path / "s.parquet")
    (tmp_path / "s.parquet").write_bytes((tmp_path / "s.parquet").read_bytes()[:-9])
    with pytest.raises(TableError, match="cannot read"):
        parquet.read_parquet(SAMPLES, tmp_path / "s.parquet")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    atomic_write(file, lambda handle: handle.write(b"old"))

    def broken(handle: IO[bytes]) -> None:
        handle.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic_write(file, broken)
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.txt"]


def test_every_column_says_what_it_means() -> None:
    for table in (RECORDS, RESULTS, SAMPLES, schema.TIMINGS):
        assert all(column.meaning for column in table.columns)
        assert len(set(table.names)) == len(table.names)


def test_distinct_values_are_all_that_occur(tmp_path: Path) -> None:
    """Oracle: pandas' unique of the whole columns."""
    rows = 40
    frame = pd.DataFrame({"index": range(rows), "path": ["a", "b"] * 20, "label": [3, 1, 3, 7] * 10, "sha": "x"})
    parquet.write_parquet(SAMPLES, frame, tmp_path / "s.parquet")
    found, values = parquet.read_distinct(SAMPLES, tmp_path / "s.parquet", ["index"], ["path", "label"])
    assert found["index"].tolist() == list(range(rows))
    assert list(found.columns) == ["index"]
    assert values == {"path": frame["path"].unique().tolist(), "label": frame["label"].unique().tolist()}


def test_a_cell_of_another_type_is_refused(tmp_path: Path) -> None:
    frame = schema.rows_to_frame(RESULTS, [result()])
    write_csv(RESULTS, frame, tmp_path / "r.csv")
    (tmp_path / "r.csv").write_text((tmp_path / "r.csv").read_text().replace(",5,", ",5.5,"))
    with pytest.raises(TableError, match=r"r.csv, line 2: n is '5.5', not a whole number; correct the cell"):
        read_csv(RESULTS, tmp_path / "r.csv")


def test_a_relative_path_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bn-test:n=16").mkdir()
    path = Path("bn-test:n=16") / "samples.parquet"
    frame = pd.DataFrame({"index": [0], "path": ["a.png"], "label": np.array([0], np.int32), "sha": ["0"]})
    parquet.write_parquet(SAMPLES, frame, path)
    assert list(parquet.read_parquet(SAMPLES, path)["path"]) == ["a.png"]
