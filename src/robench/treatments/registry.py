"""All treatments, in one explicit table, and which of them go together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from robench.errors import OptionError, unknown_name
from robench.plugins import find_plugin, plugins
from robench.treatments.base import Method, Treatment
from robench.treatments.blurpool import BLURPOOL
from robench.treatments.bn_branch import BN_BRANCH
from robench.treatments.bn_calibrated import BN_CALIB, BN_RESOLUTION
from robench.treatments.bn_frozen import BN_FROZEN
from robench.treatments.bn_test_batch import BN_PRIOR, BN_TEST, LOCALNORM
from robench.treatments.plugins import plugin_method
from robench.treatments.tent import TENT

__all__ = ["TREATMENTS", "find_treatment", "parse_treatments"]

TREATMENTS: dict[str, Method] = {
    method.name: method
    for method in (
        BN_TEST,
        BN_PRIOR,
        BN_FROZEN,
        BN_CALIB,
        BN_BRANCH,
        BN_RESOLUTION,
        LOCALNORM,
        BLURPOOL,
        TENT,
    )
}


def find_treatment(name: str) -> Method:
    """Return the method called `name`, built in or an installed package's; OptionError with a suggestion if there is none."""
    if name in TREATMENTS:
        return TREATMENTS[name]
    offer = find_plugin("treatment", name)
    if offer is None:
        raise OptionError(unknown_name("treatment", name, (*TREATMENTS, *(one.name for one in plugins("treatment")))))
    return plugin_method(offer)


def parse_treatments(texts: Sequence[str]) -> list[Treatment]:
    """Read treatments, each text one or several separated by commas, and check that they go together in this order.

    A part such as `n=8` belongs to the treatment before it: `bn-prior:N=16,n=8,blurpool` are two.
    """
    found: list[str] = []
    for text in texts:
        inside = False
        for part in (part.strip() for part in text.split(",")):
            words = part.split()
            if any(word.partition(":")[0] in TREATMENTS for word in words[1:]):
                raise OptionError(f"--treatment {part!r} has a space between treatments: write {','.join(words)!r}")
            if inside and re.match(r"\w+=", part):
                found[-1] += f",{part}"
            elif part:
                found.append(part)
                inside = True
    if texts and not found:
        raise OptionError(
            "--treatment was given without a treatment: name one of `robench list treatments`, or leave it out"
        )
    treatments = [Treatment.parse(text, find_treatment) for text in found]
    _check_together(treatments)
    return treatments


def _check_together(treatments: Sequence[Treatment]) -> None:
    names = [one.method.name for one in treatments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"the treatment {twice} is given twice: a run has one of each")
    now = [one.method for one in treatments if one.method.stage == "statistics"]
    if len(now) > 1:
        raise OptionError(
            f"{now[0].name} and {now[1].name} both say what a layer normalises with: evaluate them in two runs"
        )
    calibrated = next((one.method.name for one in treatments if one.method.stage == "calibration"), None)
    if calibrated and now and not now[0].keeps_running_stats:
        raise OptionError(f"{now[0].name} takes nothing of the statistics of {calibrated}: leave one out")
    rank = {"branch": 0, "calibration": 1, "statistics": 2}
    ordered = [one.method for one in treatments if one.method.stage in rank]
    for first, second in pairwise(ordered):
        if rank[first.stage] > rank[second.stage]:
            raise OptionError(f"{second.name} changes the statistics that {first.name} starts from: give it first")
