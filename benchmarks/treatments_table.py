"""Measure the gain and cost of every treatment on cifar-c, shift and cifar-p, with intervals.

    python benchmarks/treatments_table.py CHECKPOINT --arch zoo:cifar_resnet20 --data FOLDER --out FOLDER

Makes a run of every treatment and suite below --out with `robench.evaluate`, and continues interrupted ones. Then prints hardware,
versions and the table in Markdown. --print makes no run and shows finished ones. Values and intervals are those of `results.csv`.
Noise and blur have no row there. Their value is the mean of the cells in each of robench's own resamples of the images.
Bold values differ from the untreated run over the same resamples. Calibration images are --calibration, or else images of the
dataset that no run evaluates.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import hardware, threads

import robench
from robench.analysis.metrics.intervals import percentile_interval
from robench.analysis.scoring import score_rows
from robench.analysis.scoring.rows import DISTRIBUTION, Row, result_row
from robench.datasets import ImageDataset, open_dataset, select
from robench.evaluation.prepare import default_run_path
from robench.runs.observer import EVALUATING, FinishedCondition, Observer
from robench.treatments import Treatment, parse_treatments

TREATMENTS = (
    "",
    "bn-test:n=64",
    "bn-test:n=200",
    "bn-prior:N=16,n=8",
    "bn-prior:N=16,n=1",
    "localnorm:g=1",
    "blurpool:filter=rect2",
    "blurpool:filter=tri3",
    "blurpool:filter=tri4",
    "blurpool:filter=bin5",
    "bn-calib:clean",
    "bn-calib:weak",
    "blurpool:filter=bin5,bn-calib:clean",
    "tent:n=64",
    "localnorm:g=16",
    "bn-frozen",
    "bn-calib:strong",
)
RESOLUTION = "bn-resolution"

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
BLUR = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur")

SUITES: dict[str, list[str] | None] = {"cifar-c": None, "shift": ["crop"], "cifar-p": None}
"""Corruptions of each suite; None for all."""


SECONDS = "seconds.csv"
"""File with the processor time of each uninterrupted run."""


class Clock(Observer):
    """Processor time of a run from its first condition to its last, including the estimates of a treatment."""

    def __init__(self) -> None:
        self.begun, self.seconds, self.conditions = 0.0, 0.0, 0

    def phase(self, name: str, total: int) -> None:
        """Start the clock when the samples are decoded."""
        if name == EVALUATING:
            self.begun = time.process_time()

    def condition(self, finished: FinishedCondition) -> None:
        """Count the condition."""
        self.seconds, self.conditions = time.process_time() - self.begun, self.conditions + 1


@dataclass(frozen=True)
class Plan:
    """The runs of the table.

    Attributes:
        classifier: The untreated model.
        dataset: The evaluated dataset.
        out: Folder of the runs.
        images: Number of images by suite.
        severities: Severities of cifar-c; None for all.
        calibration: Images for bn-calib and bn-resolution.
    """

    classifier: robench.Classifier
    dataset: ImageDataset
    out: Path
    images: dict[str, int]
    severities: list[int] | None
    calibration: Path

    def path(self, suite: str, treatment: str) -> Path:
        """Return the run directory of a suite and a treatment."""
        label = "+".join([self.classifier.label, *map(str, parsed(treatment))])
        return self.out / default_run_path(label, self.dataset.name, [suite]).name

    def run(self, suite: str, treatment: str) -> None:
        """Begin or continue a run."""
        methods = [one.method for one in parsed(treatment)]
        if suite != "cifar-c" and any(one.frames == "refused" for one in methods):
            return
        options = robench.Options(
            corruption=["network"] if treatment == RESOLUTION else SUITES[suite],
            treatment=[treatment] if treatment else [],
            calibration=self.calibration if any(one.data == "calibration" for one in methods) else None,
            severity=self.severities if suite == "cifar-c" else None,
            limit=self.images[suite],
        )
        path, clock = self.path(suite, treatment), Clock()
        run = robench.evaluate(self.classifier, self.dataset, [suite], path, options=options, progress=clock)
        if clock.conditions == len(run.directory.conditions):
            with (self.out / SECONDS).open("a") as file:
                file.write(f"{path.name},{clock.seconds:.2f}\n")

    def finished(self, suite: str, treatment: str) -> robench.RunDirectory | None:
        """Return a run; None if it is missing or unfinished."""
        if not (self.path(suite, treatment) / "manifest.json").exists():
            return None
        run = robench.RunDirectory.open(self.path(suite, treatment))
        return run if len(run.finished()) == len(run.conditions) else None


def parsed(text: str) -> list[Treatment]:
    """Return the treatments of a line of the table."""
    return parse_treatments([text] if text else [])


def main() -> None:
    """Parse the arguments, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--arch", default="zoo:cifar_resnet20")
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--images", type=int, default=400, help="images of cifar-c, shift and resolution, evenly spread"
    )
    parser.add_argument("--sequences", type=int, default=64, help="images of cifar-p")
    parser.add_argument(
        "--calibration", type=Path, help="images for bn-calib and bn-resolution, such as training images"
    )
    parser.add_argument("--severities", type=int, nargs="+", help="severities of cifar-c; default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="only print the runs that are finished")
    options = parser.parse_args()
    threads(options.threads)
    dataset = open_dataset(options.data)
    counts = {"cifar-c": options.images, "shift": options.images, "cifar-p": options.sequences}
    counts["resolution"] = options.images
    plan = Plan(
        robench.load_classifier(options.checkpoint, options.arch, "cpu"),
        dataset,
        options.out,
        counts,
        options.severities,
        options.calibration or the_others(dataset, counts.values(), options.out / f"unevaluated-{options.images}"),
    )
    rounds = [(suite, one) for one in TREATMENTS for suite in SUITES]
    for suite, treatment in [] if options.print else [("resolution", RESOLUTION), *rounds]:
        plan.run(suite, treatment)
        print(f"{suite} {treatment}", flush=True)
    print(hardware(options.threads))
    print(f"\n{plan.classifier.label}, {dataset.name}: {', '.join(f'{n} images of {s}' for s, n in counts.items())}")
    print(f"calibration: {plan.calibration.name}, {len(open_dataset(plan.calibration))} images\n")
    print("\n".join(table(plan)))
    print()
    print("\n".join(sizes(plan)))


def the_others(dataset: ImageDataset, counts: Collection[int], folder: Path) -> Path:
    """Copy the images that no run evaluates to a folder; they are not training images."""
    evaluated = np.unique(np.concatenate([select(dataset, limit=count) for count in counts]))
    others = np.setdiff1d(np.arange(len(dataset)), evaluated)
    if not len(others):
        raise SystemExit("every image is evaluated; give --calibration, or fewer --images")
    for position in others.tolist():
        file = folder / dataset.paths[position]
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(dataset.read(position))
    return folder


def table(plan: Plan) -> Iterator[str]:
    """Yield one line for each treatment: values in %, and seconds of processor time of cifar-c."""
    names = ("clean accuracy", "mean error", "noise", "blur", "flip rate", "consistency", "CPU s", "x")
    yield f"| treatment | {' | '.join(names)} |"
    yield f"|---|{'--:|' * len(names)}"
    taken, plain = seconds(plan.out), values(plan, "")
    untreated_seconds = taken.get(plan.path("cifar-c", "").name)
    for treatment in TREATMENTS:
        cells = [cell(row, untreated) for row, untreated in zip(values(plan, treatment), plain, strict=True)]
        spent = taken.get(plan.path("cifar-c", treatment).name)
        cells.append(f"{spent:.0f}" if spent else "-")
        cells.append(f"{spent / untreated_seconds:.1f}" if spent and untreated_seconds else "-")
        yield f"| {f'`{treatment}`' if treatment else 'none'} | {' | '.join(cells)} |"


def values(plan: Plan, treatment: str) -> list[Row | None]:
    """Return clean accuracy, mean error, its parts of noise and blur, mean flip rate and consistency; None without a run."""
    corrupted = rows_of(plan.finished("cifar-c", treatment), "accuracy", "mean_error", "error_rate")
    return [
        first(corrupted, "accuracy"),
        first(corrupted, "mean_error"),
        part(corrupted, NOISE),
        part(corrupted, BLUR),
        first(rows_of(plan.finished("cifar-p", treatment), "mean_flip_rate"), "mean_flip_rate"),
        first(rows_of(plan.finished("shift", treatment), "consistency"), "consistency"),
    ]


def sizes(plan: Plan) -> Iterator[str]:
    """Yield accuracy in % by test size, without and with statistics of that size, in one run."""
    rows = rows_of(plan.finished("resolution", RESOLUTION), "accuracy")
    found = {(one["corruption"], one["resolution"]): one for one in rows if one["suite"] == "resolution"}
    yield f"| size | none | `{RESOLUTION}` |"
    yield "|--:|--:|--:|"
    for side in sorted({side for _, side in found}):
        plain = found["untreated", side]
        yield f"| {side} | {cell(plain, plain)} | {cell(found['network', side], plain)} |"


def rows_of(run: robench.RunDirectory | None, *metrics: str) -> list[Row]:
    """Return the rows of some metrics with their distributions; none without a finished run."""
    return [] if run is None else [one for one in score_rows(run, "none") if one["metric"] in metrics]


def first(rows: list[Row], metric: str) -> Row | None:
    """Return the only row of a metric."""
    return next((one for one in rows if one["metric"] == metric), None)


def part(rows: list[Row], corruptions: Collection[str]) -> Row | None:
    """Return the mean error over some corruptions in each resample."""
    cells = [one for one in rows if one["metric"] == "error_rate" and one.get("corruption") in corruptions]
    return result_row("mean_error", np.mean([one[DISTRIBUTION] for one in cells], axis=0)) if cells else None


def cell(row: Row | None, plain: Row | None) -> str:
    """Return a value in % with its interval, bold if the interval of its change excludes 0; a dash without a row."""
    if row is None:
        return "-"
    text = f"{100 * row['value']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
    if plain is None:
        return text
    low, high = percentile_interval((row[DISTRIBUTION] - plain[DISTRIBUTION])[1:])
    return f"**{text}**" if low > 0 or high < 0 else text


def seconds(out: Path) -> dict[str, float]:
    """Return processor time by name of the run."""
    if not (out / SECONDS).exists():
        return {}
    with (out / SECONDS).open(newline="") as file:
        return {name: float(spent) for name, spent in csv.reader(file)}


if __name__ == "__main__":
    main()
