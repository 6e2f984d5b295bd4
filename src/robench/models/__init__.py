"""Classifiers from files of any format and from libraries, and the table of their architectures."""

from __future__ import annotations

from robench.models.architectures import ARCHITECTURES, architecture_names, find_family, names_family
from robench.models.architectures.base import Family
from robench.models.checkpoints.aux_bn import aux_bn_branches
from robench.models.classifier import Classifier
from robench.models.device import choose_device
from robench.models.load import load_classifier
from robench.models.loader import FORMATS
from robench.models.preprocessing import Preprocessing

__all__ = [
    "ARCHITECTURES",
    "FORMATS",
    "Classifier",
    "Family",
    "Preprocessing",
    "architecture_names",
    "aux_bn_branches",
    "choose_device",
    "find_family",
    "load_classifier",
    "names_family",
]
