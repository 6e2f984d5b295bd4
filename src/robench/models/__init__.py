"""Classifiers from files of any format and from libraries, and the table of their architectures."""

from __future__ import annotations

from robench.models.architectures import ARCHITECTURES, architecture_names, find_family, names_family
from robench.models.branches import branches_of
from robench.models.classifier import Classifier, Preprocessing
from robench.models.family import Family
from robench.models.loading import FORMATS, choose_device, load_classifier

__all__ = [
    "ARCHITECTURES",
    "FORMATS",
    "Classifier",
    "Family",
    "Preprocessing",
    "architecture_names",
    "branches_of",
    "choose_device",
    "find_family",
    "load_classifier",
    "names_family",
]
