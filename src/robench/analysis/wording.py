"""Names of suites and corruptions in sentences: as a command line takes them, or as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["IDENTIFIERS", "Wording"]


class Wording(NamedTuple):
    """Texts for the names within a sentence.

    Attributes:
        suite: Returns the text for the name of a suite.
        corruption: Returns the text for the name of a corruption.
    """

    suite: Callable[[str], str]
    corruption: Callable[[str], str]


IDENTIFIERS = Wording(str, str)
"""Names as a command line takes them, such as `gaussian_noise`."""
