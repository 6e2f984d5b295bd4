"""The HTML page of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.comparison import ResultsSet, check_comparable, load_results
from robench.analysis.comparison.compare import Difference, compare, difference_rows, model_names
from robench.analysis.comparison.consistency import Consistency, of_decisions, of_runs
from robench.analysis.comparison.decisions import read_decisions
from robench.analysis.report.answer import headline_table, of_pair, of_pairs, of_run
from robench.analysis.report.calibration import RECORDS, calibration
from robench.analysis.report.charts import COLOURS
from robench.analysis.report.field import field_section
from robench.analysis.report.grouping import ReportedRun, comparable_groups, incomparable_notes, suite_frame
from robench.analysis.report.image_groups import groups_section
from robench.analysis.report.images import ExampleFinder, galleries
from robench.analysis.report.inline import inline_json, source_hash
from robench.analysis.report.orders import BY_CATEGORY
from robench.analysis.report.parts import Group, Section, model_legend
from robench.analysis.report.provenance import provenance
from robench.analysis.report.sections import suite_section
from robench.analysis.report.selective import selective_prediction
from robench.analysis.report.shape_bias import consistency_section
from robench.analysis.report.words import without_folders, words
from robench.analysis.scoring.records import read_columns
from robench.errors import OptionError, RunError
from robench.runs.csv import without_groups
from robench.runs.files import atomic_write, check_replaceable, read_start, translate_os_errors
from robench.runs.find import find_runs
from robench.runs.schema import RESULTS, rows_to_frame
from robench.suites import CLEAN, OOD, display_family
from robench.types import Results

__all__ = ["EXAMPLES", "MARK", "TITLE", "write_page"]

EXAMPLES = 8
"""Default number of example images of each kind, run and suite."""

MARK = "<!-- robench report -->"
"""Text near the beginning of a report, by which an existing file is recognised."""

TITLE = "Robustness report"

_FEW_IMAGES = 100
"""Number of images below which the page warns."""


def write_page(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    examples: ExampleFinder | None = None,
    count: int = EXAMPLES,
    field: bool = False,
    title: str = TITLE,
    force: bool = False,
    decisions: Sequence[str | Path] = (),
) -> Path:
    """Write one self-contained page that compares runs with the first one, or describes one run, and return its path.

    Args:
        runs: Run directories, folders of them, or results CSV files, which have no records and therefore no calibration and no images.
        out: The page, which is written atomically. An existing report is replaced.
        examples: Makes example images; None for no images.
        count: Number of example images of each kind, run and suite.
        field: Whether to show the published models around the runs.
        title: Heading of the page.
        force: Whether to replace a file that is not a report.
        decisions: Tables with the decisions of people or networks on the images.

    Raises:
        OptionError: A library of the report is missing, a run is named twice, or `out` is another file.
        RunError: A run has no results.
        TableError: A CSV file has other columns.
    """
    path = Path(out)
    if not runs:
        raise OptionError("no run is given", "give one or more")
    check_replaceable(path, lambda existing: MARK in read_start(existing)[:200], "--out", force)
    script = _script()
    paths = find_runs(runs)
    subjects = _subjects([load_results(run) for run in paths])
    models = [subject.label for subject in subjects]
    differences, remarks = _differences(paths, models)
    answers = [of_pair(list(pair)) for _, pair in groupby(differences, key=lambda one: one.run_model)]
    alone = [of_run(subject.results, subject.label) for subject in subjects]
    parts = list(_sections(subjects, differences, _consistencies(paths, models, decisions)))
    parts += _published([(subject.label, subject.results) for subject in subjects]) if field else []
    style = _file("style.css") + "".join(f".m{index}{{color:{colour}}}" for index, colour in enumerate(COLOURS))
    first = [*of_pairs(differences), *(group for answer in answers or alone for group in answer.groups)]
    groups = [*first, *(group for part in parts for group in part.groups)]
    text = _render(
        title=title,
        legend=model_legend(models),
        answers=answers or alone,
        alone=alone if answers else [],
        first=first,
        headlines=headline_table([(subject.label, subject.results) for subject in subjects]),
        sections=parts,
        galleries=list(galleries(subjects, examples, count)),
        provenance=[(subject.label, provenance(subject)) for subject in subjects],
        notes=[(subject.label, texts) for subject in subjects if (texts := _notes(subject))],
        warnings=[*_warnings(subjects), *map(without_folders, remarks), *incomparable_notes(subjects)],
        has_orders=any(BY_CATEGORY in chart.orders for group in groups for chart in group.charts),
        plots=inline_json([_plot(group) for group in groups]),
        script=script,
        policy=f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=style,
    )
    with translate_os_errors(path):
        atomic_write(path, lambda file: file.write(text.encode()))
    return path


def _subjects(results: Sequence[ResultsSet]) -> list[ReportedRun]:
    """Return the runs with the names that `compare` gives them."""
    labels = model_names(results)
    if len(set(labels)) < len(labels):
        raise OptionError("a run is named twice", "name each run once")
    frames = [rows_to_frame(RESULTS, (row.row for row in one.rows.values())) for one in results]
    return [
        ReportedRun(label, whole, next(iter(one.runs), None), one.warnings, frame if len(whole) < len(frame) else None)
        for label, one, frame in zip(labels, results, frames, strict=True)
        for whole in [without_groups(frame)]
    ]


def _differences(paths: Sequence[Path], models: Sequence[str]) -> tuple[list[Difference], list[str]]:
    """Compare each run with the first one; return a remark for each run that is not comparable with it."""
    found: list[Difference] = []
    remarks = []
    for path, model in zip(paths[1:], models[1:], strict=True):
        try:
            pair = compare([paths[0], path])
        except OptionError as error:
            remarks.append(f"{model} is not compared with {models[0]}, because {error.problem}")
            continue
        found += [replace(one, base_model=models[0], run_model=model) for one in pair]
    if any(one.method == "intervals" for one in found):
        remarks.append("without records, tests use the intervals of the results and are not paired")
    return found, remarks


def _consistencies(paths: Sequence[Path], models: Sequence[str], decisions: Sequence[str | Path]) -> list[Consistency]:
    """Return the error consistency of each run that is comparable with the first one, and of all with the decisions."""
    makers = [maker for path in decisions for maker in read_decisions(Path(path))]
    sets = [load_results(path) for path in paths]
    found: list[Consistency] = []
    for other, model in zip(sets[1:], models[1:], strict=True):
        with suppress(RunError, OptionError):  # The page says elsewhere why runs are not compared.
            check_comparable(other, sets[0], paired=True)
            found += of_runs(sets[0], other, (models[0], model))
    for results, model in zip(sets, models, strict=True) if makers else ():
        found += of_decisions(results, model, makers)
    return found


def _sections(
    subjects: Sequence[ReportedRun], differences: Sequence[Difference], consistencies: Sequence[Consistency]
) -> Iterator[Section]:
    """Yield a section for each suite of the runs, and those of calibration, selective prediction and error consistency."""
    models = [subject.label for subject in subjects]
    tested = difference_rows(differences) if differences else pd.DataFrame()
    suites = list(dict.fromkeys(name for subject in subjects for name in subject.results["suite"]))
    groups = [(suite, group) for suite in suites for group in comparable_groups(suite, subjects)]
    for suite, group in groups:
        if suite != CLEAN:
            section = suite_section(suite, suite_frame(suite, group), tested, models)
            if section is not None:
                yield section
    of_groups = [
        subject.groups[subject.groups["subset"].notna() & subject.groups["method"].isna()].assign(model=subject.label)
        for subject in subjects
        if subject.groups is not None
    ]
    sections = [groups_section(pd.concat(of_groups, ignore_index=True), models)] if of_groups else []
    known = [
        (suite, group)
        for suite, group in groups
        if not display_family(suite).has_frames and display_family(suite).has_clean and suite != OOD
    ]
    sections += [
        section_of(((suite, _results(group), _records(suite, group)) for suite, group in known), models)
        for section_of in (calibration, selective_prediction)
    ]
    yield from (section for section in (*sections, consistency_section(consistencies)) if section is not None)


def _published(runs: Sequence[tuple[str, Results]]) -> list[Section]:
    """Return the section on published models; OptionError if no run has any."""
    section = field_section(runs)
    if section is None:
        raise OptionError(
            "no run has published models around it",
            "omit --field, or evaluate imagenet-c on ImageNet or cifar-c on CIFAR",
        )
    return [section]


def _results(group: Sequence[ReportedRun]) -> Results:
    return pd.concat([subject.results.assign(model=subject.label) for subject in group], ignore_index=True)


def _records(suite: str, group: Sequence[ReportedRun]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the label of each run that has records of a suite, and these records."""
    for subject in group:
        run = subject.run
        conditions = [] if run is None else [condition for condition in run.finished() if condition.suite == suite]
        if run is not None and conditions:
            parts = [read_columns(run, condition, RECORDS) for condition in conditions]
            yield subject.label, pd.concat(parts, ignore_index=True)


