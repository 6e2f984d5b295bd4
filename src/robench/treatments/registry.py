"""All treatments, in one explicit table, and the rules for their combination."""

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
    for method in (BN_TEST, BN_PRIOR, BN_FROZEN, BN_CALIB, BN_BRANCH, BN_RESOLUTION, LOCALNORM, BLURPOOL, TENT)
}


def find_treatment(name: str) -> Method:
    """Return a method, built in or of an installed package.

    Raises:
        OptionError: If the name is unknown; the message suggests a similar one.
    """
    if name in TREATMENTS:
        return TREATMENTS[name]
    plugin = find_plugin("treatment", name)
    if plugin is None:
        names = (*TREATMENTS, *(plugin.name for plugin in plugins("treatment")))
        raise OptionError(*unknown_name("treatment", name, names))
    return plugin_method(plugin)


def parse_treatments(texts: Sequence[str]) -> list[Treatment]:
    """Parse treatments, each text one or several separated by commas, and check their combination.

    A part such as `n=8` belongs to the treatment before it: `bn-prior:N=16,n=8,blurpool` are two treatments.

    Raises:
        OptionError: If a text is invalid, or if treatments cannot be combined in this order.
    """
    parts: list[str] = []
    for text in texts:
        inside = False
        for part in (part.strip() for part in text.split(",")):
            words = part.split()
            if any(word.partition(":")[0] in TREATMENTS for word in words[1:]):
                raise OptionError(f"--treatment {part!r} has a space between treatments", f"write {','.join(words)!r}")
            if inside and re.match(r"\w+=", part):
                parts[-1] += f",{part}"
            elif part:
                parts.append(part)
                inside = True
    if texts and not parts:
        raise OptionError(
            "--treatment names no treatment", "choose one of `robench list treatments`, or omit --treatment"
        )
    treatments = [Treatment.parse(part, find_treatment) for part in parts]
    _check_combination([treatment.method for treatment in treatments])
    return treatments


def _check_combination(methods: Sequence[Method]) -> None:
    names = [method.name for method in methods]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise OptionError(f"the treatment {repeated} is given twice", "give it once")
    estimators = [method for method in methods if method.stage == "statistics"]
    if len(estimators) > 1:
        raise OptionError(
            f"{estimators[0].name} and {estimators[1].name} both replace the statistics of a layer",
            "evaluate them in two runs",
        )
    calibrated = next((method.name for method in methods if method.stage == "calibration"), None)
    if calibrated and estimators and not estimators[0].keeps_running_stats:
        raise OptionError(f"{estimators[0].name} discards the statistics of {calibrated}", "omit one of them")
    rank = {"branch": 0, "calibration": 1, "statistics": 2}
    for first, second in pairwise(method for method in methods if method.stage in rank):
        if rank[first.stage] > rank[second.stage]:
            raise OptionError(
                f"{second.name} changes the statistics that {first.name} starts from", f"give {second.name} first"
            )
