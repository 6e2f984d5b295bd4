"""`robench list`: what there is to name in the other verbs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from robench.cli.common import stderr, stdout
from robench.errors import CheckpointError, OptionError, RobenchError
from robench.plugins import Kind, Plugin, plugins

if TYPE_CHECKING:
    from robench.suites import Suite

__all__ = ["list_app"]

T = TypeVar("T")

list_app = typer.Typer(
    help="List suites, presets, corruptions, perturbations, models, datasets, metrics or treatments.",
    no_args_is_help=True,
)


@list_app.command()
def suites() -> None:
    """The suites: what is computed, on which images."""
    from robench.suites import ALL, SUITES, find_suite

    table = _table("suite", "what it computes", "image", "JPEG", "baseline", "source")

    def add(suite: Suite, origin: str = "") -> None:
        jpeg, source = str(suite.release_jpeg or ""), f"{suite.source}{origin}"
        table.add_row(suite.name, suite.summary, _image(suite), jpeg, suite.baseline or "", source)

    for suite in SUITES.values():
        add(suite)
    for offer, found in _loaded("suite", (*SUITES, ALL), find_suite):
        add(found, f" ({offer.origin})")
    stdout().print(table)


@list_app.command()
def presets() -> None:
    """The presets: ready choices of conditions and images for `robench evaluate --preset`."""
    from robench.suites import PRESETS

    table = _table("preset", "for", "suite, by the model's input", "corruptions", "severities", "images")
    for one in PRESETS.values():
        suites = [f"{name} up to {side} px" for side, name in one.suites[:-1]]
        table.add_row(
            one.name,
            one.summary,
            ", ".join([*suites, f"else {one.suites[-1][1]}"]),
            ", ".join(one.corruptions),
            ", ".join(map(str, one.severities)),
            f"{one.limit:,}",
        )
    stdout().print(table)


def _image(suite: Suite) -> str:
    if suite.geometry is not None:
        return str(suite.geometry)
    return f"frames of {suite.side} px" if suite.side is not None else "the model's"


@list_app.command()
def perturbations(
    suite: Annotated[str | None, typer.Option(help="Only those of one suite, with its frames.")] = None,
) -> None:
    """The perturbations, which make several frames of each image, and with --suite their frames and constants."""
    from robench.suites import find_suite
    from robench.transforms.perturbations import PERTURBATIONS, find_perturbation

    if suite is None:
        table = _table("perturbation", "what it does", "frames by", "source")
        for one in PERTURBATIONS.values():
            table.add_row(one.name, one.summary, one.axis, one.source)
        stdout().print(table)
        return
    chosen = find_suite(suite)
    if not chosen.family.has_frames:
        raise OptionError(f"the suite {suite} has corruptions: `robench list corruptions --suite {suite}` shows them")
    table = _table("perturbation", "frames", "first", "last", "constants, by difficulty where there are three")
    constants = chosen.constants or "224"
    for name in (*chosen.corruptions, *chosen.extra):
        found = find_perturbation(name, constants)
        frames = found.params(constants)["frames"]
        others = [{key: value for key, value in level.items() if key != "frames"} for level in found.levels[constants]]
        text = "; ".join(", ".join(f"{key} {value}" for key, value in one.items()) for one in others if one)
        label = f"{name} (extra)" if name in chosen.extra else name
        ends = (_place(frames[end], found.axis) for end in (0, -1))
        table.add_row(label, str(len(frames)), *ends, text)
    stdout().print(table)


def _place(value: float | tuple[int, int], axis: str) -> str:
    """Where a frame is on its perturbation's axis, if it has one."""
    if isinstance(value, tuple):
        return f"{value[0]} px down, {value[1]} px right"
    return f"{value:g} {axis}" if axis else ""


