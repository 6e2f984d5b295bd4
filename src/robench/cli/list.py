"""`robench list`: the names that other commands accept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from rich.table import Table

from robench.cli.help import Command, Group
from robench.display.console import print_notes, stdout
from robench.errors import CheckpointError, OptionError, RobenchError
from robench.plugins import Kind, Plugin, plugins
from robench.suites import ALL, CLEAN, SUITES, Suite, category_of, families, find_suite

__all__ = ["list_app"]

T = TypeVar("T")

list_app = typer.Typer(
    cls=Group,
    help="List suites, corruptions, models, metrics, treatments or fields.",
    epilog="`robench explain NAME` has the constants and the source of an entry.",
    rich_markup_mode=None,
)

_SuiteFilter = Annotated[
    str | None, typer.Option("--suite", "-s", help="Suite of the entries, whose constants are shown.", metavar="NAME")
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(help="Words that an entry must contain.", metavar="WORD", show_default="all entries"),
]
_Format = Annotated[Literal["table", "json"], typer.Option(help="Output format.", metavar="table|json")]


@list_app.command(cls=Command)
def suites(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the suites.

    Examples:
        robench list suites
        robench list suites cifar --format json
    """
    found = [(suite, "") for suite in SUITES.values()]
    found += [(suite, f" ({plugin.origin})") for plugin, suite in _loaded("suite", (*SUITES, ALL), find_suite)]
    rows = [
        {
            "group": _kind(suite),
            "suite": suite.name,
            "description": f"{suite.summary}{origin}",
            "image": _image(suite),
            "release_jpeg": str(suite.release_jpeg or ""),
            "baseline": suite.baseline or "",
            "source": suite.source,
        }
        for suite, origin in found
    ]
    _print(rows, ("suite", "description"), words, format)


def _kind(suite: Suite) -> str:
    if suite.name == CLEAN:
        return "clean images"
    if not suite.family.has_clean:
        return "images of their own"
    if suite.family is families.ADVERSARIAL:
        return "attacks"
    if suite.family.has_frames:
        return "perturbation sequences (-P)" if suite.side is not None else "sweeps"
    return "corruptions (-C)"


def _image(suite: Suite) -> str:
    if suite.geometry is not None:
        return str(suite.geometry)
    return f"frames of {suite.side} px" if suite.side is not None else "the model's"


