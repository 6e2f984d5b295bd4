"""The columns of every table robench writes, as data, and the reading, checking and writing of such tables.

Torch-free: this module and everything that stands on it (metrics, score, gate) starts without the GPU stack.
"""

from __future__ import annotations

import csv
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from robench.errors import OptionError, TableError

if TYPE_CHECKING:
    from robench.types import Records, Results

__all__ = [
    "LEADERBOARD",
    "LEADERBOARD_BY_SIDE",
    "RECORDS",
    "RESULTS",
    "SAMPLES",
    "SCHEMA_VERSION",
    "TABLES",
    "TIMINGS",
    "Column",
    "Table",
    "Type",
    "atomic_write",
    "check_cell",
    "empty",
    "leaderboard_of",
    "read_csv",
    "read_versions",
    "rows_to_frame",
    "write_csv",
]

SCHEMA_VERSION = 1
"""Version of the tables' columns; written into every row of the results and into every manifest."""

Type: TypeAlias = Literal["string", "int16", "int32", "int64", "float", "double", "list<int32>"]
"""Type of a column's cells, by Arrow's name for it: `float` has 32 bits, `double` 64."""


@dataclass(frozen=True)
class Column:
    """One column: its name, type, unit and meaning. `nullable` says whether a cell may be empty."""

    name: str
    type: Type
    meaning: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A named list of columns, in the order in which they are written; `meaning` says what a row is, and in which file."""

    name: str
    columns: tuple[Column, ...]
    meaning: str = ""

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def check(self, frame: pd.DataFrame) -> None:
        """Raise TableError unless `frame` has exactly the declared columns, in order."""
        missing = [name for name in self.names if name not in frame.columns]
        unexpected = [name for name in frame.columns if name not in self.names]
        if missing or unexpected:
            raise TableError(
                f"not a {self.name} table: missing columns {missing or 'none'}, unexpected columns {unexpected or 'none'}"
            )
        if list(frame.columns) != self.names:
            raise TableError(f"the columns of the {self.name} table are in another order than {self.names}")


_TEXT: Type = "string"
_F32: Type = "float"
_F64: Type = "double"

RECORDS = Table(
    "records",
    (
        Column("suite", _TEXT, "suite the condition belongs to; `clean` for the unperturbed images"),
        Column("corruption", _TEXT, "corruption or perturbation; `clean` for the unperturbed images"),
        Column("severity", "int16", "severity 1-5, or the difficulty whose frames these are; 0 for clean images"),
        Column(
            "axis_value",
            _F64,
            "place of the frame on its perturbation's axis; on the map of offsets 1000 times that down plus that to the right",
            nullable=True,
        ),
        Column("frame", "int32", "frame of a sequence, 0 where there is none"),
        Column("resolution", "int32", "side of the image that is corrupted and classified", "px"),
        Column("sample", "int64", "position of the sample in the whole sorted dataset"),
        Column("label", "int32", "true class"),
        Column("pred", "int32", "class with the largest logit; -1 where a logit is not finite"),
        Column("top5", "list<int32>", "the five (or all, where fewer) most probable classes, best first"),
        Column("confidence", _F32, "softmax probability of the predicted class", "fraction"),
        Column("prob_label", _F32, "softmax probability of the true class", "fraction"),
    ),
    "one sample under one condition; `records/*.parquet` of a run",
)

RESULTS = Table(
    "results",
    (
        Column("schema", "int64", "version of these columns"),
        Column("model", _TEXT, "label of the model"),
        Column("treatment", _TEXT, "test-time method applied to the model, empty for none", nullable=True),
        Column("dataset", _TEXT, "name of the dataset"),
        Column("data_sha", _TEXT, "fingerprint of the evaluated samples: paths, labels and contents"),
        Column("suite", _TEXT, "suite of the condition or aggregate"),
        Column("source", _TEXT, "`computed` here or `released` files"),
        Column("protocol", _TEXT, "what moves numbers, readable, with a hash; rows compare only where it is equal"),
        Column("metric", _TEXT, "name of the metric; see `robench list metrics`"),
        Column("corruption", _TEXT, "corruption of a cell or of its aggregate over severities", nullable=True),
        Column("severity", "int64", "severity of a cell, difficulty of a sequence, 0 for clean images", nullable=True),
        Column("axis", _TEXT, "what axis_value stands for, for example `class`", nullable=True),
        Column(
            "axis_value",
            _F64,
            "place on that axis; on `offsets` 1000 times that down plus that to the right, px",
            nullable=True,
        ),
        Column("resolution", "int64", "side of the image", "px", nullable=True),
        Column("value", _F64, "the figure"),
        Column("unit", _TEXT, "unit of value, ci_low and ci_high"),
        Column("ci_low", _F64, "lower end of the 95 % interval", nullable=True),
        Column("ci_high", _F64, "upper end of the 95 % interval", nullable=True),
        Column("n", "int64", "what the figure is over: images for a cell, cells for an aggregate over cells"),
        Column("baseline", _TEXT, "what a normalised figure is divided by", nullable=True),
        Column("seed", _TEXT, "seed of all draws; of several that were pooled, `0+1+2`"),
        Column("robench_version", _TEXT, "version of robench that computed the row"),
    ),
    "one figure; `results.csv` of a run",
)

SAMPLES = Table(
    "samples",
    (
        Column("index", "int64", "position of the sample in the whole sorted dataset"),
        Column("path", _TEXT, "path relative to the dataset's folder"),
        Column("label", "int32", "true class"),
        Column("sha", _TEXT, "SHA-256 of the encoded image"),
    ),
    "one evaluated sample; `samples.parquet` of a run",
)

TIMINGS = Table(
    "timings",
    (
        Column("suite", _TEXT, "suite of the condition"),
        Column("corruption", _TEXT, "corruption of the condition"),
        Column("severity", "int64", "severity of the condition"),
        Column("resolution", "int64", "side of the image", "px"),
        Column("images", "int64", "images classified"),
        Column("seconds", _F64, "wall time of the condition", "s"),
        Column("images_per_second", _F64, "images divided by seconds", "1/s"),
    ),
    "one evaluated condition; `timings.csv` of a run, outside what is equal byte for byte",
)


def _with_interval(column: Column) -> tuple[Column, ...]:
    """A figure's column and those of the ends of its interval, which published rows leave empty."""
    return (
        column,
        Column(f"{column.name}_ci_low", _F64, f"lower end of the 95 % interval of {column.name}", column.unit, True),
        Column(f"{column.name}_ci_high", _F64, f"upper end of the 95 % interval of {column.name}", column.unit, True),
    )


