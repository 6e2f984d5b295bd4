"""Verdicts in words, from tables of results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robench.analysis.comparison.compare import CORRUPTION, HEADLINE, Difference
from robench.analysis.formatting import format_p_value, format_points
from robench.analysis.wording import IDENTIFIERS, Wording
from robench.suites import CLEAN, display_family

__all__ = ["pair_verdict", "place"]

_MOST = 5
"""Corruptions that a sentence names; it counts the others."""

_CLAIMS = {
    "mean_error": ("makes", "fewer", "more", "errors on {suite}"),
    "mean_flip_rate": ("makes", "fewer", "more", "flips of its prediction on {suite}"),
    "accuracy_auc": ("has", "less", "more", "area under accuracy on {suite}"),
    "accuracy": ("gets", "fewer", "more", "images right on {suite}"),
    "shape_bias": ("has", "less", "more", "shape bias on {suite}"),
    "consistency": ("has", "less", "more", "consistency on {suite}"),
}
"""Verb, the words for a smaller and for a larger value, and object of the claim on a headline metric."""


def pair_verdict(differences: Sequence[Difference], wording: Wording = IDENTIFIERS) -> list[str]:
    """Return the sentences that answer a comparison of two runs, one for each suite and one for the clean images.

    A sentence gives the change of the suite's mean, with interval and p-value. It then names the corruptions that differ
    significantly after Holm's correction over all of them.

    Args:
        differences: The differences of two runs, as `compare` returns them without `metrics`.
        wording: Texts for the names of suites and corruptions.
    """
    suites = [suite for suite in dict.fromkeys(one.paired.run.key.suite for one in differences) if suite != CLEAN]
    return [
        f"{text[0].upper() if text.startswith('no ') else text[0]}{text[1:]}."
        for suite in [*suites, *([CLEAN] if any(one.paired.run.key.suite == CLEAN for one in differences) else [])]
        if (text := _of_suite([one for one in differences if one.paired.run.key.suite == suite], wording))
    ]


def _of_suite(differences: Sequence[Difference], wording: Wording) -> str:
    headlines = [one for one in differences if one.level == HEADLINE]
    alone = [one for one in differences if one.level == CORRUPTION]
    candidates = [*headlines, *(alone if len(alone) == 1 else [])]
    main = next((one for metric in _CLAIMS for one in candidates if one.paired.run.key.metric == metric), None)
    corruptions = _corruptions(differences, wording)
    if main is not None:
        mce = "".join(
            f" (mCE {one.paired.run.value:.1f}, was {one.paired.base.value:.1f})"
            for one in headlines
            if one.paired.run.key.metric == "mce"
        )
        return "; ".join(filter(None, [_claim(main, mce, wording), corruptions]))
    first = differences[0]
    suite = wording.suite(first.paired.run.key.suite)
    return f"{first.run_model} compared with {first.base_model} on {suite}: {corruptions}" if corruptions else ""


def _claim(main: Difference, more: str, wording: Wording) -> str:
    """Return the claim on a headline metric with its interval, in the direction of the claim."""
    paired, key = main.paired, main.paired.run.key
    verb, smaller, larger, thing = _CLAIMS[key.metric]
    part = f" ({place(main, wording)})" if key.corruption and display_family(key.suite).has_clean else ""
    thing = "clean images right" if key.suite == CLEAN else thing.format(suite=wording.suite(key.suite) + part)
    unit = str(paired.run.row["unit"])
    facts = [f"n = {paired.images}"]
    p = format_p_value(main.p)
    facts = ["not tested" if not p else f"p {p}" if p.startswith("<") else f"p = {p}", *facts]
    if not paired.change:
        return ", ".join(
            [
                f"no difference: {main.run_model} {verb} as {'much' if smaller == 'less' else 'many'} {thing} as {main.base_model}{more}",
                *facts,
            ]
        )
    sign = math.copysign(1, paired.change)
    if math.isfinite(paired.ci_low):
        ends = sorted((sign * paired.ci_low, sign * paired.ci_high))
        first, last = (format_points(end, unit) for end in ends)
        facts = [f"95 % CI {first.removesuffix(' pp')} to {last.removesuffix(' pp')}", *facts]
    is_significant = main.p is not None and main.p <= 0.05
    if is_significant and not main.is_significant:
        facts.append(f"p {format_p_value(main.p_holm)} after Holm's correction over the headlines")
    size = f"{format_points(abs(paired.change), unit)} {larger if sign > 0 else smaller}"
    claim = f"{main.run_model} {verb} {size} {thing} than {main.base_model}{more}"
    return ", ".join([claim if is_significant or main.p is None else f"no significant difference: {claim}", *facts])


def _corruptions(differences: Sequence[Difference], wording: Wording) -> str:
    """Return where the run is significantly better and worse; empty without several corruptions to tell apart."""
    tested = sorted(
        (one for one in differences if one.level == CORRUPTION and one.p is not None), key=lambda one: one.gain
    )
    if len(tested) < 2:
        return ""
    worse = [place(one, wording) for one in tested if one.is_significant and one.gain < 0]
    better = [place(one, wording) for one in reversed(tested) if one.is_significant and one.gain > 0]
    if not better and not worse:
        family = display_family(tested[0].paired.run.key.suite)
        kind = "input sizes" if family.has_resolutions else "perturbations" if family.has_frames else "corruptions"
        return f"none of {len(tested)} {kind} differs significantly by itself"
    parts = [f"better at {_listed(better)}", f"worse at {_listed(worse)}"]
    return "; ".join(parts if better else reversed(parts)) + ("" if better and worse else " significantly")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more if names else "none"


def place(difference: Difference, wording: Wording = IDENTIFIERS) -> str:
    """Return what a difference is of within its suite, such as `fog`, `fog / 3` or `network at 24 px`; `all` for an aggregate."""
    row = difference.paired.run
    text = row.cell.removeprefix(row.key.suite).removeprefix(" / ").strip() or "all"
    corruption = row.key.corruption
    return (
        wording.corruption(corruption) + text.removeprefix(corruption)
        if corruption and text.startswith(corruption)
        else text
    )
