"""`robench list`: the names that other verbs accept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from robench.display.console import print_notes, stdout
from robench.errors import CheckpointError, OptionError, RobenchError
from robench.plugins import Kind, Plugin, plugins

if TYPE_CHECKING:
    from robench.suites import Suite

__all__ = ["list_app"]

T = TypeVar("T")

list_app = typer.Typer(
    help="List suites, presets, corruptions, perturbations, models, datasets, metrics or treatments."
)

_SuiteFilter = Annotated[str | None, typer.Option(help="Suite of the entries, whose constants are shown.")]


@list_app.command()
def suites() -> None:
    """List the suites, their images and sources."""
    from robench.suites import ALL, SUITES, find_suite

    table = _table("suite", "description", "image", "JPEG", "baseline", "source")

    def add(suite: Suite, origin: str = "") -> None:
        jpeg, source = str(suite.release_jpeg or ""), f"{suite.source}{origin}"
        table.add_row(suite.name, suite.summary, _image(suite), jpeg, suite.baseline or "", source)

    for suite in SUITES.values():
        add(suite)
    for plugin, suite in _loaded("suite", (*SUITES, ALL), find_suite):
        add(suite, f" ({plugin.origin})")
    stdout().print(table)


def _image(suite: Suite) -> str:
    if suite.geometry is not None:
        return str(suite.geometry)
    return f"frames of {suite.side} px" if suite.side is not None else "the model's"


@list_app.command()
def presets() -> None:
    """List the presets of `robench evaluate --preset`."""
    from robench.suites import PRESETS

    table = _table("preset", "description", "suite by input size", "corruptions", "severities", "images")
    for preset in PRESETS.values():
        suites = [f"{name} up to {size} px" for size, name in preset.suites[:-1]]
        table.add_row(
            preset.name,
            preset.summary,
            ", ".join([*suites, f"else {preset.suites[-1][1]}"]),
            ", ".join(preset.corruptions),
            ", ".join(map(str, preset.severities)),
            f"{preset.limit:,}",
        )
    stdout().print(table)


@list_app.command()
def perturbations(suite: _SuiteFilter = None) -> None:
    """List the perturbations, which make several frames of an image; with --suite, their frames and constants."""
    from robench.suites import find_suite
    from robench.transforms.perturbations import PERTURBATIONS, find_perturbation

    if suite is None:
        table = _table("perturbation", "description", "axis", "source")
        for perturbation in PERTURBATIONS.values():
            table.add_row(perturbation.name, perturbation.summary, perturbation.axis, perturbation.source)
        stdout().print(table)
        return
    chosen = find_suite(suite)
    if not chosen.family.has_frames:
        raise OptionError(f"{suite} is a suite of corruptions", f"see `robench list corruptions --suite {suite}`")
    table = _table("perturbation", "frames", "first", "last", "constants (by difficulty if there are three)")
    constants = chosen.constants or "224"
    for name in (*chosen.corruptions, *chosen.extra):
        perturbation = find_perturbation(name, constants)
        frames = perturbation.params(constants)["frames"]
        texts = [
            ", ".join(f"{key} {value}" for key, value in level.items() if key != "frames")
            for level in perturbation.levels[constants]
        ]
        ends = (_position(frames[end], perturbation.axis) for end in (0, -1))
        table.add_row(_label(name, chosen), str(len(frames)), *ends, "; ".join(filter(None, texts)))
    stdout().print(table)


def _position(value: float | tuple[int, int], axis: str) -> str:
    """Return the position of a frame with its unit; empty without an axis."""
    if isinstance(value, tuple):
        return f"{value[0]} px down, {value[1]} px right"
    return f"{value:g} {axis}" if axis else ""


@list_app.command()
def corruptions(suite: _SuiteFilter = None) -> None:
    """List the corruptions; with --suite, their constants at each severity."""
    from robench.suites import find_suite
    from robench.transforms.corruptions import CORRUPTIONS, find_corruption
    from robench.transforms.own import read_names

    if suite is None:
        table = _table("corruption", "description", "source")
        for corruption in CORRUPTIONS.values():
            table.add_row(corruption.name, corruption.summary, corruption.source)
        for plugin, corruption in _loaded("corruption", CORRUPTIONS, lambda name: find_corruption(name, "")):
            table.add_row(corruption.name, corruption.summary, f"{corruption.source} ({plugin.origin})")
        stdout().print(table)
        return
    chosen = find_suite(read_names([suite], None)[0][0])
    if chosen.family.has_frames:
        raise OptionError(f"{suite} is a suite of perturbations", f"see `robench list perturbations --suite {suite}`")
    table = _table("corruption", *map(str, chosen.severities))
    for name in (*chosen.corruptions, *chosen.extra):
        corruption = find_corruption(name, chosen.constants)
        levels = [corruption.params(chosen.constants, severity) for severity in chosen.severities]
        texts = (", ".join(f"{key} {value:g}" for key, value in level.items()) for level in levels)
        table.add_row(_label(name, chosen), *texts)
    stdout().print(table)


def _label(name: str, suite: Suite) -> str:
    return f"{name} (extra)" if name in suite.extra else name


@list_app.command()
def models(
    family: Annotated[
        str | None,
        typer.Argument(help="zoo, torchvision, timm or a plugin's. Default: zoo; with --fits, all."),
    ] = None,
    fits: Annotated[
        Path | None, typer.Option(help="Weights file that the listed architectures fit.", metavar="FILE")
    ] = None,
) -> None:
    """List the architectures of a family as values of --arch."""
    from robench.models import ARCHITECTURES, architecture_names
    from robench.models.architectures.detect import fitting_architectures
    from robench.models.checkpoints.state_dict import read_weights

    print_notes(
        [
            f"{plugin.origin} has the family {plugin.name}"
            for plugin in _plugins("family", ARCHITECTURES)
            if plugin.name != family
        ]
    )
    known = architecture_names(family or "zoo")
    if fits is None:
        names = [f"{family or 'zoo'}:{name}" for name in known]
    else:
        weights = read_weights(fits)
        try:
            fitting = fitting_architectures(weights.state, weights.stated)
        except CheckpointError as error:
            raise CheckpointError(f"{fits}: {error.problem}", error.hint) from error
        names = [arch for arch in fitting if family is None or arch.startswith(f"{family}:")]
        if not names:
            raise CheckpointError(f"{fits} fits no architecture of {family}, but {', '.join(fitting)}")
    for name in names:
        typer.echo(name)


@list_app.command()
def datasets() -> None:
    """List the layouts that --data accepts, in the order of their detection."""
    from robench.datasets import EMBEDDED, READERS

    table = _table("dataset", "description")
    for name in EMBEDDED:
        table.add_row(name, "embedded: needs no files and no network")
    for reader in READERS:
        table.add_row(reader.name, reader.summary)
    stdout().print(table)


@list_app.command()
def treatments() -> None:
    """List the treatments: parameters with defaults, required data, and whether each image is treated alone."""
    from robench.treatments import TREATMENTS, find_treatment

    table = _table("treatment", "description", "parameters", "data", "per image", "source")
    others = [
        replace(method, source=f"{method.source} ({plugin.origin})")
        for plugin, method in _loaded("treatment", TREATMENTS, find_treatment)
    ]
    for method in (*TREATMENTS.values(), *others):
        parameters = "; ".join(map(str, method.parameters))
        table.add_row(method.name, method.summary, parameters, method.data, method.per_image, method.source)
    stdout().print(table)


@list_app.command()
def metrics() -> None:
    """List the metrics: unit, direction and definition."""
    from robench.analysis.metrics import METRICS

    table = _table("metric", "unit", "better", "definition", "source")
    for metric in METRICS.values():
        better = "higher" if metric.higher_is_better else "lower"
        table.add_row(metric.name, metric.unit, better, metric.meaning, metric.source)
    stdout().print(table)


def _plugins(kind: Kind, built_in: Collection[str]) -> Iterator[Plugin]:
    """Yield the plugins of installed packages; print a note for a name that is built in."""
    for plugin in plugins(kind):
        if plugin.name in built_in:
            print_notes([f"the {kind} {plugin.name!r} of {plugin.origin} is ignored because the name is built in"])
        else:
            yield plugin


def _loaded(kind: Kind, built_in: Collection[str], find: Callable[[str], T]) -> Iterator[tuple[Plugin, T]]:
    """Yield the plugins with their objects; print a note for a plugin that fails to load."""
    for plugin in _plugins(kind, built_in):
        try:
            loaded = find(plugin.name)
        except RobenchError as error:
            print_notes([str(error)])
            continue
        yield plugin, loaded


def _table(*columns: str) -> Table:
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table
