"""Adversarial attacks: images that are changed within a ball so that a model errs, as data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from robench.errors import OptionError, unknown_name
from robench.suites import families
from robench.suites.protocol import Protocol
from robench.suites.suite import Attack, Suite

__all__ = [
    "ADVERSARIAL",
    "ATTACKS",
    "EPSILONS",
    "LEAST_CLASSES",
    "NORMS",
    "WORST",
    "attack_words",
    "epsilon_text",
    "make_attack",
]

ATTACKS = {
    "apgd-ce": "APGD on the cross-entropy",
    "apgd-t": "APGD on the targeted DLR loss, towards the most probable other classes, at most 9",
}
"""Attacks by name, with what they do."""

NORMS = {"linf": "largest change of a value", "l2": "root of the summed squared changes"}
"""Norms by name, with what they measure; images are in 0 to 1."""

EPSILONS = {"linf": ("0.5/255", "1/255", "4/255", "8/255"), "l2": ("0.25", "0.5", "1", "2")}
"""Default radii by norm."""

LEAST_CLASSES = {"apgd-ce": 2, "apgd-t": 4}
"""Least number of classes of an attack's loss."""

WORST = "worst"
"""Method of the accuracy after all attacks: an image counts as right if no attack at this radius or a smaller one succeeds."""

ADVERSARIAL = Suite(
    name="adversarial",
    summary="accuracy after APGD attacks within a ball (--attack, --norm, --epsilon): an upper bound on robust accuracy",
    source="Croce & Hein 2020, arXiv:2003.01690",
    family=families.ADVERSARIAL,
    smallest=1,
)

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?")


def make_attack(attacks: Sequence[str], norm: str, epsilons: Sequence[str] | None, steps: int, restarts: int) -> Attack:
    """Return the attacks of a run, with ascending radii.

    Args:
        attacks: Keys of `ATTACKS`, in their order.
        norm: A key of `NORMS`.
        epsilons: Radii such as `4/255` or `0.5`, in images from 0 to 1; None for `EPSILONS`.
        steps: Updates of an image.
        restarts: Starts of each attack.

    Raises:
        OptionError: A value is invalid.
    """
    for name in attacks:
        if name not in ATTACKS:
            raise OptionError(*unknown_name("attack", name, ATTACKS))
    if norm not in NORMS:
        raise OptionError(*unknown_name("norm", norm, NORMS))
    for option, number in (("--steps", steps), ("--restarts", restarts)):
        if number < 1:
            raise OptionError(f"{option} must be at least 1, not {number}", "omit it for the default")
    radii = sorted({_fraction(text, norm) for text in epsilons or EPSILONS[norm]})
    return Attack(tuple(dict.fromkeys(attacks)), norm, tuple(radii), steps, restarts)


def _fraction(text: str, norm: str) -> Fraction:
    numerator, slash, denominator = (part.strip() for part in text.partition("/"))
    parts = [numerator, *([denominator] if slash else [])]
    if not all(map(_NUMBER.fullmatch, parts)) or (slash and not Fraction(denominator)):
        raise OptionError(f"--epsilon takes radii, not {text!r}", "write one such as 4/255 or 0.5")
    value = Fraction(numerator) / (Fraction(denominator) if slash else 1)
    if norm == "linf" and value > 1:
        raise OptionError(f"--epsilon {text} is larger than the range of images, 0 to 1", f"write it as {text}/255")
    return value


def epsilon_text(epsilon: float | Fraction) -> str:
    """Return a radius in units of 1/255 if these are few, such as `0.5/255`, else as a decimal."""
    value, levels = float(epsilon), float(epsilon) * 255
    is_short = value * 100 == round(value * 100)
    return f"{round(levels, 2):g}/255" if abs(levels - round(levels, 2)) < 1e-6 and not is_short else f"{value:.6g}"


def attack_words(protocol: str) -> str:
    """Return the attacks in a protocol string, such as `apgd-ce and apgd-t, 100 steps and 1 start each`."""
    parts = Protocol.parse(protocol).named_parts
    names = parts.get("attacks", "").replace(",", " and ")
    steps, starts = (parts.get(f"{kind} of an attack", "").removesuffix(kind) or "?" for kind in ("steps", "starts"))
    return f"{names}, {steps} step{'s' * (steps != '1')} and {starts} start{'s' * (starts != '1')} each"
