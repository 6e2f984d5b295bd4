"""Compare treatments of a small network with accuracy measured elsewhere, and CPU time with the untreated run.

    python benchmarks/treatments.py CHECKPOINT --arch zoo:cifar_resnet20 --data FOLDER [--threads 1] [--seeds 1]

The conditions are clean images, and Gaussian noise and contrast of cifar-c at severity 5 (sigma 0.10, factor 0.15). Prints
hardware and versions, then every accuracy with the one expected of ResNet-20 on 2,000 test images of CIFAR-10. A star marks a
difference of more than 3 standard errors of the expected one. With several seeds, accuracies are means.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
from common import hardware, threads
from rich.console import Console
from rich.table import Table

from robench.datasets import ImageDataset, decode, hash_images, open_dataset, select
from robench.evaluation import loop
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.samples import Samples
from robench.models import Classifier, load_classifier
from robench.suites import Condition
from robench.treatments import adapt
from robench.types import Ints

EXPECTED: dict[str, tuple[float, float, float]] = {
    "": (91.55, 23.55, 27.55),
    "bn-test:n=8": (81.9, 52.6, 72.3),
    "bn-test:n=16": (85.8, 56.35, 74.6),
    "bn-test:n=64": (87.4, 57.66, 77.42),
    "bn-test:n=200": (88.45, 58.0, 77.25),
    "bn-test:n=200, classes in turn": (26.35, 20.2, 23.3),
    "bn-prior:N=16,n=1": (91.9, 34.1, 36.6),
    "bn-prior:N=16,n=8": (90.5, 61.6, 78.05),
    "bn-prior:N=16,n=200": (88.6, 58.65, 79.2),
    "localnorm:g=16": (85.78, 56.51, 74.43),
    "localnorm:g=1": (24.05, 14.0, 23.85),
    "tent:n=200,lr=0.001,optimiser=adam": (88.5, 58.6, 77.6),
    "blurpool:filter=rect2": (91.2, 18.3, 24.7),
    "blurpool:filter=tri3": (90.15, 16.1, 24.15),
    "blurpool:filter=tri4": (87.3, 14.05, 22.65),
    "blurpool:filter=bin5": (83.9, 13.65, 22.1),
    "bn-frozen:M=1000": (math.nan, math.nan, math.nan),
}
"""Accuracy in % on clean, noisy and low-contrast images; NaN if not measured."""

_WRONG = ", classes in turn"
_CORRUPTIONS = ("gaussian_noise", "contrast")


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--arch", default="zoo:cifar_resnet20")
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    threads(options.threads)
    console = Console(width=120)
    console.print(hardware(options.threads), soft_wrap=True)
    classifier, images = load_classifier(options.checkpoint, options.arch, "cpu"), open_dataset(options.data)
    chosen = Options(corruption=list(_CORRUPTIONS), severity=[5])
    plan = make_plan(["cifar-c"], chosen, classifier.preprocessing)
    samples = decoded(images, plan.conditions[0])
    table = Table(title=f"{classifier.label}, {len(images)} images of {images.name}: accuracy, %", title_justify="left")
    for name in ("treatment", *(f"{one.corruption} (expected)" for one in plan.conditions), "CPU s", "x"):
        table.add_column(name, justify="left" if name == "treatment" else "right")
    plain = math.nan
    for text, expected in EXPECTED.items():
        accuracy, seconds = measured(classifier, samples, plan.conditions, text, options.seeds)
        plain = seconds if not text else plain
        cells = [shown(found, known, len(samples.rows)) for found, known in zip(accuracy, expected, strict=True)]
        table.add_row(text or "none", *cells, f"{seconds:.2f}", f"{seconds / plain:.2f}")
    console.print(table)


def decoded(images: ImageDataset, condition: Condition) -> Samples:
    """Return all images at the size of the condition."""
    positions = select(images)
    found = decode(images, hash_images(images, positions), condition.geometry, skip=False)
    return Samples(found.images, positions, positions, images.labels)


def measured(
    classifier: Classifier, samples: Samples, conditions: tuple[Condition, ...], text: str, seeds: int
) -> tuple[list[float], float]:
    """Return accuracy in % by condition, the mean over seeds, and the CPU seconds of all conditions of one seed."""
    treatment = text.removesuffix(_WRONG)
    found, start = np.zeros((seeds, len(conditions))), time.process_time()
    with in_turn(samples) if text.endswith(_WRONG) else nullcontext():
        for seed in range(seeds):
            treated, session = adapt(classifier, [treatment] if treatment else [], None, seed).start()
            for number, condition in enumerate(conditions):
                records = evaluate_condition(treated, samples, condition, seed=seed, batch_size=64, session=session)
                found[seed, number] = 100 * np.mean(records["pred"] == records["label"])
    return found.mean(axis=0).tolist(), (time.process_time() - start) / seeds


@contextmanager
def in_turn(samples: Samples) -> Iterator[None]:
    """Use the samples class by class instead of in keyed order, which is wrong for these methods."""

    def by_class(index: Ints, condition: Condition, seed: int) -> Ints:
        return np.argsort(samples.label, kind="stable")

    with patch.object(loop, "sample_order", by_class):
        yield


def shown(found: float, expected: float, images: int) -> str:
    """Return the accuracy, the expected one, and a star if they differ by more than 3 standard errors."""
    if math.isnan(expected):
        return f"{found:.2f}"
    share = expected / 100
    error = 100 * math.sqrt(share * (1 - share) / images)
    return f"{found:.2f} ({expected:g}){'*' if abs(found - expected) > 3 * error else ''}"


if __name__ == "__main__":
    main()
