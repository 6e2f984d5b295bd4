"""The suites, as data, in one explicit table. Torch-free: scoring a run needs them too."""

from __future__ import annotations

from collections.abc import Sequence

from robench.errors import OptionError, unknown_name
from robench.plugins import find_plugin, plugins
from robench.suites.cifar_c import CIFAR_C
from robench.suites.geometry import Geometry
from robench.suites.imagecorruptions import IMAGECORRUPTIONS
from robench.suites.imagenet_c import IMAGENET_64_C, IMAGENET_C, IMAGENET_C_299, TINY_IMAGENET_C
from robench.suites.imagenet_p import CIFAR_P, IMAGENET_P, IMAGENET_P_299, TINY_IMAGENET_P
from robench.suites.presets import PRESETS, Preset, find_preset
from robench.suites.suite import BACKENDS, CLEAN, SEVERITIES, Condition, Family, ReleasedFiles, Suite
from robench.suites.sweeps import (
    BEST_OF_K,
    MAP_AXIS,
    NOISE,
    OCCLUSION,
    RESOLUTION,
    RESOLUTIONS,
    SCALE,
    SHIFT,
    SMALL,
    SMALL_RESOLUTIONS,
    UNTREATED,
    map_offset,
    map_place,
)

__all__ = [
    "ALL",
    "BACKENDS",
    "BEST_OF_K",
    "CLEAN",
    "MAP_AXIS",
    "PRESETS",
    "RESOLUTIONS",
    "SEVERITIES",
    "SMALL",
    "SMALL_RESOLUTIONS",
    "SUITES",
    "UNTREATED",
    "Condition",
    "Family",
    "Geometry",
    "Preset",
    "ReleasedFiles",
    "Suite",
    "display_family",
    "find_preset",
    "find_suite",
    "lookup_suite",
    "map_offset",
    "map_place",
    "suites_for",
]

ALL = "all"
"""In place of a suite: all that fit the model's input."""

CLEAN_SUITE = Suite(
    name=CLEAN,
    summary="the unperturbed images; always evaluated, whatever the suite",
    source="the model's own resize and crop when evaluated alone",
)

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        CLEAN_SUITE,
        IMAGENET_C,
        IMAGENET_C_299,
        TINY_IMAGENET_C,
        IMAGENET_64_C,
        CIFAR_C,
        IMAGECORRUPTIONS,
        IMAGENET_P,
        IMAGENET_P_299,
        TINY_IMAGENET_P,
        CIFAR_P,
        SHIFT,
        SCALE,
        NOISE,
        OCCLUSION,
        RESOLUTION,
    )
}

_FITTING = {
    224: (IMAGENET_C, IMAGENET_P),
    299: (IMAGENET_C_299, IMAGENET_P_299),
    64: (TINY_IMAGENET_C, TINY_IMAGENET_P),
    32: (CIFAR_C, CIFAR_P),
}
"""Published suites by the side of their images, one where several have the same pixels."""


def suites_for(names: Sequence[str], side: int) -> list[Suite]:
    """Return the suites called `names`, each once; `all` stands for those that fit a model's input of `side` pixels."""
    chosen: list[Suite] = []
    at_any_side = (SHIFT, SCALE, NOISE, OCCLUSION, RESOLUTION)
    fitting = [suite for suite in (*_FITTING.get(side, ()), *at_any_side) if suite.smallest <= side]
    for name in names:
        chosen += fitting if name == ALL else [find_suite(name)]
    return list(dict.fromkeys(chosen))


def find_suite(name: str) -> Suite:
    """Return the suite called `name`, built in or an installed package's; OptionError with a suggestion if there is none."""
    found = lookup_suite(name)
    if found is None:
        raise OptionError(unknown_name("suite", name, (*SUITES, ALL, *(offer.name for offer in plugins("suite")))))
    return found


def lookup_suite(name: str) -> Suite | None:
    """Return the suite called `name`, built in or an installed package's; None if there is none."""
    if name in SUITES:
        return SUITES[name]
    offer = find_plugin("suite", name)
    return None if offer is None else offer.load(Suite)


def display_family(name: str) -> Family:
    """Return how figures of a suite are shown: of one not known here, a package's or a newer robench's, as errors of its cells."""
    found = lookup_suite(name)
    return found.family if found is not None else "corruptions"
