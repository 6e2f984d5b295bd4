"""Write the tables of the documentation that the code defines: columns, suites, corruptions, metrics and costs.

    python scripts/write_docs.py [--check]

A page marks the place of a table with `<!-- begin NAME … -->` and `<!-- end NAME -->`. With --check the script writes nothing, and
exits with 1 if a page is outdated.
"""

from __future__ import annotations

import html
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from robench.analysis.baselines import load_baseline
from robench.analysis.leaderboard.schema import LEADERBOARD, LEADERBOARD_BY_OOD, LEADERBOARD_BY_SIZE
from robench.analysis.metrics import METRICS
from robench.datasets.class_mapping import IMAGENET_CLASSES
from robench.evaluation.adversarial import attack_passes
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing
from robench.runs.schema import GROUPS, RECORDS, RESULTS, SAMPLES, SCHEMA_VERSION, TIMINGS, Column
from robench.suites import C_BAR_VALUES, CLEAN, SUITES, Suite, category_of, families
from robench.suites.c_bar import CIFAR_C_BAR, IMAGENET_3DCC_2D, IMAGENET_C_BAR
from robench.suites.imagenet_c import CORRUPTIONS, EXTRA
from robench.suites.imagenet_p import IMAGENET_P
from robench.transforms.apply import condition_frames
from robench.transforms.corruptions import find_corruption
from robench.transforms.perturbations import PERTURBATIONS

DOCS = Path(__file__).parents[1] / "docs"

_TYPES = {"string": "text", "double": "float64", "float": "float32", "list<int32>": "list of int32"}
_PLACE = re.compile(r"(<!-- begin ([\w-]+)\b.*? -->\n).*?(<!-- end \2 -->)", re.DOTALL)

Lines = Iterator[str]


def main() -> None:
    """Write or check all pages."""
    outdated = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        written = with_tables(text)
        if written != text:
            outdated.append(page)
            if "--check" not in sys.argv[1:]:
                page.write_text(written, encoding="utf-8")
    for page in outdated:
        print(page.relative_to(DOCS.parent))
    sys.exit("--check" in sys.argv[1:] and bool(outdated))


def with_tables(text: str) -> str:
    """Return the text of a page with its tables."""
    return _PLACE.sub(
        lambda match: match[1] + "\n" + "".join(f"{line}\n" for line in TABLES[match[2]]()) + "\n" + match[3], text
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]], numbers: int = 0) -> Lines:
    """Yield a Markdown table, whose last columns are numbers."""
    names = list(header)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * (len(names) - numbers) + "--:|" * numbers
    for row in rows:
        yield f"| {' | '.join(row)} |"


def columns() -> Lines:
    """Yield the columns of every table."""
    yield f"This page describes schema version {SCHEMA_VERSION}, which the manifest and the column `schema` name."
    for each in (RESULTS, LEADERBOARD, RECORDS, SAMPLES, GROUPS, TIMINGS):
        yield from ("", f"## {each.name}", "", f"Each row is {each.meaning}.", "")
        yield from _columns(each.columns)
        if each == LEADERBOARD:
            yield from ("", "These columns follow for each input size in the table, smallest first:", "")
            yield from _columns(LEADERBOARD_BY_SIZE)
            yield from ("", "These follow for each name of images out of distribution:", "")
            yield from _columns(LEADERBOARD_BY_OOD)


def _columns(each: Iterable[Column]) -> Lines:
    return table(
        ("column", "type", "unit", "may be empty", "meaning"),
        (
            (f"`{one.name}`", _TYPES.get(one.type, one.type), one.unit, "yes" if one.nullable else "", one.meaning)
            for one in each
        ),
    )


def suites() -> Lines:
    """Yield the suites with their images and passes."""
    for kind, chosen in _KINDS.items():
        yield from (f"**{kind}**", "")
        yield from table(
            ("suite", "contents", "image", "passes per image"),
            (
                (f"`{suite.name}`", suite.summary, _image(suite), f"{passes(suite):,}")
                for suite in SUITES.values()
                if chosen(suite)
            ),
            numbers=1,
        )
        yield ""


_KINDS: dict[str, Callable[[Suite], bool]] = {
    "Corruptions": lambda suite: suite.name != CLEAN and suite.family.has_clean and not suite.family.has_frames,
    "Perturbation sequences": lambda suite: suite.family.has_frames and suite.side is not None,
    "Sweeps": lambda suite: suite.family.has_frames and suite.side is None and suite.family is not families.ADVERSARIAL,
    "Attacks": lambda suite: suite.family is families.ADVERSARIAL,
    "Images of their own": lambda suite: not suite.family.has_clean,
    "Clean images": lambda suite: suite.name == CLEAN,
}


def _image(suite: Suite) -> str:
    if suite.geometry is not None:
        return f"`{suite.geometry}`" + (f", JPEG {suite.release_jpeg}" if suite.release_jpeg else "")
    return f"frames of {suite.side} px" if suite.side is not None else "the model's input"


def passes(suite: Suite) -> int:
    """Return the forward passes of one image: the clean ones and every condition with its frames."""
    side = suite.side or 224
    plan = make_plan([suite.name], Options(), Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.5,) * 3))
    return sum(
        condition_frames(one) if one.attack is None else attack_passes(one.attack, IMAGENET_CLASSES)
        for one in plan.conditions
    )


