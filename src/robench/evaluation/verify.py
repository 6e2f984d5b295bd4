"""Robench's corruptions against the published package's own functions, on anybody's images: `robench verify`."""

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
from robench.runs.observer import NullObserver, Observer
from robench.suites import BACKENDS, Condition, find_suite
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_images
from robench.transforms.corruptions import find_corruption
from robench.transforms.reference import check_reference
from robench.types import Floats, Images

__all__ = ["Agreement", "verify"]

_BATCH = 16
_APART, _OVER_ONE = 0.1, 0.005
"""Without draws: the most that pixels may differ in the mean, in grey levels, and the most of them by more than one."""
_CHANGE, _BIAS, _CERTAINTY = 0.01, 0.15, 1 - 1e-5
"""With draws: the most that mean absolute changes may differ, relatively, and mean changes, in grey levels, beyond chance."""


@dataclass(frozen=True)
class Agreement:
    """Both implementations on the same images at one corruption and severity; values are grey levels, 0..255.

    random: whether it draws; each side then has draws of its own, so pixels differ and only their distributions agree.
    difference: mean absolute difference of the two sides' pixels.  over_one: share of values more than 1 apart.
    change, reference_change: mean absolute difference to the clean image.  bias, reference_bias: mean signed one.
    error, reference_error: top-1 errors of the model, fractions; None without a model.
    agrees: without draws, `difference` is at most 0.1 and `over_one` at most 0.5 %. With draws, changes differ by at most
        1 % and biases by at most 0.15, or by no more than chance allows from image to image; None for a single image.
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
    """Corrupt the same images with both backends, and compare pixels and, with a classifier, errors; one cell after another.

    suite: imagecorruptions, or imagenet-c to see what the package computes in its own way.  limit: only so many images,
    evenly spread. Pictures keep their own size where neither the suite nor a classifier has one.
    Raises OptionError, also where the package is not installed, and DatasetError.
    """
    observer = observer or NullObserver()
    chosen = find_suite(suite)
    if not chosen.corruptions:
        raise OptionError(f"the {suite} suite leaves images as they are: give another --suite")
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
                    clean, Condition(suite, corruption, severity, geometry, chosen.constants, None, one), index, seed
                )
                for one in BACKENDS
            )
            wrong = [_wrong(classifier, side, labels) for side in (ours, theirs)]
            rows.append(np.stack([*_differences(ours, theirs), *_change(clean, ours), *_change(clean, theirs), *wrong]))
            observer.advance(len(clean))
        random = find_corruption(corruption, chosen.constants).random
        yield _agreement(corruption, severity, random, np.concatenate(rows, axis=1), classifier is not None)


def _differences(ours: Images, theirs: Images) -> tuple[Floats, Floats]:
    """(b,) mean absolute difference and share of values more than 1 apart, per image."""
    apart = (ours.to(torch.int16) - theirs.to(torch.int16)).abs().flatten(1)
    return apart.double().mean(dim=1).numpy(), (apart > 1).double().mean(dim=1).numpy()


def _change(clean: Images, corrupted: Images) -> tuple[Floats, Floats]:
    """(b,) mean absolute and mean signed difference to the clean image, per image."""
    change = (corrupted.to(torch.int16) - clean.to(torch.int16)).double().flatten(1)
    return change.abs().mean(dim=1).numpy(), change.mean(dim=1).numpy()


def _wrong(classifier: Classifier | None, images: Images, labels: np.ndarray) -> Floats:
    """(b,) 1 where the classifier errs; nothing known without one."""
    if classifier is None:
        return np.full(len(images), math.nan)
    found: Floats = (classifier.logits(images).argmax(dim=1).cpu().numpy() != labels).astype(np.float64)
    return found


def _agreement(corruption: str, severity: int, random: bool, rows: Floats, with_model: bool) -> Agreement:
    """Means over the images of `rows`, (8, n): the columns of Agreement from `difference` on."""
    means = [float(mean) for mean in rows.mean(axis=1)]
    difference, over_one, change, bias, reference_change, reference_bias, error, reference_error = means
    if not random:
        agrees: bool | None = difference <= _APART and over_one <= _OVER_ONE
    elif rows.shape[1] == 1:
        agrees = None
    else:
        agrees = _alike(rows[2] - rows[4], _CHANGE * reference_change) and _alike(rows[3] - rows[5], _BIAS)
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
        agrees=agrees,
    )


def _alike(differences: Floats, allowed: float) -> bool:
    """Whether the mean of paired differences is at most `allowed`, or what Student's t allows by chance."""
    from scipy.stats import t

    error = differences.std(ddof=1) / math.sqrt(len(differences))
    chance = t.ppf((1 + _CERTAINTY) / 2, len(differences) - 1) * error
    return bool(abs(differences.mean()) <= max(allowed, chance))
