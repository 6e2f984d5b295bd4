"""Comparison of robench's corruptions with the functions of the published package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from robench.datasets import ImageDataset, decode_few, select
from robench.errors import OptionError
from robench.evaluation.prepare import match_model_to_dataset
from robench.models import Classifier
from robench.runs.observer import Observer
from robench.suites import BACKENDS, Condition, find_suite
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_images
from robench.transforms.corruptions import find_corruption
from robench.transforms.reference import check_reference
from robench.types import Floats, Images

__all__ = ["MAX_DIFFERENCE", "MAX_OVER_ONE", "Agreement", "verify"]

_BATCH = 16
MAX_DIFFERENCE, MAX_OVER_ONE = 0.25, 0.005
"""Limits without draws: mean difference of pixels in grey levels, and share of values with a difference of more than one.

Both sides truncate. A whole number that float32 leaves on the other side then differs by one: a fifth of the values of saturate 3.
"""
_MAX_CHANGE, _MAX_BIAS, _CONFIDENCE = 0.01, 0.15, 1 - 1e-5
"""Limits with draws beyond chance: relative difference of mean absolute changes, and of mean changes in grey levels."""


@dataclass(frozen=True)
class Agreement:
    """Both implementations on the same images at one corruption and severity, in grey levels from 0 to 255.

    Attributes:
        corruption: Name of the corruption.
        severity: Severity.
        random: Whether the corruption draws. Both implementations then have draws of their own, and only the distributions
            of pixels agree.
        difference: Mean absolute difference of the pixels of both implementations.
        over_one: Share of values that differ by more than 1.
        change: Mean absolute difference to the clean image.
        reference_change: The same of the published package.
        bias: Mean signed difference to the clean image.
        reference_bias: The same of the published package.
        error: Top-1 error of the model, a fraction; None without a model.
        reference_error: The same with the published package's images.
        change_tolerance: Largest difference of the changes that counts as agreement: 1 %, or what chance explains. None without
            draws, and for a single image.
        bias_tolerance: The same of the biases: 0.15, or what chance explains.
        agrees: Whether the implementations agree; None for a single image with draws. Without draws, `difference` is at most
            0.25 and `over_one` at most 0.5 %. With draws, changes and biases differ by at most their tolerances.
    """

    corruption: str
    severity: int
    random: bool
    difference: float
    over_one: float
    change: float
    reference_change: float
    bias: float
    reference_bias: float
    error: float | None
    reference_error: float | None
    change_tolerance: float | None
    bias_tolerance: float | None
    agrees: bool | None


def verify(
    images: ImageDataset,
    suite: str = "imagecorruptions",
    *,
    classifier: Classifier | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    observer: Observer | None = None,
) -> Iterator[Agreement]:
    """Corrupt the same images with both backends, and yield the comparison of each cell.

    Args:
        images: The dataset. Images keep their size if neither the suite nor a classifier has one.
        suite: imagecorruptions; imagenet-c shows the differences between the package and the release.
        classifier: A model whose errors are compared too.
        corruptions: Corruptions to compare; None for all.
        severities: Severities to compare; None for all.
        limit: Number of images, evenly spread; None for all.
        seed: Seed of all draws.
        observer: Receives progress.

    Raises:
        OptionError: An argument is invalid, or the package is not installed.
        DatasetError: An image cannot be read.
    """
    observer = observer or Observer()
    chosen = find_suite(suite)
    if not chosen.corruptions:
        raise OptionError(f"the {suite} suite has no corruptions", "give another --suite")
    check_reference(chosen.name, chosen.constants)
    cells = chosen.select(corruptions=corruptions, severities=severities, extra=True)
    geometry = chosen.geometry or (classifier.preprocessing.geometry() if classifier else Geometry())
    if classifier is not None:
        classifier, images = match_model_to_dataset(classifier, images)
    positions = select(images, limit=limit)
    size = _BATCH if chosen.geometry or classifier else 1
    batches = []
    observer.phase("reading", len(positions))
    for start in range(0, len(positions), size):
        part = positions[start : start + size]
        batches.append(
            (torch.from_numpy(decode_few(images, part, geometry)), torch.from_numpy(part), images.labels[part])
        )
        observer.advance(len(part))
    observer.phase("comparing", len(positions) * len(cells))
    for corruption, severity in cells:
        rows = []
        for clean, index, labels in batches:
            ours, theirs = (
                condition_images(
                    clean,
                    Condition(suite, corruption, severity, geometry, chosen.constants, None, backend),
                    index,
                    seed,
                )
                for backend in BACKENDS
            )
            errors = [_errors(classifier, corrupted, labels) for corrupted in (ours, theirs)]
            rows.append(
                np.stack([*_differences(ours, theirs), *_change(clean, ours), *_change(clean, theirs), *errors])
            )
            observer.advance(len(clean))
        random = find_corruption(corruption, chosen.constants).random
        yield _agreement(corruption, severity, random, np.concatenate(rows, axis=1), classifier is not None)


def _differences(ours: Images, theirs: Images) -> tuple[Floats, Floats]:
    """Return the (b,) mean absolute difference and the share of values that differ by more than 1, for each image."""
    difference = (ours.to(torch.int16) - theirs.to(torch.int16)).abs().flatten(1)
    return difference.double().mean(dim=1).numpy(), (difference > 1).double().mean(dim=1).numpy()


def _change(clean: Images, corrupted: Images) -> tuple[Floats, Floats]:
    """Return the (b,) mean absolute and mean signed difference to the clean image, for each image."""
    change = (corrupted.to(torch.int16) - clean.to(torch.int16)).double().flatten(1)
    return change.abs().mean(dim=1).numpy(), change.mean(dim=1).numpy()


def _errors(classifier: Classifier | None, images: Images, labels: np.ndarray) -> Floats:
    """Return (b,) 1 for each error of the classifier; NaN without a classifier."""
    if classifier is None:
        return np.full(len(images), math.nan)
    errors: Floats = (classifier.logits(images).argmax(dim=1).cpu().numpy() != labels).astype(np.float64)
    return errors


def _agreement(corruption: str, severity: int, random: bool, rows: Floats, with_model: bool) -> Agreement:
    """Return the means of `rows`, (8, n) values of each image."""
    means = [float(mean) for mean in rows.mean(axis=1)]
    difference, over_one, change, bias, reference_change, reference_bias, error, reference_error = means
    tolerances: tuple[float, float] | None = None
    agrees: bool | None = None
    if not random:
        agrees = difference <= MAX_DIFFERENCE and over_one <= MAX_OVER_ONE
    elif rows.shape[1] > 1:
        tolerances = (
            max(_MAX_CHANGE * reference_change, _chance(rows[2] - rows[4])),
            max(_MAX_BIAS, _chance(rows[3] - rows[5])),
        )
        agrees = abs(change - reference_change) <= tolerances[0] and abs(bias - reference_bias) <= tolerances[1]
    return Agreement(
        corruption=corruption,
        severity=severity,
        random=random,
        difference=difference,
        over_one=over_one,
        change=change,
        reference_change=reference_change,
        bias=bias,
        reference_bias=reference_bias,
        error=error if with_model else None,
        reference_error=reference_error if with_model else None,
        change_tolerance=None if tolerances is None else tolerances[0],
        bias_tolerance=None if tolerances is None else tolerances[1],
        agrees=agrees,
    )


def _chance(differences: Floats) -> float:
    """Return half of Student's t interval of the mean of paired differences, with a confidence of 1 - 1e-5."""
    from scipy.stats import t

    error = differences.std(ddof=1) / math.sqrt(len(differences))
    return float(t.ppf((1 + _CONFIDENCE) / 2, len(differences) - 1) * error)
