"""Completions of option values in a shell.

Each function takes the incomplete text of a value and returns the texts that it may become. A value may be a list: the part
after the last comma is completed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout

__all__ = [
    "architectures",
    "attacks",
    "corruptions",
    "fields",
    "joined_bash_words",
    "models",
    "presets",
    "suites",
    "treatments",
]

_FAMILIES = ("zoo:", "torchvision:", "timm:")


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


def fields(incomplete: str) -> list[str]:
    """Return fields of published models."""
    from robench.analysis.field import FIELDS

    return _complete(incomplete, FIELDS)


def corruptions(incomplete: str) -> list[str]:
    """Return the corruptions and perturbations of all suites."""
    from robench.suites import SUITES

    names = (name for suite in SUITES.values() for name in (*suite.corruptions, *suite.extra))
    return _complete(incomplete, dict.fromkeys(names))


def attacks(incomplete: str) -> list[str]:
    """Return the attacks of the suite adversarial."""
    from robench.suites import ATTACKS

    return _complete(incomplete, ATTACKS)


def treatments(incomplete: str) -> list[str]:
    """Return treatments."""
    from robench.treatments import TREATMENTS

    return _complete(incomplete, TREATMENTS)


def architectures(incomplete: str) -> list[str]:
    """Return the families, or the architectures of the only family that fits the text."""
    family, colon, _ = incomplete.partition(":")
    if not colon:
        families = [name for name in _FAMILIES if name.startswith(family)]
        if len(families) != 1:
            return families
        family = families[0].removesuffix(":")
    from robench.errors import OptionError
    from robench.models import architecture_names

    try:
        names = architecture_names(family)
    except OptionError:
        return []
    return [name for name in (f"{family}:{known}" for known in names) if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Return the architectures of a family; none for another text, so that the shell completes files."""
    return architectures(incomplete) if incomplete.startswith(_FAMILIES) else []


@contextmanager
def joined_bash_words() -> Iterator[None]:
    """Join the words that bash cuts at `:` and `=`, and cut the completions that are printed inside the context likewise.

    Bash gives `zoo:cifar` as three words. It replaces the last one alone, by `cifar_resnet20`.
    """
    if os.environ["_ROBENCH_COMPLETE"] != "complete_bash":
        yield
        return
    joined: list[str] = []
    words, last = os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"])
    words = words if len(words) > last else [*words, ""]
    for before, word in zip(["", *words], words[: last + 1], strict=False):
        if joined and (word in (":", "=") or before in (":", "=")):
            joined[-1] += word
        else:
            joined.append(word)
    os.environ |= {"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    value = joined[-1].partition("=")[2] if joined[-1].startswith("-") else joined[-1]
    kept = value[: value.rfind(":") + 1] if ":" in words else ""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        sys.stdout.write("".join(f"{line.removeprefix(kept)}\n" for line in printed.getvalue().splitlines()))
