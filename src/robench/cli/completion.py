"""Completions of option values in a shell.

Each function takes the incomplete text of a value and returns the texts that it may become. A value may be a list: the part
after the last comma is completed.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["architectures", "corruptions", "presets", "suites", "treatments"]


def _complete(incomplete: str, names: Iterable[str]) -> list[str]:
    done, comma, part = incomplete.rpartition(",")
    taken = set(done.split(","))
    return [f"{done}{comma}{name}" for name in names if name.startswith(part) and name not in taken]


def suites(incomplete: str) -> list[str]:
    """Return suites."""
    from robench.suites import ALL, SUITES

    return _complete(incomplete, [*SUITES, ALL])


def presets(incomplete: str) -> list[str]:
    """Return presets."""
    from robench.suites import PRESETS

    return _complete(incomplete, PRESETS)


def corruptions(incomplete: str) -> list[str]:
    """Return the corruptions and perturbations of all suites."""
    from robench.suites import SUITES

    names = (name for suite in SUITES.values() for name in (*suite.corruptions, *suite.extra))
    return _complete(incomplete, dict.fromkeys(names))


def treatments(incomplete: str) -> list[str]:
    """Return treatments."""
    from robench.treatments import TREATMENTS

    return _complete(incomplete, TREATMENTS)


def architectures(incomplete: str) -> list[str]:
    """Return the families, or the architectures of the family that the text names."""
    family, colon, _ = incomplete.partition(":")
    if not colon:
        return [name for name in ("zoo:", "torchvision:", "timm:") if name.startswith(family)]
    from robench.errors import OptionError
    from robench.models import architecture_names

    try:
        names = architecture_names(family)
    except OptionError:
        return []
    # bash cuts a word at a colon, but typer completes the whole word.
    return [name for name in (f"{family}:{known}" for known in names) if name.startswith(incomplete)]
