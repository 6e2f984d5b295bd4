"""`robench explain`: the definition of a name that other commands take or print."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robench.display.console import stdout
from robench.errors import OptionError, RobenchError, unknown_name
from robench.plugins import is_own
from robench.suites import (
    ATTACKS,
    C_BAR_VALUES,
    EPSILONS,
    NORMS,
    PRESETS,
    SHAPE_CATEGORIES,
    SUITES,
    Suite,
    families,
    find_suite,
)
from robench.suites.protocol import Protocol

if TYPE_CHECKING:
    from robench.transforms.corruptions import Corruption

__all__ = ["explain"]


def explain(
    name: Annotated[
        str,
        typer.Argument(
            help="Metric, corruption, perturbation, suite, preset, treatment, dataset layout, protocol or my.py:function.",
            metavar="NAME",
        ),
    ],
) -> None:
    """Explain a metric, corruption, suite, treatment or protocol.

    The page has the formula or the constants, the source, and the published values that robench divides by.

    Examples:
        robench explain mce
        robench explain fog
        robench explain imagenet-c
        robench explain bn-prior
        robench explain my.py:fade
        robench explain 'resize256-bilinear-crop224+jpeg85+fp32#559c40a3'
    """
    for find in (_own, _metric, _suite, _preset, _treatment, _corruption, _perturbation, _dataset, _protocol):
        page = find(name)
        if page is not None:
            stdout().print(page)
            return
    problem, hint = unknown_name("name", name, _names())
    raise OptionError(problem, hint if hint.startswith("did you mean") else "see `robench list`")


def _names() -> Collection[str]:
    from robench.analysis.metrics import METRICS
    from robench.datasets import EMBEDDED, READERS
    from robench.treatments import TREATMENTS

    corruptions = {name for suite in SUITES.values() for name in suite.names}
    datasets = {*EMBEDDED, *(reader.name for reader in READERS)}
    return {*METRICS, *SUITES, *PRESETS, *TREATMENTS, *corruptions, *datasets}


def _page(kind: str, name: str, summary: str, facts: Mapping[str, str], *parts: Table | Text | None) -> Group:
    """Return a page: the name, its summary, facts by name, and tables."""
    table = Table.grid(padding=(0, 2))
    for fact, text in facts.items():
        if text:
            table.add_row(Text(fact, style="dim"), text)
    head = Text.assemble((name, "bold"), f"  {kind}")
    shown = [part for part in parts if part is not None]
    return Group(
        head, Text(summary[:1].upper() + summary[1:]), "", table, *(Padding(part, (1, 0, 0, 0)) for part in shown)
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _metric(name: str) -> Group | None:
    from robench.analysis.metrics import METRICS

    metric = METRICS.get(name)
    if metric is None:
        return None
    facts = {
        "formula": metric.formula,
        "unit": metric.unit,
        "better": "higher" if metric.higher_is_better else "lower",
        "source": metric.source,
    }
    return _page("metric", name, f"{metric.meaning}.", facts)


def _own(name: str) -> Group | None:
    """Return the page of a function or suite of an own file; None for a name of another form."""
    from robench.transforms.own import own_corruption, read_names

    if not is_own(name):
        return None
    try:
        return _corruption_page(own_corruption(name))
    except OptionError as error:
        try:
            (suite,), _ = read_names([name], None)
        except OptionError:
            raise error from None
        return _suite(suite)


def _preset(name: str) -> Group | None:
    if name not in PRESETS:
        return None
    preset = PRESETS[name]
    sizes = [f"{suite} up to {size} px" for size, suite in preset.suites[:-1]]
    facts = {
        "suite by input size": ", ".join([*sizes, f"else {preset.suites[-1][1]}"]),
        "corruptions": ", ".join(preset.corruptions),
        "severities": ", ".join(map(str, preset.severities)),
        "images": f"{preset.limit:,}, evenly spread",
    }
    return _page("preset", name, f"{preset.summary}.", facts)


def _dataset(name: str) -> Group | None:
    from robench.datasets import EMBEDDED, READERS

    if name in EMBEDDED:
        return _page("dataset", name, "Embedded: it needs no files and no network.", {})
    reader = next((reader for reader in READERS if reader.name == name), None)
    return None if reader is None else _page("dataset layout", name, f"{reader.summary}.", {"option": "--data"})


def _suite(name: str) -> Group | None:
    if not _found(find_suite, name):
        return None
    suite = find_suite(name)
    verb = "perturbations" if suite.family.has_frames else "corruptions"
    images = str(suite.geometry or (f"frames of {suite.side} px" if suite.side else "the model's own geometry"))
    if suite.family is families.CUE_CONFLICT:
        categories = ", ".join(f"{name} ({len(outputs)})" for name, outputs in SHAPE_CATEGORIES.items())
        facts = {
            "images": "files such as cat3-truck1.png: a cat's shape, a truck's texture; resized to the input, not cropped",
            "categories": f"{categories}; in parentheses, their ImageNet classes",
            "decision": "category with the largest mean of the softmax probabilities of its classes",
            "metrics": "shape_bias, shape_accuracy and texture_accuracy over images in conflict; accuracy over all",
            "source": suite.source,
        }
        return _page("suite", name, f"{suite.summary}.", facts)
    if suite.family is families.ADVERSARIAL:
        facts = {
            "images": "the model's own geometry; changes are of its input in 0 to 1",
            "attacks": "\n".join(f"{name}: {text}" for name, text in ATTACKS.items()),
            "norms": "\n".join(
                f"{name}: {text}; default radii {', '.join(EPSILONS[name])}" for name, text in NORMS.items()
            ),
            "method": "each attack: accuracy after it and those before it; worst: after all of them, at smaller radii too",
            "value": "an upper bound on robust accuracy: other attacks may succeed. It is not AutoAttack, which has more attacks",
            "source": suite.source,
        }
        return _page("suite", name, f"{suite.summary}.", facts)
    facts = {
        "images": images,
        verb: ", ".join(suite.corruptions),
        "extra": ", ".join(suite.extra),
        "severities": ", ".join(map(str, suite.severities)),
        "JPEG of the released files": f"quality {suite.release_jpeg}" if suite.release_jpeg else "",
        "published baseline": suite.baseline or ("" if not suite.family.is_released else _NO_BASELINE),
        "source": suite.source,
    }
    return _page("suite", name, f"{suite.summary}.", facts, _published(suite))


_NO_BASELINE = "none, so no mCE or mFR; --normalize-by RUN divides by a run"


def _published(suite: Suite) -> Table | None:
    """Return the published values of a suite's baseline."""
    from robench.analysis.baselines import BASELINES, load_baseline

    if suite.baseline not in BASELINES:
        return None
    baseline = load_baseline(suite.baseline)
    table = _table(f"published values of {suite.baseline}, %")
    table.add_column("" if suite.family.has_frames else "corruption")
    flips = suite.family.has_frames
    table.add_column("flip rate" if flips else "mean error", justify="right")
    for corruption in suite.names:
        value = baseline.flip_rates.get((corruption, 1)) if flips else baseline.means.get(corruption)
        if value is not None:
            table.add_row(corruption, f"{100 * value:.1f}")
    if not flips and baseline.clean is not None:
        table.add_row("clean", f"{100 * baseline.clean:.1f}")
    return table if table.row_count else None


