"""The page: runs in, one file of HTML out that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
from robench.analysis.scoring import notes
from robench.errors import OptionError, RobenchError
from robench.runs.files import atomic_write, check_replaceable, read_start, translate_os_errors
from robench.runs.schema import RESULTS, rows_to_frame

__all__ = ["EXAMPLES", "MARK", "TITLE", "write_page"]

EXAMPLES = 8
"""Images of a run in the gallery."""

MARK = "<!-- robench report -->"
"""What a page has near its beginning; only such a file is replaced by a new one."""

TITLE = "Robustness report"


def write_page(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    examples: ExampleFinder | None = None,
    title: str = TITLE,
    force: bool = False,
) -> Path:
    """Write one self-contained page about runs, side by side, and return where it is.

    runs: run directories, or results CSV files, which have no records: neither calibration nor confusions.
    examples: finds example images for the most frequent confusions; None for none.
    Raises OptionError without altair, RunError and TableError for what is no run with results, OptionError where `out`
    is another file; the file is whole or not there.
    """
    path = Path(out)
    if not runs:
        raise OptionError("a report is about runs: name one or more")
    check_replaceable(path, lambda existing: MARK in read_start(existing)[:200], "--out", force)
    subjects = _subjects([Path(one) for one in runs])
    parts = list(sections(subjects))
    galleries = list(gallery(subjects, examples))
    specs = [chart.spec for part in parts for row in part.rows for chart in row]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = _template().render(
        title=title,
        subjects=[(one.label, COLOURS[number % len(COLOURS)]) for number, one in enumerate(subjects)],
        headlines=headlines(subjects),
        sections=parts,
        galleries=galleries,
        provenance=_provenance(subjects),
        notes=[(one.label, found) for one in subjects if (found := _notes(one))],
        unlike=incomparable_notes(subjects),
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
    """The runs, each under a label that no other has."""
    sides = [load_results(path) for path in paths]
    names = [str(next(iter(side.figures.values())).row["model"]) for side in sides]  # Treatments are part of them.
    count = Counter(names)
    labels = [name if count[name] == 1 else f"{name} ({path})" for name, path in zip(names, paths, strict=True)]
    if len(set(labels)) < len(labels):
        raise OptionError("a run is named twice: name each once")
    return [
        ReportedRun(
            label, rows_to_frame(RESULTS, (figure.row for figure in side.figures.values())), next(iter(side.runs), None)
        )
        for label, side in zip(labels, sides, strict=True)
    ]


def _notes(subject: ReportedRun) -> list[str]:
    """What a reader must know of a run: what it found, what is unfinished, what a baseline cannot say."""
    if subject.run is None:
        return []
    try:
        scored = notes(subject.run)
    except RobenchError as error:  # Its baseline was a run, and is gone: the figures stay what they are.
        scored = [str(error)]
    return list(dict.fromkeys([*subject.run.notes, *scored]))


def _provenance(subjects: Sequence[ReportedRun]) -> TextTable:
    """Where the figures are from: a run a row."""
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


@dataclass(frozen=True)
class _Renderer:
    template: Any

    def render(self, **values: Any) -> str:
        return str(self.template.render(**values))


def _template() -> _Renderer:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return _Renderer(environment.from_string(_file("page.html")))


def _file(name: str) -> str:
    return resources.files("robench.analysis.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Vega, Vega-Lite and vega-embed in one, with what draws the page's plots."""
    try:
        import vl_convert
    except ImportError as error:
        raise OptionError(
            f"the report's plots need vl-convert-python ({error}): pip install 'robench[report]'"
        ) from error
    script = str(vl_convert.javascript_bundle(_file("page.js")))
    return script.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    """JSON that stands in a page: no text in it can end its element, whatever a class is called."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