def corruptions() -> Lines:
    """Yield the corruptions of ImageNet-C by category, with AlexNet's published errors."""
    alexnet = load_baseline("alexnet")
    rows = []
    for name in (*CORRUPTIONS, *EXTRA):
        corruption = find_corruption(name, "224")
        group = "extra" if name in EXTRA else category_of(name)
        random = "yes" if corruption.random else "no"
        rows.append((group, f"`{name}`", corruption.summary, random, f"{100 * alexnet.means[name]:.1f}"))
    assert alexnet.clean is not None
    rows.append(("clean", "", "", "", f"{100 * alexnet.clean:.1f}"))
    return table(("category", "corruption", "change of the image", "random", "error of AlexNet, %"), rows, numbers=1)


def other_corruptions() -> Lines:
    """Yield the corruptions of C-bar and of 3DCC's part, with the published values of their severities."""
    rows: dict[str, tuple[str, ...]] = {}
    for suite in (IMAGENET_C_BAR, CIFAR_C_BAR, IMAGENET_3DCC_2D):
        for name in suite.corruptions:
            corruption = find_corruption(name, suite.constants)
            values = " ".join(f"{value:g}" for value in C_BAR_VALUES.get(suite.name, {}).get(name, ()))
            _, summary, random, cells = rows.get(
                name, ("", corruption.summary, "yes" if corruption.random else "no", "")
            )
            cells = "<br>".join(filter(None, (cells, f"`{suite.name}`{f': {values}' if values else ''}")))
            rows[name] = (f"`{name}`", summary, random, cells)
    return table(("corruption", "change of the image", "random", "suite: published values"), rows.values())


def perturbations() -> Lines:
    """Yield the perturbations of ImageNet-P, with AlexNet's published flip rates."""
    alexnet = load_baseline("alexnet")
    return table(
        ("perturbation", "sequence", "flip rate of AlexNet, %"),
        (
            (
                f"`{name}`" + (" (extra)" if name in IMAGENET_P.extra else ""),
                PERTURBATIONS[name].summary,
                f"{100 * alexnet.flip_rates[name, 1]:.1f}",
            )
            for name in IMAGENET_P.names
        ),
        numbers=1,
    )


def sweeps() -> Lines:
    """Yield the contents of the suites at the model's input size, with their sources."""
    return table(
        ("suite", "parts", "source"),
        (
            (f"`{suite.name}`", ", ".join(f"`{name}`" for name in suite.names), linked(suite.source))
            for suite in SUITES.values()
            if _KINDS["Sweeps"](suite)
        ),
    )


def metrics() -> Lines:
    """Yield the metrics with definitions, formulas and sources."""
    return table(
        ("metric", "better", "unit", "definition", "source"),
        (
            (
                f"`{one.name}`",
                "higher" if one.higher_is_better else "lower",
                one.unit,
                one.meaning + (f"<br><code>{_escaped(one.formula)}</code>" if one.formula else ""),
                linked(one.source),
            )
            for one in METRICS.values()
        ),
    )


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("*", "&#42;")


def half_widths() -> Lines:
    """Yield half-widths of the 95 % interval of a rate, in percentage points."""
    sizes = (100, 500, 1_000, 2_000, 5_000, 10_000, 50_000)
    return table(
        ("images", *(f"error of {rate} %" for rate in (5, 25, 50))),
        ((f"{n:,}", *(f"± {196 * math.sqrt(e * (1 - e) / n):.1f} pp" for e in (0.05, 0.25, 0.5))) for n in sizes),
        numbers=4,
    )


def cost() -> Lines:
    """Yield forward passes and hours of usual evaluations for several assumed speeds."""
    wanted = (
        ("`cifar-c`, 10,000 images", "cifar-c", 10_000),
        ("`--preset ci`, 1,000 images", "ci", 1_000),
        ("`imagenet-c`, 5,000 images", "imagenet-c", 5_000),
        ("`imagenet-c`, 50,000 images", "imagenet-c", 50_000),
        ("`imagenet-p`, 50,000 images", "imagenet-p", 50_000),
    )
    rows = []
    for name, suite, images in wanted:
        count = images * (5 if suite == "ci" else passes(SUITES[suite]))
        rows.append((name, f"{count:,}", *(_duration(count / speed) for speed in (30, 300, 3_000))))
    return table(("evaluation", "forward passes", "30 images/s", "300 images/s", "3,000 images/s"), rows, numbers=4)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def decisions() -> Lines:
    """Yield the decisions with their titles."""
    for page in sorted((DOCS / "decisions").glob("0*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        yield f"- [{title}]({page.name})"


def linked(text: str) -> str:
    """Return a source with links to its papers."""
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


TABLES: dict[str, Callable[[], Lines]] = {
    "columns": columns,
    "suites": suites,
    "corruptions": corruptions,
    "other-corruptions": other_corruptions,
    "perturbations": perturbations,
    "sweeps": sweeps,
    "metrics": metrics,
    "half-widths": half_widths,
    "cost": cost,
    "decisions": decisions,
}

if __name__ == "__main__":
    main()
