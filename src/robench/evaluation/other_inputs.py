"""A short trial of other inputs on clean images, which finds a model that is fed the wrong way.

A model can need another order of the channels, pixels in 0 to 255, or another mean and std. Such a model still runs, and its accuracy
is lower. The trial compares the preprocessing of the run with others on the same images, before the long work.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from robench.analysis.metrics.paired_tests import mcnemar
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.samples import Samples
from robench.models import Classifier
from robench.models.in_memory import FunctionModule
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, listed
from robench.suites import Condition
from robench.types import Ints

__all__ = ["input_warnings"]

_IMAGES = 1000
"""Most images of a trial. The order of the channels costs a few points of accuracy, which 200 images do not show."""
_FIRST, _LARGEST = 4, 128
"""Images of the first part and of the largest; each part is as large as all before it."""
_SECONDS, _LONG, _MOST_SECONDS = 2.0, 0.01, 10.0
"""Time of a trial: two seconds, or this share of long work, up to a limit."""
_ERROR = 0.05
"""Probability that a trial reports an input that is no better, over all other inputs."""
_CERTAIN = 1e-7
"""p-value at which a trial ends early."""
_HOPELESS = 0.1
"""p-value of the opposite test at which another input is dropped."""
_ENOUGH = 250
"""Images after which another input that is no better so far is dropped."""
_GAIN = 0.02
"""Least gain of accuracy that is reported."""
_ABOVE_GUESS = 0.1
"""Least share of the way from guessing to perfect accuracy of an input that is reported."""

_CAFFE_MEAN = (123.68, 116.779, 103.939)


@dataclass
class _Other:
    """Another input.

    Attributes:
        images: Description of the images.
        options: Options that choose it.
        preprocessing: Its preprocessing.
        right: Whether each image so far is classified correctly.
    """

    images: str
    options: str
    preprocessing: Preprocessing
    right: list[bool] = field(default_factory=list)

    def changed(self, used: _Other) -> tuple[int, int]:
        """Return the number of images that only this input, and only `used`, classifies correctly."""
        ours, theirs = np.array(self.right), np.array(used.right)
        return int((ours & ~theirs).sum()), int((theirs & ~ours).sum())


def input_warnings(
    classifier: Classifier, samples: Samples, condition: Condition, options: Options, work: int
) -> list[str]:
    """Return a line about the input that the model clearly classifies better, or none.

    The trial uses a copy of the untreated network, and leaves the random generators as they are. There is none for a function in
    place of a module, which may keep a state.

    Args:
        classifier: The model without treatments.
        samples: The samples under the condition's geometry.
        condition: A clean condition.
        options: Options of the run.
        work: Number of images that the run classifies.
    """
    if isinstance(classifier.module, FunctionModule) or classifier.preprocessing.bands != 3:
        return []
    with suppress(Exception):  # Files of exported programs hold modules that cannot be copied.
        classifier = replace(classifier, module=copy.deepcopy(classifier.module))
    batch_size = options.batch_size or _IMAGES
    count = min(_IMAGES, len(samples.rows))
    chosen = samples.select(np.linspace(0, len(samples.rows) - 1, count).round().astype(np.int64))
    # Samples are often sorted by class, so that each part must be spread too.
    chosen = chosen.select(np.random.default_rng(0).permutation(count))

    def right(preprocessing: Preprocessing, part: Ints) -> list[bool]:
        records = evaluate_condition(
            replace(classifier, preprocessing=preprocessing),
            chosen.select(part),
            condition,
            seed=options.seed,
            batch_size=batch_size,
            precision=options.precision,
        )
        return list((records["pred"] == records["label"]).tolist())

    used = _Other("", "", classifier.preprocessing)
    devices = [classifier.device] if classifier.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        best = _race(used, _others(used.preprocessing), right, count, work)
        if best is not None and best.preprocessing.channels == used.preprocessing.channels:
            swapped = _swapped(best.preprocessing)
            both = replace(
                swapped, images=f"{best.images} {swapped.images}", options=f"{best.options} {swapped.options}"
            )
            best = _race(replace(best, right=[]), [both], right, count, work) or best
    if best is None or not _beats_guessing(best, chosen.label):
        return []
    return [_warning(best, used)]


def _others(used: Preprocessing) -> list[_Other]:
    """Return other inputs that models are often made for."""
    takes_bytes = max(used.std) < 1 / 32
    one = "--input-range 1 " if takes_bytes else ""

    def normalised(images: str, mean: Sequence[float], std: Sequence[float]) -> _Other:
        options = f"{one}--mean {listed(mean)} --std {listed(std)}"
        return _Other(images, options, used.replaced(mean=mean, std=std))

    caffe = f"--input-range 255 --channels bgr --mean {listed(_CAFFE_MEAN)} --std 1,1,1"
    others = [
        _swapped(used),
        _Other("in 0 to 255", "--input-range 255", used.replaced(input_range=255)),
        normalised("in 0 to 1 without mean and std", (0.0,) * 3, (1.0,) * 3),
        normalised("with ImageNet's mean and std", IMAGENET_MEAN, IMAGENET_STD),
        normalised("with a mean and std of 0.5", (0.5,) * 3, (0.5,) * 3),
        _Other(
            "in 0 to 255 and BGR order with Caffe's mean",
            caffe,
            used.replaced(input_range=255, channels="bgr", mean=_CAFFE_MEAN, std=(1.0,) * 3),
        ),
    ]
    return [other for other in others if not _is_close(other.preprocessing, used)]


def _swapped(used: Preprocessing) -> _Other:
    order = "rgb" if used.channels == "bgr" else "bgr"
    return _Other(f"in {order.upper()} order", f"--channels {order}", used.replaced(channels=order))


def _is_close(one: Preprocessing, other: Preprocessing) -> bool:
    """Return whether two preprocessings give nearly the same values."""
    pairs = zip((*one.mean, *one.std), (*other.mean, *other.std), strict=True)
    return one.channels == other.channels and all(math.isclose(a, b, rel_tol=0.05, abs_tol=1e-4) for a, b in pairs)


def _race(
    used: _Other,
    others: Sequence[_Other],
    right: Callable[[Preprocessing, Ints], list[bool]],
    count: int,
    work: int,
) -> _Other | None:
    """Return the input that is clearly better than `used`, or None.

    Args:
        used: The input of the run.
        others: The other inputs.
        right: Returns whether the images at some positions are classified correctly.
        count: Number of images.
        work: Number of images that the run classifies.
    """
    start, limit, rate = time.perf_counter(), _SECONDS, 0.0
    error, racing, done = _ERROR / len(others), list(others), 0
    while racing and done < count:
        size = min(max(done, _FIRST), _LARGEST, count - done)
        left = limit - (time.perf_counter() - start)
        if (1 + len(racing)) * size * rate > left:
            # Little time is left for the better half.
            racing = sorted(racing, key=lambda other: -sum(other.right))[: (len(racing) + 1) // 2]
            size = min(size, int(left / ((1 + len(racing)) * rate)))
            if size < _FIRST:
                break
        part, before = np.arange(done, done + size), time.perf_counter()
        with suppress(Exception):  # The run will raise the same error.
            used.right += right(used.preprocessing, part)
        if len(used.right) == done:
            return None
        each = (time.perf_counter() - before) / size
        rate = min(rate or each, each)  # The first images are slow.
        limit = min(max(_SECONDS, _LONG * work * rate), _MOST_SECONDS)
        if not done and len(racing) * size * rate > limit:
            return None
        for other in racing:
            with suppress(Exception):  # A module may check its input, with any error.
                other.right += right(other.preprocessing, part)
        done += size
        racing = [other for other in racing if len(other.right) == done]
        if any(_is_better(other, used, _CERTAIN) for other in racing):
            break
        racing = [other for other in racing if _has_hope(other, used)]
    better = [other for other in racing if _is_better(other, used, error)]
    return max(better, key=lambda other: sum(other.right), default=None)


def _is_better(other: _Other, used: _Other, error: float) -> bool:
    gained, lost = other.changed(used)
    return gained - lost >= _GAIN * len(used.right) and mcnemar(gained, lost) <= error


def _beats_guessing(other: _Other, labels: Ints) -> bool:
    """Return whether an input gives much more accuracy than always answering the most frequent label of the same images.

    With permuted labels, every input is near that accuracy, and none is better than another.
    """
    count = len(other.right)
    guess = float(np.bincount(labels[:count]).max()) / count
    return float(np.mean(other.right)) >= guess + _ABOVE_GUESS * (1 - guess)


def _has_hope(other: _Other, used: _Other) -> bool:
    gained, lost = other.changed(used)
    return mcnemar(lost, gained) > _HOPELESS and (len(used.right) < _ENOUGH or gained > lost)


def _warning(best: _Other, used: _Other) -> str:
    count = min(len(best.right), len(used.right))
    ours, theirs = (f"{100 * np.mean(one.right[:count]):.1f} %" for one in (best, used))
    return (
        f"images {best.images} are classified right more often: {ours} instead of {theirs} of {count:,} images; "
        f"try {best.options}"
    )
