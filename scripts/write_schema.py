"""Write docs/schema.md, the meaning of every column of every table, from `robench.runs.schema`.

    python scripts/write_schema.py [--check]

With --check the script writes nothing and exits with 1 if the page is outdated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from robench.analysis.leaderboard.schema import LEADERBOARD, LEADERBOARD_BY_SIZE
from robench.runs.schema import GROUPS, RECORDS, RESULTS, SAMPLES, SCHEMA_VERSION, TIMINGS, Column

TARGET = Path(__file__).parents[1] / "docs/schema.md"

_TYPES = {"string": "text", "double": "float64", "float": "float32", "list<int32>": "list of int32"}


def page() -> str:
    """Return the page, with a section for each table."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Columns of every table"
    yield ""
    yield f"This page describes schema version {SCHEMA_VERSION}, which the manifest and the column `schema` name. `make schema`"
    yield "writes it from `robench.runs.schema`. `pandas.read_csv` or `pandas.read_parquet` reads each table."
    for table in (RESULTS, LEADERBOARD, RECORDS, SAMPLES, GROUPS, TIMINGS):
        yield from ("", f"## {table.name}", "", f"Each row is {table.meaning}.", "")
        yield from _rows(table.columns)
        if table == LEADERBOARD:
            yield from ("", "These columns follow for each input size in the table, smallest first:", "")
            yield from _rows(LEADERBOARD_BY_SIZE)


def _rows(columns: Iterable[Column]) -> Iterator[str]:
    yield "| column | type | unit | may be empty | meaning |"
    yield "|---|---|---|---|---|"
    for column in columns:
        empty = "yes" if column.nullable else ""
        yield f"| `{column.name}` | {_TYPES.get(column.type, column.type)} | {column.unit} | {empty} | {column.meaning} |"


def main() -> None:
    """Write or check the page."""
    if "--check" in sys.argv[1:]:
        sys.exit(TARGET.read_text(encoding="utf-8") != page())
    TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