def _percent(name: str, meaning: str) -> tuple[Column, ...]:
    return _with_interval(Column(name, _F64, meaning, "%", nullable=True))


LEADERBOARD = Table(
    "leaderboard",
    (
        # The first nine are those of timm's result files.
        Column("model", _TEXT, "label of the model"),
        Column("top1", _F64, "accuracy on the unperturbed images", "%", nullable=True),
        Column("top1_err", _F64, "100 - top1", "%", nullable=True),
        Column("top5", _F64, "images whose label is among the five most probable classes", "%", nullable=True),
        Column("top5_err", _F64, "100 - top5", "%", nullable=True),
        Column("param_count", _F64, "parameters of the model", "millions", nullable=True),
        Column("img_size", "int64", "side of the model's input", "px", nullable=True),
        Column(
            "crop_pct", _F64, "side of the model's own crop by the side that it resizes to", "fraction", nullable=True
        ),
        Column("interpolation", _TEXT, "of the model's own resizing; what was done is in `protocol`", nullable=True),
        Column(
            "rank",
            "int64",
            "one more than the comparable rows whose whole interval of `rank_by` is better",
            nullable=True,
        ),
        Column("rank_by", _TEXT, "column that the rows are ranked and sorted by"),
        *_with_interval(Column("top1", _F64, "", "%"))[1:],
        *_with_interval(Column("top5", _F64, "", "%"))[1:],
        *_percent("mean_error", "unnormalised mean error of a suite of corruptions; not mCE"),
        *_percent("mce", "mean corruption error of that suite, by the baseline's"),
        *_percent("relative_mce", "relative mean corruption error of that suite, by the baseline's"),
        *_percent("mean_flip_rate", "unnormalised mean flip rate of a suite of sequences at difficulty 1; not mFR"),
        *_percent("mfr", "mean flip rate of that suite at difficulty 1, by the baseline's"),
        *_percent("consistency", "pairs of shifted crops with the same prediction (suite shift)"),
        *_percent("circular_consistency", "pairs of circularly shifted images with the same prediction (suite shift)"),
        *_percent("scale_consistency", "neighbouring scales with the same prediction (suite scale)"),
        *_percent("accuracy_area", "mean area under accuracy by strength (suite noise)"),
        *_percent("occlusion_accuracy_area", "mean area under accuracy by covered area (suite occlusion)"),
        Column("treatment", _TEXT, "test-time method applied to the model, empty for none", nullable=True),
        Column("weights_sha", _TEXT, "SHA-256 of the weights, empty where the input does not say", nullable=True),
        Column("dataset", _TEXT, "name of the dataset"),
        Column("data_sha", _TEXT, "fingerprint of the evaluated samples, empty for published rows", nullable=True),
        Column("images", "int64", "evaluated images", nullable=True),
        Column(
            "source",
            _TEXT,
            "`computed` or `released` (what the suites' images are), `timm` or `robustbench` (published)",
        ),
        Column(
            "protocol", _TEXT, "of every suite that the row has figures of, `SUITE PROTOCOL`, separated by semicolons"
        ),
        Column("baseline", _TEXT, "what normalised figures are divided by", nullable=True),
        Column("seed", _TEXT, "seed of all draws; of pooled ones `0+1+2`; empty for published rows", nullable=True),
        Column(
            "robench_version", _TEXT, "version of robench that computed the row, empty for published", nullable=True
        ),
        Column("schema", "int64", "version of these columns"),
    ),
    "one model; what `robench leaderboard --out` writes",
)

