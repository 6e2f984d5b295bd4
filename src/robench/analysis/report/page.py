"""The HTML page of a report."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.comparison import load_results
from robench.analysis.report.charts import COLOURS
from robench.analysis.report.confusions import ExampleFinder, gallery
from robench.analysis.report.grouping import ReportedRun, incomparable_notes
from robench.analysis.report.sections import TextTable, headlines, sections
from robench.errors import OptionError
from robench.runs.files import atomic_write, check_replaceable, read_start, translate_os_errors
from robench.runs.find import find_runs
from robench.runs.schema import RESULTS, rows_to_frame

__all__ = ["EXAMPLES", "MARK", "TITLE", "write_page"]

EXAMPLES = 8
"""Default number of example images for each run and suite."""

MARK = "<!-- robench report -->"
"""Text near the beginning of a report, by which an existing file is recognised."""

TITLE = "Robustness report"


def write_page(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    examples: ExampleFinder | None = None,
    title: str = TITLE,
    force: bool = False,
) -> Path:
    """Write one self-contained page that shows runs side by side, and return its path.

    Args:
        runs: Run directories, folders of them, or results CSV files, which have no records and therefore no calibration and no confusions.
        out: The page, which is written atomically. An existing report is replaced.
        examples: Finds example images of the most frequent confusions; None for no images.
        title: Heading of the page.
        force: Whether to replace a file that is not a report.

    Raises:
        OptionError: altair is missing, a run is named twice, or `out` is another file.
        RunError: A run has no results.
        TableError: A CSV file has other columns.
    """
    path = Path(out)
    if not runs:
        raise OptionError("no run is given", "give one or more")
    check_replaceable(path, lambda existing: MARK in read_start(existing)[:200], "--out", force)
    subjects = _subjects(find_runs(runs))
    parts = list(sections(subjects))
    galleries = list(gallery(subjects, examples))
    specs = [chart.spec for part in parts for row in part.rows for chart in row]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = _render(
        title=title,
        subjects=[(subject.label, COLOURS[index % len(COLOURS)]) for index, subject in enumerate(subjects)],
        headlines=headlines(subjects),
        sections=parts,
        galleries=galleries,
        provenance=_provenance(subjects),
        notes=[(subject.label, texts) for subject in subjects if (texts := _notes(subject))],
        remarks=[*_warnings(subjects), *incomparable_notes(subjects)],
        specs=_json(specs),
        script=script,
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=_file("style.css"),
    )
    with translate_os_errors(path):
        atomic_write(path, lambda file: file.write(text.encode()))
    return path


def _subjects(paths: Sequence[Path]) -> list[ReportedRun]:
    """Read the runs and give each a unique label."""
    results = [load_results(path) for path in paths]
    names = [result.model for result in results]
    count = Counter(names)
    labels = [name if count[name] == 1 else f"{name} ({path})" for name, path in zip(names, paths, strict=True)]
    if len(set(labels)) < len(labels):
        raise OptionError("a run is named twice", "name each run once")
    return [
        ReportedRun(
            label,
            rows_to_frame(RESULTS, (row.row for row in result.rows.values())),
            next(iter(result.runs), None),
            result.warnings,
        )
        for label, result in zip(labels, results, strict=True)
    ]


def _notes(subject: ReportedRun) -> list[str]:
    """Return the notes of a run and of its results."""
    return [] if subject.run is None else subject.run.notes


def _warnings(subjects: Sequence[ReportedRun]) -> list[str]:
    """Return the warnings of all runs, each with the label of its run."""
    return [f"{subject.label}: {warning}" for subject in subjects for warning in subject.warnings]


def _provenance(subjects: Sequence[ReportedRun]) -> TextTable:
    """Return a table with the origin of the results of each run."""
    rows = []
    for subject in subjects:
        first = subject.results.iloc[0]
        manifest = {} if subject.run is None else subject.run.manifest
        device = manifest.get("identity", {}).get("device", "")
        images = subject.results.loc[subject.results["metric"] == "error_rate", "n"].max()
        rows.append(
            [
                subject.label,
                str(manifest.get("model", {}).get("arch", "")),
                str(manifest.get("model", {}).get("sha256", ""))[:12],
                f"{first['dataset']}, {'' if pd.isna(images) else f'{images:,} images'} ({str(first['data_sha'])[:12]})",
                str(first["seed"]),
                device,
                str(first["robench_version"]),
                "; ".join(dict.fromkeys(subject.results["protocol"])),
            ]
        )
    return TextTable(("model", "architecture", "weights", "data", "seed", "device", "robench", "protocols"), rows)


def _render(**values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return str(environment.from_string(_file("page.html")).render(**values))


def _file(name: str) -> str:
    return resources.files("robench.analysis.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Return Vega, Vega-Lite and vega-embed with the code that draws the charts, as one script."""
    try:
        import vl_convert
    except ImportError as error:
        raise OptionError(
            f"the charts of the report need vl-convert-python ({error})", "pip install 'robench[report]'"
        ) from error
    script = str(vl_convert.javascript_bundle(_file("page.js")))
    return script.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    """Return JSON for a script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