def _notes(subject: ReportedRun) -> list[str]:
    """Return the notes of a run and of its results."""
    return [] if subject.run is None else [without_folders(note) for note in subject.run.notes]


def _warnings(subjects: Sequence[ReportedRun]) -> Iterator[str]:
    """Yield the warnings of all runs, each with the label of its run, and one for each small number of images."""
    few: dict[int, list[str]] = {}
    for subject in subjects:
        yield from (f"{subject.label}: {without_folders(warning)}" for warning in subject.warnings)
        images = subject.results.loc[subject.results["metric"].isin(["error_rate", "accuracy"]), "n"].max()
        if images < _FEW_IMAGES:
            few.setdefault(int(images), []).append(subject.label)
    for images, labels in few.items():
        yield (
            f"{', '.join(labels)}: only {images} images. Intervals are wide, and only large differences can be significant; "
            f"evaluate at least {_FEW_IMAGES}."
        )


def _plot(group: Group) -> dict[str, Any]:
    """Return what the page's script needs: charts with their rows, and the columns of the CSV."""
    charts = [
        {"spec": chart.spec, "rows": chart.rows, **({"orders": chart.orders} if len(chart.orders) > 1 else {})}
        for chart in group.charts
    ]
    return {"columns": group.columns, "charts": charts}


def _render(**values: Any) -> str:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise OptionError(f"the report needs jinja2 ({error})", "pip install 'robench[report]'") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return str(environment.from_string(_file("page.html")).render(words=words, **values))


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
