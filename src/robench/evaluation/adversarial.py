"""Attacks on the batches of a condition, one after the other at each radius, and the checks before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from robench.datasets import ImageDataset
from robench.errors import OptionError, one_line
from robench.evaluation.apgd import Ball, Loss, apgd, cross_entropy, is_right, targeted_dlr
from robench.evaluation.attack_state import AttackState
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.suites import ADVERSARIAL, LEAST_CLASSES, Attack
from robench.transforms.draws import KeyedDraws
from robench.transforms.resize import to_float
from robench.types import FloatImages, Images, Logits

__all__ = ["TRIED", "Attacked", "attack_images", "attack_passes", "attack_warnings", "with_possible_attacks"]

_TARGETS = 9
"""Most target classes of an image."""
TRIED = 8
"""Images on which gradients are tried before a run."""


@dataclass(frozen=True)
class Attacked:
    """A batch after one attack at one radius.

    Attributes:
        images: Images of the batch in [0, 1]: misclassified ones, else those with the largest loss, (b, 3, h, w) float32. None
            for an attack of an earlier process.
        logits: Their logits, (b, classes).
    """

    images: FloatImages | None
    logits: Logits


def attack_images(
    classifier: Classifier,
    images: Images,
    label: Tensor,
    attack: Attack,
    draws: KeyedDraws,
    state: AttackState | None = None,
) -> Iterator[Attacked]:
    """Attack a batch, and yield it after each attack at each radius.

    An image that the model gets wrong, or that an earlier attack at the radius breaks, is not attacked. Every attack begins at
    the unperturbed image, at a start that depends on seed and sample alone.

    Args:
        classifier: The model.
        images: (b, 3, h, w) uint8 of the model's input size.
        label: (b,) int64.
        attack: The attacks.
        draws: Draws of the batch.
        state: Progress of an earlier process; None for none.
    """
    state = AttackState(None, "") if state is None else state
    clean = to_float(images.to(classifier.device))
    logits = classifier.logits(images)
    order = logits.argsort(dim=1, descending=True, stable=True)
    others = order[order != label[:, None]].view(len(label), -1)[:, :_TARGETS]
    right = is_right(logits, label)
    found, values = clean, logits
    for number, (epsilon, name) in enumerate(product(attack.epsilons, attack.names)):
        if number % len(attack.names) == 0:
            found, values = clean.clone(), logits.clone()
        if number < len(state.frames):
            values = state.frames[number].clone()
            yield Attacked(None, values.clone())
            continue
        values = values if state.logits is None else state.logits.clone()
        left = right & is_right(values, label)
        losses = _LOSSES[name](label, others) * attack.restarts if epsilon else []
        for run in range(state.runs, len(losses)):
            rows = left.nonzero()[:, 0]
            if not len(rows):
                break
            ball = Ball.around(clean[rows], epsilon, attack.norm)
            noise = _noise(attack.norm, replace(draws, index=draws.index[rows]), f"{name}/{run}", clean.shape)
            loss = _of_rows(losses[run], rows)
            outcome = apgd(classifier.differentiable_logits, loss, label[rows], ball, ball.start(noise), attack.steps)
            found[rows], values[rows] = outcome.images, outcome.logits
            left[rows] = ~outcome.broken
            state.after_run(values.clone())
        state.after_attack(values.clone())
        yield Attacked(found.clone(), values.clone())


_LOSSES: dict[str, Callable[[Tensor, Tensor], list[Loss]]] = {
    "apgd-ce": lambda label, _: [cross_entropy(label)],
    "apgd-t": lambda label, others: [targeted_dlr(label, target) for target in others.T],
}
"""Losses of each attack in their order, from the true classes (b,) and the other classes by probability (b, k)."""


def _of_rows(loss: Loss, rows: Tensor) -> Loss:
    """Return the loss of some images of the batch."""
    return lambda logits, chosen: loss(logits, rows[chosen])


def _noise(norm: str, draws: KeyedDraws, run: str, shape: torch.Size) -> Tensor:
    scoped = draws.scoped(f"{norm}/{run}")
    if norm == "linf":
        return scoped.uniform("start", tuple(shape[1:])) * 2 - 1
    return scoped.normal("start", tuple(shape[1:]))


def attack_passes(attack: Attack, classes: int) -> int:
    """Return the largest number of forward and backward passes of an image for all attacks at all radii."""
    losses = {"apgd-ce": 1, "apgd-t": min(_TARGETS, classes - 1)}
    runs = sum(losses[name] for name in attack.names) * attack.restarts
    return runs * (attack.steps + 1) * sum(epsilon > 0 for epsilon in attack.epsilons)


def with_possible_attacks(
    options: Options, suites: Sequence[str], classifier: Classifier, images: ImageDataset
) -> tuple[Options, list[str]]:
    """Return options without the attacks whose loss needs more classes, and a warning on each of these.

    Raises:
        OptionError: No attack is left, or images have several classes.
    """
    if ADVERSARIAL.name not in suites:
        return options, []
    if images.label_sets is not None:
        raise OptionError(
            f"attacks need one class an image, and {images.name} has several", "omit the suite adversarial"
        )
    classes = classifier.classes if classifier.groups is None else len(classifier.groups)
    possible = [name for name in options.attack if LEAST_CLASSES[name] <= classes]
    left_out = [name for name in options.attack if name not in possible]
    if not possible:
        raise OptionError(
            f"{left_out[0]} needs {LEAST_CLASSES[left_out[0]]} classes, and the model has {classes}",
            "give --attack apgd-ce",
        )
    warnings = [
        f"{name} is left out: its loss needs {LEAST_CLASSES[name]} classes, and the model has {classes}"
        for name in left_out
    ]
    return replace(options, attack=possible), warnings


def attack_warnings(classifier: Classifier, images: Images, label: Tensor) -> list[str]:
    """Try the gradients of a model, and return a warning for each property that makes attacks weaker than they seem.

    Args:
        classifier: The model.
        images: (b, 3, h, w) uint8 of the model's input size.
        label: (b,) int64.

    Raises:
        OptionError: The model has no gradients.
    """
    label = label.to(classifier.device)
    leaf = to_float(images).requires_grad_()
    try:
        with torch.enable_grad():
            loss = cross_entropy(label)(classifier.differentiable_logits(leaf), torch.arange(len(label)))
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    except RuntimeError as error:
        raise OptionError(
            f"{classifier.label} gives no gradients, which attacks need ({one_line(error)})",
            "evaluate the checkpoint that it was exported from",
        ) from error
    warnings = []
    if not torch.equal(classifier.logits(images), classifier.logits(images)):
        warnings.append(
            f"{classifier.label} returns other logits for the same images: attacks on random outputs overestimate accuracy"
        )
    zero = int((gradient.flatten(1).abs().amax(dim=1) == 0).sum())
    if zero:
        warnings.append(
            f"the gradients of {zero} of {len(images)} images are zero: attacks that follow gradients overestimate accuracy"
        )
    if classifier.head in ("probabilities", "probability"):
        warnings.append(
            f"{classifier.label} returns probabilities, whose gradients vanish where they round to 0 or 1: attacks on its "
            "logits would be stronger"
        )
    return warnings