def _corruption(name: str) -> Group | None:
    from robench.transforms.corruptions import find_corruption

    return _corruption_page(find_corruption(name, "")) if _found(lambda text: find_corruption(text, ""), name) else None


def _corruption_page(corruption: Corruption) -> Group:
    name = corruption.name
    facts = {
        "suites": ", ".join(suite.name for suite in SUITES.values() if name in suite.names),
        "random": "yes, keyed by seed and image" if corruption.random else "no",
        "published values": "\n".join(
            f"{suite} {' '.join(f'{value:g}' for value in values[name])}"
            for suite, values in C_BAR_VALUES.items()
            if name in values
        ),
        "between severities": "constants interpolate" if corruption.interpolates else "no intermediate severities",
        "source": corruption.source,
    }
    table = _table("constants by severity")
    table.add_column("set")
    severities = range(1, max(map(len, corruption.levels.values()), default=0) + 1)
    for severity in severities:
        table.add_column(str(severity), overflow="fold")
    for constants, levels in corruption.levels.items():
        texts = ["\n".join(f"{key} {value:g}" for key, value in level.items()) for level in levels]
        table.add_row(f"{constants} px" if constants.isdigit() else constants, *texts)
    return _page("corruption", name, corruption.summary, facts, table if corruption.levels else None)


def _perturbation(name: str) -> Group | None:
    from robench.transforms.perturbations import PERTURBATIONS

    perturbation = PERTURBATIONS.get(name)
    if perturbation is None:
        return None
    facts = {
        "suites": ", ".join(suite.name for suite in SUITES.values() if name in suite.names),
        "axis": perturbation.axis,
        "source": perturbation.source,
    }
    return _page("perturbation", name, perturbation.summary, facts)


def _treatment(name: str) -> Group | None:
    from robench.treatments import find_treatment

    if not _found(find_treatment, name):
        return None
    method = find_treatment(name)
    facts = {
        "data": method.data,
        "per image": method.per_image,
        "frames": method.frames,
        "parameters": "\n".join(map(str, method.parameters)),
        "source": method.source,
    }
    return _page("treatment", name, f"{method.summary}.", facts)


def _protocol(name: str) -> Group | None:
    if "#" not in name:
        return None
    protocol = Protocol.parse(name.removeprefix("protocol "))
    facts = {**protocol.named_parts, "hash": f"{protocol.digest}, of all constants and draws"}
    return _page("protocol", name, "Values with equal protocols are comparable.", facts)


def _found(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except RobenchError:
        return False
    return True
