"""Reproduce published values on ImageNet, and their parts from published cells (docs/reproduce.md).

python benchmarks/reproduce.py --list                                          # commands, published values and tolerances
python benchmarks/reproduce.py --cells                                         # no images: metrics of published errors
python benchmarks/reproduce.py --data imagenet/val --weights weights/ [-n 5000] [--only resnet50-c] [--out runs/reproduce]

The exit code is 1 if a value is farther from the published one than its tolerance and half its 95 % interval together.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robench.analysis.baselines import load_baseline
from robench.analysis.field import field_cells, field_fit, published_mce, published_models
from robench.analysis.metrics.effective_robustness import effective_robustness
from robench.analysis.metrics.mce import ce
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, SUITES
from robench.types import Results


@dataclass(frozen=True)
class Published:
    """A published value.

    Attributes:
        suite: Suite of its row in results.csv.
        metric: Metric of the row.
        value: The value, in percent.
        tolerance: Distance that other draws, decoders and libraries explain, in percentage points.
        source: Paper or page.
        corruption: Corruption of the row; None for an aggregate.
    """

    suite: str
    metric: str
    value: float
    tolerance: float
    source: str
    corruption: str | None = None

    @property
    def name(self) -> str:
        """Suite, corruption and metric."""
        return " ".join(filter(None, (self.suite, self.corruption if self.suite != CLEAN else None, self.metric)))


@dataclass(frozen=True)
class Recipe:
    """One evaluation and the values that it must reproduce.

    Attributes:
        name: Name for `--only`.
        weights: Origin of the weights.
        model: Argument of `robench evaluate`; a file is searched in `--weights`.
        options: Further options.
        values: The published values.
    """

    name: str
    weights: str
    model: str
    options: tuple[str, ...]
    values: tuple[Published, ...]

    def command(self, data: str, weights: Path, out: Path, limit: int | None) -> list[str]:
        """Return the command line after `robench`."""
        model = str(weights / self.model) if Path(self.model).suffix in _FILES else self.model
        size = [] if limit is None else ["-n", str(limit)]
        return ["evaluate", model, "--data", data, *self.options, *size, "--out", str(out / self.name)]


_FILES = {".pth", ".tar", ".safetensors"}

_HENDRYCKS = "Hendrycks & Dietterich 2019, github.com/hendrycks/robustness"
_ZHANG = "Zhang 2019, github.com/adobe/antialiased-cnns"
_BENCH = "RobustBench's cells, 5,000 images"

_RESNET = ("--arch", "torchvision:resnet50")
_DRAWS = 0.8
"""Tolerance of mCE: other random draws, decoders of JPEG, and 5,000 instead of 50,000 images (76.37 and 76.7 for ResNet-50)."""
_VIDEO = 3.0
"""Tolerance of mFR and mT5D: the published frames went through H.264, these have no loss. Its effect is not known."""

RECIPES = (
    Recipe(
        "resnet50-c",
        "torchvision, IMAGENET1K_V1",
        "torchvision:resnet50@IMAGENET1K_V1",
        ("--suite", "imagenet-c"),
        (
            Published(CLEAN, "error_rate", 23.85, 0.1, _HENDRYCKS, CLEAN),
            Published("imagenet-c", "mce", 76.7, _DRAWS, _HENDRYCKS),
        ),
    ),
    Recipe(
        "resnet50-p",
        "torchvision, IMAGENET1K_V1",
        "torchvision:resnet50@IMAGENET1K_V1",
        ("--suite", "imagenet-p"),
        (Published("imagenet-p", "mfr", 58.0, _VIDEO, _HENDRYCKS),),
    ),
    Recipe(
        "resnet50-shift",
        "torchvision, IMAGENET1K_V1",
        "torchvision:resnet50@IMAGENET1K_V1",
        ("--suite", "shift", "--corruption", "crop"),
        (Published("shift", "consistency", 89.2, 0.3, _ZHANG, "crop"),),
    ),
    Recipe(
        "augmix-c",
        "github.com/google-research/augmix, as augmix.pth.tar",
        "augmix.pth.tar",
        (*_RESNET, "--suite", "imagenet-c"),
        (
            Published(CLEAN, "error_rate", 22.46, 0.1, "ImageNet testbed, resnet50_augmix", CLEAN),
            Published("imagenet-c", "mce", 64.17, _DRAWS, _BENCH),
        ),
    ),
    Recipe(
        "deepaugment-augmix-c",
        "github.com/hendrycks/imagenet-r, as deepaugment_and_augmix.pth.tar",
        "deepaugment_and_augmix.pth.tar",
        (*_RESNET, "--suite", "imagenet-c"),
        (
            Published(CLEAN, "error_rate", 24.18, 0.1, "ImageNet testbed, resnet50_deepaugment_augmix", CLEAN),
            Published("imagenet-c", "mce", 60.05, _DRAWS, _BENCH),
        ),
    ),
    Recipe(
        "antialiased-bin5-shift",
        "pip install antialiased-cnns",
        "antialiased_cnns:resnet50?pretrained=True&filter_size=5",
        ("--suite", "shift", "--corruption", "crop"),
        (
            Published(CLEAN, "accuracy", 77.04, 0.1, _ZHANG, CLEAN),
            Published("shift", "consistency", 91.31, 0.3, _ZHANG, "crop"),
        ),
    ),
    Recipe(
        "antialiased-bin5-p",
        "pip install antialiased-cnns",
        "antialiased_cnns:resnet50?pretrained=True&filter_size=5",
        ("--suite", "imagenet-p"),
        (Published("imagenet-p", "mfr", 51.2, _VIDEO, _ZHANG),),
    ),
    Recipe(
        "deit-b-c",
        "RobustBench's Tian2022Deeper_DeiT-B, as deit_b.pth (not the plain DeiT-B)",
        "deit_b.pth",
        ("--arch", "timm:deit_base_patch16_224", "--suite", "imagenet-c"),
        (
            Published(CLEAN, "error_rate", 18.62, 0.8, _BENCH, CLEAN),
            Published("imagenet-c", "mce", 41.70, _DRAWS, _BENCH),
        ),
    ),
)


@dataclass(frozen=True)
class Check:
    """A measured value next to the published one, in percent.

    Attributes:
        name: What was measured.
        measured: The value; NaN if it is absent.
        published: The published value.
        tolerance: Largest distance that passes.
    """

    name: str
    measured: float
    published: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the value is near enough; NaN is not."""
        return abs(self.measured - self.published) <= self.tolerance


