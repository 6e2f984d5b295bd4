"""Suites, as data, in one explicit table. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from robench.errors import OptionError, unknown_name
from robench.plugins import find_plugin, is_own, plugins
from robench.suites import families
from robench.suites.adversarial import (
    ADVERSARIAL,
    ATTACKS,
    EPSILONS,
    LEAST_CLASSES,
    NORMS,
    WORST,
    attack_words,
    epsilon_text,
    make_attack,
)
from robench.suites.c_bar import C_BAR_VALUES, CIFAR_C_BAR, IMAGENET_3DCC_2D, IMAGENET_C_BAR
from robench.suites.categories import CATEGORIES, EXTRA_CATEGORY, OTHER_CATEGORY, category_of
from robench.suites.families import Family, FrameKind
from robench.suites.geometry import Geometry, height_width
from robench.suites.imagenet_c import (
    CIFAR_C,
    IMAGECORRUPTIONS,
    IMAGENET_64_C,
    IMAGENET_C,
    IMAGENET_C_299,
    TINY_IMAGENET_C,
)
from robench.suites.imagenet_p import CIFAR_P, IMAGENET_P, IMAGENET_P_299, TINY_IMAGENET_P
from robench.suites.presets import PRESETS, Preset, find_preset
from robench.suites.shape_bias import CUE_CONFLICT, SHAPE_BIAS, SHAPE_CATEGORIES, cues_of
from robench.suites.suite import BACKENDS, CLEAN, OOD, SEVERITIES, Attack, Condition, ReleasedFiles, Suite
from robench.suites.sweeps import (
    EXITS,
    MAP_AXIS,
    NETWORK,
    NOISE,
    OCCLUSION,
    RESOLUTION,
    RESOLUTIONS,
    SCALE,
    SHIFT,
    SMALL,
    SMALL_RESOLUTIONS,
    UNTREATED,
)
from robench.types import Size

__all__ = [
    "ADVERSARIAL",
    "ALL",
    "ATTACKS",
    "BACKENDS",
    "CATEGORIES",
    "CLEAN",
    "CUE_CONFLICT",
    "C_BAR_VALUES",
    "EPSILONS",
    "EXITS",
    "EXTRA_CATEGORY",
    "LEAST_CLASSES",
    "MAP_AXIS",
    "NETWORK",
    "NORMS",
    "OOD",
    "OTHER_CATEGORY",
    "PRESETS",
    "RESOLUTION",
    "RESOLUTIONS",
    "SEVERITIES",
    "SHAPE_BIAS",
    "SHAPE_CATEGORIES",
    "SHIFT",
    "SMALL",
    "SMALL_RESOLUTIONS",
    "SUITES",
    "UNTREATED",
    "WORST",
    "Attack",
    "Condition",
    "Family",
    "FrameKind",
    "Geometry",
    "Preset",
    "ReleasedFiles",
    "Suite",
    "attack_words",
    "category_of",
    "constants_for",
    "cues_of",
    "default_suite",
    "display_family",
    "epsilon_text",
    "families",
    "find_preset",
    "find_suite",
    "lookup_suite",
    "make_attack",
    "suites_for",
]

ALL = "all"
"""Name for all suites that fit the model's input size."""

CLEAN_SUITE = Suite(
    name=CLEAN,
    summary="the unperturbed images; always evaluated, whatever the suite",
    source="the model's own resize and crop when evaluated alone",
    family=families.CLEAN,
)

OOD_SUITE = Suite(
    name=OOD,
    summary="how well scores separate the clean images from those of --ood, also under each corruption",
    source="Zhang et al. 2023, arXiv:2306.09301 (OpenOOD v1.5)",
    family=families.OOD,
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
        IMAGENET_C_BAR,
        CIFAR_C_BAR,
        IMAGENET_3DCC_2D,
        IMAGENET_P,
        IMAGENET_P_299,
        TINY_IMAGENET_P,
        CIFAR_P,
        SHIFT,
        SCALE,
        NOISE,
        OCCLUSION,
        RESOLUTION,
        EXITS,
        SHAPE_BIAS,
        ADVERSARIAL,
    )
}

_FITTING = {
    224: (IMAGENET_C, IMAGENET_P),
    299: (IMAGENET_C_299, IMAGENET_P_299),
    64: (TINY_IMAGENET_C, TINY_IMAGENET_P),
    32: (CIFAR_C, CIFAR_P),
}
"""Published suites by the side of their images in pixels; one suite if several have the same pixels."""

_SMALLEST_OF_IMAGENET = 160
"""Input side from which ImageNet-C is the default: networks at other sizes than 224 px enlarge or shrink its images."""

_AT_ANY_SIZE = (SHIFT, SCALE, NOISE, OCCLUSION, RESOLUTION)


def default_suite(side: Size) -> Suite | None:
    """Return the corruption suite of models with an input size in pixels; None if none was published for the size."""
    if not isinstance(side, int):
        return None
    if side in _FITTING:
        return _FITTING[side][0]
    return IMAGENET_C if side >= _SMALLEST_OF_IMAGENET else None


def suites_for(names: Sequence[str], size: Size) -> list[Suite]:
    """Return the suites called `names`, each once. `all` selects those that fit a model's input size in pixels."""
    published = _FITTING.get(size, ()) if isinstance(size, int) else ()
    fitting = [suite for suite in (*published, *_AT_ANY_SIZE) if suite.smallest <= min(height_width(size))]
    if OOD in names:
        raise OptionError(f"the suite {OOD} has no conditions of its own", "give --ood NAME=DATA with another suite")
    chosen: list[Suite] = []
    for name in names:
        chosen += fitting if name == ALL else [find_suite(name)]
    return list(dict.fromkeys(chosen))


def find_suite(name: str) -> Suite:
    """Return a suite to evaluate: built in, of an installed package, or of an own file that this process has read.

    Raises:
        OptionError: If there is no suite of that name; with a suggestion.
    """
    own = find_plugin("suite", name) if is_own(name) else None
    suite = lookup_suite(name) if own is None else own.load(Suite)
    if suite is None:
        raise OptionError(*unknown_name("suite", name, (*SUITES, ALL, *(plugin.name for plugin in plugins("suite")))))
    return suite


def lookup_suite(name: str) -> Suite | None:
    """Return a suite to score: built in or of an installed package; None if there is no suite of that name.

    A run with a suite of an own file is scored without the file: all corruptions that the run has are the suite's.
    """
    if name in SUITES or name == OOD:
        return OOD_SUITE if name == OOD else SUITES[name]
    if is_own(name):
        return Suite(name, f"own corruptions of {name}", name, family=families.OWN)
    plugin = find_plugin("suite", name)
    return None if plugin is None else plugin.load(Suite)


def constants_for(side: int) -> str:
    """Return the name of the set of constants that is nearest to a side in pixels."""
    return "32" if side < 48 else "64" if side < 128 else "224" if side < 262 else "299"


def display_family(name: str) -> Family:
    """Return the family by which values of a suite are shown. A suite that is not installed is shown as corruptions."""
    suite = lookup_suite(name)
    return families.CORRUPTIONS if suite is None else suite.family
