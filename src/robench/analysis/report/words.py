"""Words for names of suites, corruptions and metrics, and texts without folders of a machine."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from robench.analysis.wording import Wording

__all__ = ["HEADINGS", "WORDS", "last_part", "metric_words", "suite_words", "without_folders", "words"]

_SUITE = {
    "ood": "Out of distribution",
    "imagenet": "ImageNet",
    "3dcc": "3DCC",
    "cifar": "CIFAR",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "c": "C",
    "p": "P",
}
_METRICS = {
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "ce": "CE",
    "mfr": "mFR",
    "fr": "FR",
    "ece": "ECE",
    "accuracy_auc": "area under accuracy",
    "error_rate": "top-1 error",
}
_NAME = re.compile("[a-z0-9]+(_[a-z0-9]+)*")
_SPELLINGS = {"jpeg": "JPEG", "gaussian": "Gaussian"}
_FOLDERS = re.compile(r"(?<![\w/.:<])(?:/|[A-Za-z]:\\)(?:[^\s/\\:;,'\"()]+[/\\])+")
"""The folders of an absolute path, without its last part."""


def words(name: str) -> str:
    """Return the name of a corruption as a heading, such as `Gaussian noise`; a name of another form stays as it is."""
    text = _within_sentence(name)
    return text[:1].upper() + text[1:] if _NAME.fullmatch(name) else name


def _within_sentence(name: str) -> str:
    return " ".join(_SPELLINGS.get(part, part) for part in name.split("_")) if _NAME.fullmatch(name) else name


def suite_words(suite: str) -> str:
    """Return the name of a suite as a heading, such as `CIFAR-C`."""
    first, *others = (_SUITE.get(part, part) for part in suite.split("-"))
    return "-".join((first[:1].upper() + first[1:], *others))


def metric_words(metric: str) -> str:
    """Return the name of a metric within a sentence, such as `mean error`."""
    return _METRICS.get(metric, metric.replace("_", " "))


def without_folders(text: str) -> str:
    """Return a text whose absolute paths have lost their folders: they name a machine and its users."""
    return _FOLDERS.sub("", text)


def last_part(path: str) -> str:
    """Return the last part of an absolute path; other texts stay as they are."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).name
    return path


HEADINGS = Wording(suite_words, words)
"""Names as words that begin with a capital letter."""

WORDS = Wording(suite_words, _within_sentence)
"""Names as words within a sentence."""