def check(recipe: Recipe, results: Results) -> Iterator[Check]:
    """Yield a check for each published value of a recipe."""
    for one in recipe.values:
        rows = results[(results["suite"] == one.suite) & (results["metric"] == one.metric)]
        rows = rows[rows["corruption"].isna() if one.corruption is None else rows["corruption"] == one.corruption]
        rows = rows[rows["axis"].isna() | ((rows["axis"] == "difficulty") & (rows["axis_value"] == 1))]
        if rows.empty:
            yield Check(f"{recipe.name}: {one.name}", float("nan"), one.value, one.tolerance)
            continue
        row = rows.iloc[0]
        factor = 100 if row["unit"] == "fraction" else 1
        half = factor * float(row["ci_high"] - row["ci_low"]) / 2
        yield Check(f"{recipe.name}: {one.name}", factor * float(row["value"]), one.value, one.tolerance + half)


_CE = (77.3, 79.3, 80.2, 74.5, 88.6, 78.7, 79.8, 78.3, 75.8, 66.5, 57.0, 71.4, 85.2, 76.8, 76.1)
_MCE = {"Standard_R50": 76.37, "Hendrycks2020AugMix": 64.17, "Hendrycks2020Many": 60.05, "Tian2022Deeper_DeiT-B": 41.70}
_MCE |= {"AlexNet": 99.97}
_ABOVE = {"resnet50": -3.47, "resnet50_augmix": 3.58, "resnet50_deepaugment_augmix": 14.48, "alexnet": -4.07}


def check_cells() -> Iterator[Check]:
    """Yield checks of the metrics on published errors of single cells."""
    models = {model.model: model for model in published_models("imagenet-c")}
    suite, alexnet = SUITES["imagenet-c"], load_baseline("alexnet")
    for name, expected in zip(suite.corruptions, _CE, strict=True):
        errors = [models["Standard_R50"].errors[name, severity] for severity in suite.severities]
        yield Check(f"CE of Standard_R50: {name}", float(ce(errors, [alexnet.means[name]])), expected, 0.051)
    for name, expected in _MCE.items():
        yield Check(f"mCE of {name}", published_mce(models[name]), expected, 0.02)
    cells = field_cells("imagenet-c")
    fit = field_fit("imagenet-c", cells)
    assert fit is not None
    for name, expected in _ABOVE.items():
        clean, accuracy = 1 - models[name].clean, 1 - models[name].mean_error(sorted(cells))
        above = effective_robustness(clean, accuracy, fit.slope, fit.intercept)
        yield Check(f"effective robustness of {name}", 100 * float(np.asarray(above)), expected, 0.02)


def report(checks: Sequence[Check]) -> bool:
    """Print a table of checks, and return whether all passed."""
    width = max(len(one.name) for one in checks)
    print(f"{'value':{width}}  measured  published  tolerance")
    for one in checks:
        mark = "" if one.passed else "  DIFFERS"
        print(f"{one.name:{width}}  {one.measured:8.2f}  {one.published:9.2f}  {one.tolerance:9.2f}{mark}")
    return all(one.passed for one in checks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print commands, published values and tolerances")
    parser.add_argument("--cells", action="store_true", help="check metrics on published cells; needs no images")
    parser.add_argument("--data", default="imagenet/val", help="validation images of ImageNet")
    parser.add_argument("--weights", type=Path, default=Path(), help="folder of the weights files")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="folder of the runs")
    parser.add_argument("-n", dest="limit", type=int, help="number of images")
    parser.add_argument("--only", nargs="*", choices=[recipe.name for recipe in RECIPES], help="recipes to run")
    given = parser.parse_args(arguments)
    if given.cells:
        return 0 if report([*check_cells()]) else 1
    chosen = [recipe for recipe in RECIPES if not given.only or recipe.name in given.only]
    commands = {recipe.name: recipe.command(given.data, given.weights, given.out, given.limit) for recipe in chosen}
    if given.list:
        for recipe in chosen:
            print(f"# {recipe.name}: {recipe.weights}\nrobench {shlex.join(commands[recipe.name])}")
            for one in recipe.values:
                print(f"#   {one.name} {one.value:.2f} ± {one.tolerance:.1f} ({one.source})")
        return 0
    checks: list[Check] = []
    for recipe in chosen:
        subprocess.run([sys.executable, "-m", "robench", *commands[recipe.name]], check=True)
        checks += check(recipe, RunDirectory.open(given.out / recipe.name).read_results())
    return 0 if report(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