@list_app.command(cls=Command)
def presets(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the presets of `robench evaluate --preset`."""
    from robench.suites import PRESETS

    rows = []
    for preset in PRESETS.values():
        sizes = [f"{name} up to {size} px" for size, name in preset.suites[:-1]]
        rows.append(
            {
                "preset": preset.name,
                "description": preset.summary,
                "suite by input size": ", ".join([*sizes, f"else {preset.suites[-1][1]}"]),
                "corruptions": ", ".join(preset.corruptions),
                "severities": ", ".join(map(str, preset.severities)),
                "images": f"{preset.limit:,}",
            }
        )
    _print(rows, tuple(rows[0]), words, format)


@list_app.command(cls=Command)
def perturbations(words: _Words = None, suite: _SuiteFilter = None, format: _Format = "table") -> None:  # noqa: A002
    """List the perturbations; with --suite, their constants.

    A perturbation makes several frames of an image.
    """
    from robench.transforms.perturbations import PERTURBATIONS, find_perturbation

    if suite is None:
        rows = [
            {"perturbation": one.name, "description": one.summary, "axis": one.axis, "source": one.source}
            for one in PERTURBATIONS.values()
        ]
        _print(rows, ("perturbation", "description", "axis"), words, format)
        return
    chosen = find_suite(suite)
    if not chosen.family.has_frames:
        raise OptionError(f"{suite} is a suite of corruptions", f"see `robench list corruptions --suite {suite}`")
    constants = chosen.constants or "224"
    rows = []
    for name in (*chosen.corruptions, *chosen.extra):
        perturbation = find_perturbation(name, constants)
        frames = perturbation.params(constants)["frames"]
        texts = [
            ", ".join(f"{key} {value}" for key, value in level.items() if key != "frames")
            for level in perturbation.levels[constants]
        ]
        rows.append(
            {
                "group": "extra" if name in chosen.extra else "",
                "perturbation": name,
                "frames": str(len(frames)),
                "first": _position(frames[0], perturbation.axis),
                "last": _position(frames[-1], perturbation.axis),
                "constants (by difficulty if there are three)": "; ".join(filter(None, texts)),
            }
        )
    _print(rows, tuple(rows[0])[1:], words, format)


def _position(value: float | tuple[int, int], axis: str) -> str:
    """Return the position of a frame with its unit; empty without an axis."""
    if isinstance(value, tuple):
        return f"{value[0]} px down, {value[1]} px right"
    return f"{value:g} {axis}" if axis else ""


@list_app.command(cls=Command)
def corruptions(words: _Words = None, suite: _SuiteFilter = None, format: _Format = "table") -> None:  # noqa: A002
    """List the corruptions; with --suite, their constants.

    Examples:
        robench list corruptions blur
        robench list corruptions --suite cifar-c
    """
    from robench.transforms.corruptions import BUILT_IN, find_corruption
    from robench.transforms.own import read_names

    if suite is None:
        found = [(one, "") for one in BUILT_IN.values()]
        found += [
            (one, f" ({plugin.origin})")
            for plugin, one in _loaded("corruption", BUILT_IN, lambda name: find_corruption(name, ""))
        ]
        rows = [
            {
                "group": category_of(one.name),
                "corruption": one.name,
                "description": f"{one.summary}{origin}",
                "source": one.source,
            }
            for one, origin in found
        ]
        _print(rows, ("corruption", "description"), words, format)
        return
    chosen = find_suite(read_names([suite], None)[0][0])
    if chosen.family.has_frames:
        raise OptionError(f"{suite} is a suite of perturbations", f"see `robench list perturbations --suite {suite}`")
    if not chosen.names:
        raise OptionError(f"{suite} has no corruptions", f"see `robench explain {suite}`")
    rows = []
    for name in (*chosen.corruptions, *chosen.extra):
        corruption = find_corruption(name, chosen.constants)
        levels = [corruption.params(chosen.constants, severity) for severity in chosen.severities]
        texts = (", ".join(f"{key} {value:g}" for key, value in level.items()) for level in levels)
        group = "extra" if name in chosen.extra else category_of(name)
        rows.append({"group": group, "corruption": name, **dict(zip(map(str, chosen.severities), texts, strict=True))})
    _print(rows, tuple(rows[0])[1:], words, format)


@list_app.command(cls=Command)
def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Family (zoo, torchvision, timm or a plugin's) and words of the name.",
            metavar="WORD",
            show_default="zoo",
        ),
    ] = None,
    fits: Annotated[
        Path | None, typer.Option(help="Weights file that the listed architectures fit.", metavar="FILE")
    ] = None,
    format: _Format = "table",  # noqa: A002
) -> None:
    """List architectures as values of --arch.

    Examples:
        robench list models
        robench list models timm resnet
        robench list models --fits resnet20.th
    """
    from robench.models import ARCHITECTURES, architecture_names
    from robench.models.architectures.detect import fitting_architectures
    from robench.models.checkpoints.state_dict import read_weights

    family, parts = None, words or []
    families = [*ARCHITECTURES, *(plugin.name for plugin in plugins("family"))]
    if parts and parts[0] in families:
        family, *parts = parts
    others = [plugin for plugin in _plugins("family", ARCHITECTURES) if plugin.name != family]
    print_notes([f"{plugin.origin} has the family {plugin.name}" for plugin in others])
    if fits is None:
        searched = [family] if family else list(ARCHITECTURES) if parts else ["zoo"]
        names = [f"{one}:{name}" for one in searched for name in architecture_names(one)]
    else:
        weights = read_weights(fits)
        try:
            fitting = fitting_architectures(weights.state, weights.stated)
        except CheckpointError as error:
            raise CheckpointError(f"{fits}: {error.problem}", error.hint) from error
        names = [arch for arch in fitting if family is None or arch.startswith(f"{family}:")]
        if not names:
            raise CheckpointError(f"{fits} fits no architecture of {family}", f"it fits {', '.join(fitting)}")
    chosen = [name for name in names if all(part.casefold() in name.casefold() for part in parts)]
    if not chosen:
        raise OptionError(
            f"no architecture{f' of {family}' if family else ''} contains {' '.join(parts)!r}",
            f"families are {', '.join(families)}",
        )
    if format == "json":
        sys.stdout.write(json.dumps(chosen, indent=2) + "\n")
        return
    sys.stdout.write("".join(f"{name}\n" for name in chosen))
    if not words and fits is None:
        print_notes(["these are the built-in networks; see also `robench list models torchvision` and `… timm`"])


@list_app.command(cls=Command)
def datasets(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the layouts of --data in the order of detection."""
    from robench.datasets import EMBEDDED, READERS

    rows = [{"dataset": name, "description": "embedded: needs no files and no network"} for name in EMBEDDED]
    rows += [{"dataset": reader.name, "description": reader.summary} for reader in READERS]
    _print(rows, ("dataset", "description"), words, format)


@list_app.command(cls=Command)
def treatments(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the treatments, with parameters and required data."""
    from robench.treatments import TREATMENTS, find_treatment

    others = [
        replace(method, summary=f"{method.summary} ({plugin.origin})")
        for plugin, method in _loaded("treatment", TREATMENTS, find_treatment)
    ]
    rows = [
        {
            "treatment": method.name,
            "description": method.summary,
            "parameters": "; ".join(map(str, method.parameters)),
            "data": method.data,
            "per image": method.per_image,
            "source": method.source,
        }
        for method in (*TREATMENTS.values(), *others)
    ]
    _print(rows, ("treatment", "description", "parameters", "data"), words, format)


@list_app.command(cls=Command)
def metrics(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the metrics: direction and definition."""
    from robench.analysis.metrics import METRICS

    rows = [
        {
            "metric": metric.name,
            "better": "higher" if metric.higher_is_better else "lower",
            "definition": metric.meaning,
            "formula": metric.formula,
            "unit": metric.unit,
            "source": metric.source,
        }
        for metric in METRICS.values()
    ]
    _print(rows, ("metric", "better", "definition"), words, format)


@list_app.command(cls=Command)
def fields(words: _Words = None, format: _Format = "table") -> None:  # noqa: A002
    """List the published models of `robench leaderboard --field`."""
    from robench.analysis.field import FIELDS, SOURCES, published_models

    rows = []
    for field in FIELDS.values():
        models = published_models(field.name)
        sources = dict.fromkeys(model.source for model in models)
        rows.append(
            {
                "field": field.name,
                "suite": field.suite,
                "models": str(len(models)),
                "source": "; ".join(SOURCES[source] for source in sources),
                "protocols": field.reservation,
            }
        )
    _print(rows, ("field", "suite", "models", "source"), words, format)


def _print(
    rows: Sequence[dict[str, str]], columns: Sequence[str], words: Iterable[str] | None, form: Literal["table", "json"]
) -> None:
    """Print the rows that contain all words, under a heading for each value of the key `group`.

    Raises:
        OptionError: No row contains all words.
    """
    found = [row for row in rows if all(word.casefold() in " ".join(row.values()).casefold() for word in words or ())]
    if not found:
        raise OptionError(f"no entry contains {' '.join(words or ())!r}", "omit words")
    if form == "json":
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    order = list(dict.fromkeys(row.get("group") for row in found))
    group = None
    for row in sorted(found, key=lambda row: order.index(row.get("group"))):
        if row.get("group") != group and "group" in row:
            group = row["group"]
            table.add_row(*[""] * len(columns))
            table.add_row(f"[{group}]" if group else "", style="dim")
        table.add_row(*(row[column] for column in columns))
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
