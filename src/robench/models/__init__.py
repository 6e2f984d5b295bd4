"""Classifiers from weights files and from libraries, and the table of their architectures."""

from __future__ import annotations

from robench.models.classifier import Classifier, Preprocessing
from robench.models.loading import ARCHITECTURES, architecture_names, choose_device, load_classifier

__all__ = [
    "ARCHITECTURES",
    "Classifier",
    "Preprocessing",
    "architecture_names",
    "choose_device",
    "load_classifier",
]
