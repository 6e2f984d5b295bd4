"""The field: published results of many models, among which a run has a place. `scripts/make_field.py` writes the tables.

Every row of a table names its source, licence and protocol. Values are top-1 errors in percent.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from robench.analysis.baselines import load_baseline
from robench.analysis.metrics.effective_robustness import logit_fit
from robench.analysis.metrics.mce import mce
from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN, SUITES, lookup_suite

__all__ = [
    "FIELDS",
    "ROBUSTBENCH",
    "SHIFTS",
    "SOURCES",
    "TESTBED",
    "Cell",
    "Field",
    "Fit",
    "PublishedModel",
    "Shift",
    "field_cells",
    "field_fit",
    "field_of",
    "find_field",
    "models_with",
    "published_mce",
    "published_models",
]

Cell = tuple[str, int]
"""Corruption and severity."""

ROBUSTBENCH, TESTBED = "robustbench", "imagenet-testbed"

SOURCES: dict[str, str] = {
    ROBUSTBENCH: "RobustBench (Croce et al. 2021, arXiv:2010.09670), MIT",
    TESTBED: "ImageNet testbed (Taori et al. 2020, arXiv:2007.00644), MIT",
}
"""Paper and licence of each source."""


@dataclass(frozen=True)
class Shift:
    """Columns of a natural shift in `shifts.csv`.

    Attributes:
        column: Column of the errors.
        images: Number of images of the dataset.
        clean: Column of the errors on the validation images of the same classes.
    """

    column: str
    images: int
    clean: str = "val"


@dataclass(frozen=True)
class Field:
    """Published results on one suite, or on one dataset of clean images.

    Attributes:
        name: Unique name.
        suite: Suite of the runs that stand among them; `clean` for a dataset.
        dataset: Dataset of the published rows.
        classes: Number of classes among which the models predict.
        reference: Source of the models that the fit uses, and among which a run is counted.
        reservation: Differences of the published protocols from robench's, in a sentence.
    """

    name: str
    suite: str
    dataset: str
    classes: int
    reference: str
    reservation: str


SHIFTS: dict[str, Shift] = {
    "clean": Shift("val", 50_000),
    "imagenet-a": Shift("imagenet-a", 7_500, "val-on-imagenet-a-classes"),
    "imagenet-r": Shift("imagenet-r", 30_000, "val-on-imagenet-r-classes"),
    "imagenet-v2": Shift("imagenetv2-matched-frequency-format-val", 10_000),
    "imagenet-v2-threshold0.7": Shift("imagenetv2-threshold-0.7-format-val", 10_000),
    "imagenet-v2-top-images": Shift("imagenetv2-top-images-format-val", 10_000),
    "imagenet-sketch": Shift("imagenet-sketch", 50_889),
    "objectnet": Shift("objectnet-1.0-beta", 18_574, "val-on-objectnet-classes"),
}
"""Natural shifts by field. Models without a value are left out."""

_DATASETS = {CLEAN: "imagenet", "imagenet-v2": "imagenetv2-matched-frequency", "imagenet-sketch": "sketch"}
"""Names of datasets as in timm's result files, where they differ from that of the field."""

_CLASSES = {"imagenet-a": 200, "imagenet-r": 200, "objectnet": 113}
_IMAGENET_C = (
    "Protocols are mixed: RobustBench has 5,000 fixed images and the released files. The testbed resizes these files once more, "
    "which costs about 1.5 mCE. Released files have JPEG compression, as robench's have by default."
)
_CIFAR = "Protocols are mixed: RobustBench has the released arrays, robench draws each corruption anew."
_3DCC = "Protocols are mixed: RobustBench has 5,000 fixed images of the released files. Values are of the three corruptions without depth."
_TESTBED = "Protocols are mixed: the testbed resizes to 256 px and crops 224 px, or a model's own size."

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("imagenet-c", "imagenet-c", "imagenet", 1000, TESTBED, _IMAGENET_C),
        Field("imagenet-3dcc", "imagenet-3dcc-2d", "imagenet", 1000, ROBUSTBENCH, _3DCC),
        Field("cifar10-c", "cifar-c", "cifar10", 10, ROBUSTBENCH, _CIFAR),
        Field("cifar100-c", "cifar-c", "cifar100", 100, ROBUSTBENCH, _CIFAR),
        *(
            Field(name, CLEAN, _DATASETS.get(name, name), _CLASSES.get(name, 1000), TESTBED, _TESTBED)
            for name in SHIFTS
        ),
    )
}
"""Fields by name."""


