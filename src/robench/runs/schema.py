"""The columns of every table that robench writes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from robench.errors import OptionError, TableError, one_line

__all__ = [
    "GROUPS",
    "RECORDS",
    "RESULTS",
    "SAMPLES",
    "SCHEMA_VERSION",
    "TIMINGS",
    "Column",
    "Table",
    "Type",
    "check_cell",
    "rows_to_frame",
]

SCHEMA_VERSION = 1
"""Version of the tables' columns, written into every row of the results and every manifest."""

Type: TypeAlias = Literal["string", "int16", "int32", "int64", "float", "double", "list<int32>"]
"""Arrow's name for the type of a column's cells; `float` has 32 bits, `double` 64."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Name of the column.
        type: Type of its cells.
        meaning: Text for the documentation.
        unit: Unit of its numbers; empty for none.
        nullable: Whether a cell may be empty.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A named list of columns.

    Attributes:
        name: Name of the table.
        columns: The columns in the order of the file.
        meaning: Description of a row and of its file, for the documentation.
    """

    name: str
    columns: tuple[Column, ...]
    meaning: str = ""

    @property
    def names(self) -> list[str]:
        """The column names in order."""
        return [column.name for column in self.columns]

    def check(self, frame: pd.DataFrame) -> None:
        """Raise TableError unless `frame` has exactly the declared columns, in order."""
        missing = [name for name in self.names if name not in frame.columns]
        unexpected = [name for name in frame.columns if name not in self.names]
        if missing or unexpected:
            differences = [f"it lacks {_listed(missing)}"] if missing else []
            differences += [f"it has {_listed(unexpected)}"] if unexpected else []
            raise TableError(
                f"not a {self.name} table of this robench: {', and '.join(differences)}",
                "write it again with this version",
            )
        if list(frame.columns) != self.names:
            raise TableError(
                f"not a {self.name} table of this robench: its columns have another order",
                "write it again with this version",
            )


def _listed(columns: Sequence[str]) -> str:
    """Return the names of at most three columns, and the number of the others."""
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f"the column{'s' if len(columns) > 1 else ''} {', '.join(map(repr, columns[:3]))}{more}"


_TEXT: Type = "string"
_F32: Type = "float"
_F64: Type = "double"

RECORDS = Table(
    "records",
    (
        Column("suite", _TEXT, "suite of the condition; `clean` for the unperturbed images"),
        Column("corruption", _TEXT, "corruption or perturbation; `clean` for the unperturbed images"),
        Column("severity", "int16", "severity 1-5, or difficulty of a sequence; 0 for clean images"),
        Column(
            "axis_value",
            _F64,
            "position of the frame on its perturbation's axis; empty on the map of offsets, which has dx and dy",
            nullable=True,
        ),
        Column("dx", "int32", "offset of the crop to the right, on the map of offsets", "px", nullable=True),
        Column("dy", "int32", "offset of the crop down, on the map of offsets", "px", nullable=True),
        Column("frame", "int32", "frame of a sequence; 0 for a single image"),
        Column(
            "resolution",
            "int32",
            "side of the image that is corrupted and classified, the short one of a rectangle",
            "px",
        ),
        Column("sample", "int64", "position of the sample in the whole sorted dataset"),
        Column("label", "int32", "true class; the most probable one if the image has several"),
        Column("pred", "int32", "class with the largest logit; -1 if a logit is not finite"),
        Column("top5", "list<int32>", "the five most probable classes (all if there are fewer), best first"),
        Column("confidence", _F32, "softmax probability of the predicted class", "fraction"),
        Column("prob_label", _F32, "softmax probability of the true class, or of all of them", "fraction"),
        Column("max_logit", _F32, "largest logit; minus infinity if a logit is not finite"),
        Column("entropy", _F32, "entropy of the softmax probabilities; infinity if a logit is not finite", "nats"),
        Column("sum_p2", _F32, "sum of the squared softmax probabilities; 0 if a logit is not finite"),
        Column(
            "gen",
            _F32,
            "generalized entropy: sum of p^0.1 (1 - p)^0.1 over the 100 most probable classes; infinity if a logit is not finite",
        ),
    ),
    "one sample under one condition; `records/*.parquet` of a run",
)