LEADERBOARD_BY_SIDE = _percent("top1_{side}px", "accuracy of the network run at that side (suite resolution)")
"""Columns that follow the others for every input size that some row has, smallest first."""

TABLES = (RESULTS, LEADERBOARD, RECORDS, SAMPLES, TIMINGS)
"""All tables, as docs/schema.md lists them."""


def leaderboard_of(sides: Iterable[int]) -> Table:
    """The leaderboard's columns where these input sizes occur."""
    more = [
        replace(column, name=column.name.format(side=side), meaning=column.meaning.format(side=side))
        for side in sorted(set(sides))
        for column in LEADERBOARD_BY_SIDE
    ]
    return replace(LEADERBOARD, columns=(*LEADERBOARD.columns, *more))


_FORMULA = re.compile(r"(?:^|;)\s*(?:[=@＝＠]|[+\-＋－](?!\d+\.?\d*$|\.\d+$))")
"""What a spreadsheet calculates: at the start, or after the separator of half of the world's spreadsheets."""


def check_cell(kind: str, text: str) -> None:
    """Raise OptionError for a name that a spreadsheet would take for a formula, or a page for markup, in a cell of a table."""
    if _FORMULA.search(text) or any(one in "<>" or unicodedata.category(one) in ("Cc", "Cs") for one in text):
        raise OptionError(
            f"the {kind} is called {text!r}, which would run as a formula or a script where the results are opened: rename it"
        )


def empty(table: Table) -> pd.DataFrame:
    """Return a frame with the table's columns and no rows."""
    return pd.DataFrame({name: [] for name in table.names})


def rows_to_frame(table: Table, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a frame from rows that name only the cells they fill; nullable columns left out are empty."""
    frame = pd.DataFrame(list(rows), columns=table.names).astype(object)
    frame = frame.where(frame.notna(), None)
    for column in table.columns:
        if not column.nullable and frame[column.name].isna().any():
            raise TableError(f"column {column.name!r} of the {table.name} table may not be empty")
    try:
        return frame.astype({column.name: _DTYPES[column.type] for column in table.columns})
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"a cell of the {table.name} table is not of its column's type: {error}") from error


_DTYPES = {
    **dict.fromkeys(("int16", "int32", "int64"), pd.Int64Dtype()),
    **dict.fromkeys(("float", "double"), np.dtype(np.float64)),
    "string": pd.StringDtype(),
}
"""Nullable integers and plain strings, so that an empty severity stays empty instead of turning into a float."""


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name beside `path`, flush it to disk and rename it: readers never see half of it."""
    handle = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", suffix=path.suffix, delete=False)  # noqa: SIM115
    try:
        with handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(path)
    except BaseException:
        Path(handle.name).unlink(missing_ok=True)
        raise


def write_csv(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` atomically as CSV: the shortest exact decimal of every number, empty cells for missing ones."""
    table.check(frame)
    text = frame.to_csv(index=False, lineterminator="\n")
    atomic_write(path, lambda file: file.write(text.encode()))


def read_versions(path: Path) -> tuple[str, str]:
    """Return `schema` and `robench_version` of a CSV file's first row, whatever its columns are; empty where it has none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = next(csv.DictReader(file), {})
    except (OSError, UnicodeDecodeError, csv.Error):
        return "", ""  # `read_csv` says what is wrong.
    return first.get("schema") or "", first.get("robench_version") or ""


def read_csv(table: Table, path: Path) -> Results | Records:
    """Read a CSV file of the table; TableError, which names the file, if it has other columns or cells that do not fit them."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise TableError(f"cannot read {path} as CSV: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise TableError(f"{path} has rows with more cells than columns")
    numbers = [column.name for column in table.columns if column.type != "string"]
    try:
        table.check(frame)
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return rows_to_frame(table, frame.to_dict("records"))
    except (TableError, ValueError, TypeError) as error:
        raise TableError(f"{path}: {error}") from error