@dataclass(frozen=True)
class PublishedModel:
    """Published errors of one model, as fractions.

    Attributes:
        model: Published name.
        source: A key of `SOURCES`.
        licence: Licence of the numbers.
        protocol: Preparation of the images.
        images: Number of images.
        clean: Error on the clean images of the same classes.
        errors: Errors by cell; those of a dataset have the cell ("", 0).
    """

    model: str
    source: str
    licence: str
    protocol: str
    images: int
    clean: float
    errors: Mapping[Cell, float]

    def mean_error(self, cells: Iterable[Cell]) -> float:
        """Return the mean error over cells."""
        return float(np.mean([self.errors[cell] for cell in cells]))


@dataclass(frozen=True)
class Fit:
    """Line of logit(accuracy) by logit(clean accuracy) over published models.

    Attributes:
        slope: Its slope.
        intercept: Its intercept.
        models: Number of models.
    """

    slope: float
    intercept: float
    models: int


def find_field(name: str) -> Field:
    """Return a field; OptionError for another name, with a suggestion."""
    if name not in FIELDS:
        raise OptionError(*unknown_name("field", name, FIELDS))
    return FIELDS[name]


def field_of(suite: str, dataset: str, classes: int | None, names: Collection[str]) -> Field | None:
    """Return the field to which a run belongs; None for none.

    Args:
        suite: Name of the suite.
        dataset: Name of the run's dataset.
        classes: Number of classes among which the run predicts; None if unknown.
        names: Names of the dataset's classes. CIFAR is known by them, or by the name of the dataset.
    """
    label = re.sub("[^a-z0-9]", "", dataset.lower())
    for field in FIELDS.values():
        if field.suite == suite != CLEAN and field.classes == classes:
            known = _CIFAR_CLASSES.get(field.dataset)
            if known is None or known <= set(names) or re.search(rf"{field.dataset}(?!0)", label):
                return field
    return None


_CIFAR_CLASSES = {
    "cifar10": {"bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
    "cifar100": {"aquarium_fish", "lawn_mower", "sweet_pepper", "willow_tree"},
}
"""Names of classes that no other dataset of as many classes has."""


@cache
def published_models(name: str) -> tuple[PublishedModel, ...]:
    """Return the models of a field, a key of `FIELDS`."""
    shift = SHIFTS.get(name)
    with files(__name__).joinpath("shifts.csv" if shift else f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    models = []
    for row in rows:
        clean = row.pop("clean") if shift is None else row[shift.clean]
        images = int(row.pop("images")) if shift is None else shift.images
        about = {key: row.pop(key) for key in ("model", "source", "licence", "protocol")}
        cells = {("", 0): row[shift.column]} if shift else {_cell(key): text for key, text in row.items()}
        errors = {cell: _fraction(text) for cell, text in cells.items() if text}
        if errors:
            models.append(PublishedModel(**about, images=images, clean=_fraction(clean), errors=errors))
    return tuple(models)


def _cell(column: str) -> Cell:
    corruption, _, severity = column.rpartition("_")
    return corruption, int(severity)


def _fraction(percentage: str) -> float:
    return round(float(percentage) / 100, 8)


def field_cells(name: str) -> frozenset[Cell]:
    """Return the cells that the aggregates of a field cover."""
    cells = {cell for model in published_models(name) for cell in model.errors}
    suite = lookup_suite(FIELDS[name].suite)
    covered = {corruption for corruption, _ in cells} if suite is None else suite.own_or_extra(c for c, _ in cells)
    return frozenset(cell for cell in cells if cell[0] in covered)


def models_with(name: str, cells: frozenset[Cell]) -> list[PublishedModel]:
    """Return the models of a field that have all of these cells."""
    return [model for model in published_models(name) if cells <= model.errors.keys()]


@cache
def field_fit(name: str, cells: frozenset[Cell]) -> Fit | None:
    """Return the fit over the reference models of a field; None if it has not all of these cells.

    Args:
        name: A key of `FIELDS`.
        cells: The cells whose mean accuracy is predicted.
    """
    models = [model for model in models_with(name, cells) if model.source == FIELDS[name].reference]
    if not cells or not models:
        return None
    accuracies = [1 - model.mean_error(sorted(cells)) for model in models]
    return Fit(*logit_fit([1 - model.clean for model in models], accuracies), len(models))


def published_mce(model: PublishedModel) -> float:
    """Return the mCE of a model with all cells of ImageNet-C, by AlexNet's published errors."""
    suite, alexnet = SUITES["imagenet-c"], load_baseline("alexnet")
    cells = [[(name, severity) for severity in suite.severities] for name in suite.corruptions]
    errors, divisors = ([[of[cell] for cell in row] for row in cells] for of in (model.errors, alexnet.errors))
    return float(mce(errors, divisors))