RESULTS = Table(
    "results",
    (
        Column("schema", "int64", "version of these columns"),
        Column("model", _TEXT, "label of the model"),
        Column("treatment", _TEXT, "method applied to the model before evaluation; empty for none", nullable=True),
        Column("dataset", _TEXT, "name of the dataset"),
        Column("data_sha", _TEXT, "fingerprint of the evaluated samples: paths, labels and contents"),
        Column("suite", _TEXT, "suite of the condition or aggregate"),
        Column("source", _TEXT, "`computed` images or `released` files"),
        Column(
            "protocol",
            _TEXT,
            "everything that changes the suite's values, as a readable text with a hash; only rows with equal protocols compare",
        ),
        Column("metric", _TEXT, "name of the metric; see `robench list metrics`"),
        Column("method", _TEXT, "method behind the value, such as a score or an attack; empty for none", nullable=True),
        Column("subset", _TEXT, "images that the value covers, such as a group; empty for all", nullable=True),
        Column("corruption", _TEXT, "corruption of a cell or of its aggregate over severities", nullable=True),
        Column("severity", "int64", "severity of a cell, difficulty of a sequence; 0 for clean images", nullable=True),
        Column("axis", _TEXT, "meaning of axis_value, for example `class`", nullable=True),
        Column(
            "axis_value",
            _F64,
            "position on that axis; empty on the map of offsets, which has dx and dy",
            nullable=True,
        ),
        Column("dx", "int64", "offset of the crop to the right, on the map of offsets", "px", nullable=True),
        Column("dy", "int64", "offset of the crop down, on the map of offsets", "px", nullable=True),
        Column("resolution", "int64", "side of the image, the short one of a rectangle", "px", nullable=True),
        Column("value", _F64, "value of the metric"),
        Column("unit", _TEXT, "unit of value, ci_low and ci_high"),
        Column("ci_low", _F64, "lower end of the 95 % interval", nullable=True),
        Column("ci_high", _F64, "upper end of the 95 % interval", nullable=True),
        Column("n", "int64", "size of the sample: images of a cell, cells of an aggregate"),
        Column("baseline", _TEXT, "divisor of a normalized value", nullable=True),
        Column("seed", _TEXT, "seed of all draws; `0+1+2` for pooled runs"),
        Column("robench_version", _TEXT, "version of robench that computed the row"),
    ),
    "one value; `results.csv` of a run",
)

SAMPLES = Table(
    "samples",
    (
        Column("index", "int64", "position of the sample in the whole sorted dataset"),
        Column("path", _TEXT, "path relative to the dataset's directory"),
        Column("label", "int32", "true class; the lowest one if the image has several"),
        Column("sha", _TEXT, "SHA-256 of the encoded image"),
    ),
    "one evaluated sample; `samples.parquet` of a run",
)

GROUPS = Table(
    "groups",
    (
        Column("sample", "int64", "position of the sample in the whole sorted dataset"),
        Column("attribute", _TEXT, "what the groups differ in, such as `sex`"),
        Column("group", _TEXT, "group of images, such as `sex=female`; `subset` in the results"),
    ),
    "one sample in one group; `groups.parquet` of a run, from `--groups`",
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
    "one evaluated condition; `timings.csv` of a run, the only table that differs between equal runs",
)


_FORMULA = re.compile(r"(?:^|;)\s*(?:[=@＝＠]|[+\-＋－](?!\d+\.?\d*$|\.\d+$))")
"""The start of a formula in a spreadsheet, at the beginning of a cell or after a semicolon, which some locales use as separator."""


def check_cell(kind: str, text: str) -> None:
    """Refuse a name that a spreadsheet would read as a formula, or a web page as markup.

    Args:
        kind: The thing that has the name, for the error.
        text: The name.

    Raises:
        OptionError: The name is refused.
    """
    if _FORMULA.search(text) or any(char in "<>" or unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise OptionError(
            f"the {kind} is named {text!r}, which would run as a formula or a script in a program that opens the results",
            "rename it",
        )


def rows_to_frame(table: Table, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a frame from rows; nullable columns that a row omits are empty.

    Raises:
        TableError: A cell is empty in a column that is not nullable, or has another type.
    """
    frame = pd.DataFrame(list(rows), columns=table.names).astype(object)
    frame = frame.where(frame.notna(), None)
    for column in table.columns:
        if not column.nullable and frame[column.name].isna().any():
            raise TableError(
                f"column {column.name!r} of the {table.name} table has empty cells",
                "fill them, or write the table again",
            )
    try:
        return frame.astype({column.name: _DTYPES[column.type] for column in table.columns})
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(
            f"a cell of the {table.name} table has another type than its column ({one_line(error)})",
            "write the table again",
        ) from error


_DTYPES = {
    **dict.fromkeys(("int16", "int32", "int64"), pd.Int64Dtype()),
    **dict.fromkeys(("float", "double"), np.dtype(np.float64)),
    "string": pd.StringDtype(),
}
"""Nullable integers and plain strings keep an empty severity empty instead of turning it into a float."""