@list_app.command()
def corruptions(
    suite: Annotated[str | None, typer.Option(help="Only those of one suite, with its constants.")] = None,
) -> None:
    """The corruptions, and with --suite their constants at every severity."""
    from robench.suites import find_suite
    from robench.transforms.corruptions import CORRUPTIONS, find_corruption

    if suite is None:
        table = _table("corruption", "what it does", "source")
        for corruption in CORRUPTIONS.values():
            table.add_row(corruption.name, corruption.summary, corruption.source)
        for offer, found in _loaded("corruption", CORRUPTIONS, lambda name: find_corruption(name, "")):
            table.add_row(found.name, found.summary, f"{found.source} ({offer.origin})")
        stdout().print(table)
        return
    chosen = find_suite(suite)
    if chosen.family.has_frames:
        raise OptionError(
            f"the suite {suite} has perturbations: `robench list perturbations --suite {suite}` shows them"
        )
    table = _table("corruption", *map(str, chosen.severities))
    for name in (*chosen.corruptions, *chosen.extra):
        label = f"{name} (extra)" if name in chosen.extra else name
        levels = [find_corruption(name, chosen.constants).params(chosen.constants, one) for one in chosen.severities]
        table.add_row(label, *(", ".join(f"{key} {value:g}" for key, value in level.items()) for level in levels))
    stdout().print(table)


@list_app.command()
def models(
    family: Annotated[
        str | None,
        typer.Argument(
            help="zoo, torchvision, timm, or an installed package's. Default: zoo, and with --fits all of them."
        ),
    ] = None,
    fits: Annotated[
        Path | None,
        typer.Option(help="Only those that the weights in FILE fit, read as `evaluate` does.", metavar="FILE"),
    ] = None,
) -> None:
    """The architectures of a family, to be named as --arch FAMILY:NAME."""
    from robench.models import ARCHITECTURES, architecture_names
    from robench.models.architectures.detect import fitting_architectures
    from robench.models.checkpoints.state_dict import read_weights

    for offer in _offered("family", ARCHITECTURES):
        if offer.name != family:
            stderr().print(f"note: {offer.origin} has the family {offer.name}")
    known = architecture_names(family or "zoo")
    if fits is None:
        listed = [f"{family or 'zoo'}:{name}" for name in known]
    else:
        weights = read_weights(fits)
        try:
            found = fitting_architectures(weights.state, weights.stated)
        except CheckpointError as error:
            raise CheckpointError(f"{fits}: {error}") from error
        listed = [arch for arch in found if family is None or arch.startswith(f"{family}:")]
        if not listed:
            raise CheckpointError(f"{fits} fits no architecture of {family}, but {', '.join(found)}")
    for arch in listed:
        typer.echo(arch)


@list_app.command()
def datasets() -> None:
    """The layouts of images that --data takes, in the order in which they are recognised."""
    from robench.datasets import EMBEDDED, READERS

    table = _table("dataset", "what it is")
    for name in EMBEDDED:
        table.add_row(name, "embedded: needs no files and no network")
    for reader in READERS:
        table.add_row(reader.name, reader.summary)
    stdout().print(table)


@list_app.command()
def treatments() -> None:
    """The treatments for --treatment: parameters with their defaults, the data they need, whether images are treated one by one."""
    from robench.treatments import TREATMENTS, find_treatment

    table = _table("treatment", "what it does", "parameters", "data", "per image", "source")
    others = [
        replace(found, source=f"{found.source} ({offer.origin})")
        for offer, found in _loaded("treatment", TREATMENTS, find_treatment)
    ]
    for method in (*TREATMENTS.values(), *others):
        parameters = "; ".join(map(str, method.parameters))
        table.add_row(method.name, method.summary, parameters, method.data, method.per_image, method.source)
    stdout().print(table)


@list_app.command()
def metrics() -> None:
    """The metrics: name, unit, direction, definition."""
    from robench.analysis.metrics import METRICS

    table = _table("metric", "unit", "better", "definition", "source")
    for metric in METRICS.values():
        better = "higher" if metric.higher_is_better else "lower"
        table.add_row(metric.name, metric.unit, better, metric.meaning, metric.source)
    stdout().print(table)


def _offered(kind: Kind, built_in: Collection[str]) -> Iterator[Plugin]:
    """What installed packages offer beside what is built in; stderr says what is ignored."""
    for offer in plugins(kind):
        if offer.name in built_in:
            stderr().print(f"note: the {kind} {offer.name!r} of {offer.origin} is ignored: that name is built in")
        else:
            yield offer


def _loaded(kind: Kind, built_in: Collection[str], find: Callable[[str], T]) -> Iterator[tuple[Plugin, T]]:
    """The same, imported; of what cannot be, stderr says why."""
    for offer in _offered(kind, built_in):
        try:
            found = find(offer.name)
        except RobenchError as error:
            stderr().print(f"note: {error}")
            continue
        yield offer, found


def _table(*columns: str) -> Table:
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table
