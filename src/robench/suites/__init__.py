"""The suites, as data, in one explicit table. Torch-free: scoring a run needs them too."""

from __future__ import annotations

from robench.errors import OptionError, unknown_name
from robench.suites.cifar_c import CIFAR_C
from robench.suites.imagecorruptions import IMAGECORRUPTIONS
from robench.suites.imagenet_c import IMAGENET_64_C, IMAGENET_C, IMAGENET_C_299, TINY_IMAGENET_C
from robench.suites.suite import BACKENDS, CLEAN, SEVERITIES, Condition, Suite

__all__ = ["BACKENDS", "CLEAN", "SEVERITIES", "SUITES", "Condition", "Suite", "find_suite"]

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
    )
}


def find_suite(name: str) -> Suite:
    """Return the suite called `name`; OptionError with a suggestion if there is none."""
    try:
        return SUITES[name]
    except KeyError:
        raise OptionError(unknown_name("suite", name, SUITES)) from None
