"""APGD, projected gradient ascent whose step sizes follow from the losses that it reaches.

Source: Algorithm 1 of Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", arXiv:2003.01690. An image leaves the attack as soon as it is misclassified. What is done to an image
does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor

from robench.types import FloatImages, Logits

__all__ = ["Ball", "Outcome", "Rows", "apgd", "checkpoints", "cross_entropy", "is_right", "targeted_dlr"]

_MOMENTUM = 0.75
"""Share alpha of the step in an update; the rest is that of the update before it."""
_INCREASES = 0.75
"""Share rho of the updates since the last checkpoint below which too few have raised the loss."""
_FIRST, _SHRINKING, _LEAST = 22, 3, 6
"""Distance of the first checkpoint, its decrease from one to the next, and the least distance; in percent of the updates."""
_INSIDE = 1 - 2.0**-16
"""Factor by which a change is shortened whose norm exceeds the radius by rounding."""

Rows: TypeAlias = Tensor
"""(m,) int64, positions of images in the whole batch."""

Loss: TypeAlias = "Callable[[Logits, Rows], Tensor]"
"""(logits of some images, their rows) -> loss of each, (m,), which the attack raises."""


def checkpoints(steps: int) -> list[int]:
    """Return the numbers of updates after which step sizes may be halved, w_j = ceil(p_j * steps)."""
    places, distance = [0], _FIRST
    while places[-1] + distance <= 100:
        places.append(places[-1] + distance)
        distance = max(distance - _SHRINKING, _LEAST)
    return sorted({-(-place * steps // 100) for place in places[1:]})


def is_right(logits: Logits, label: Tensor) -> Tensor:
    """Return whether the most probable class is the label and all logits are finite, (m,) bool."""
    return logits.isfinite().all(dim=1) & (logits.softmax(dim=1).argmax(dim=1) == label)


def cross_entropy(label: Tensor) -> Loss:
    """Return the cross-entropy loss of images with some labels, (n,) int64."""
    return lambda logits, rows: torch.nn.functional.cross_entropy(logits, label[rows], reduction="none")


def targeted_dlr(label: Tensor, target: Tensor) -> Loss:
    """Return the targeted difference of logits ratio, -(z_y - z_t) / (z_1 - (z_3 + z_4) / 2) with sorted logits z_1, z_2, ...

    Args:
        label: True classes y, (n,) int64.
        target: Other classes t, (n,) int64.
    """

    def loss(logits: Logits, rows: Rows) -> Tensor:
        best = logits.topk(4, dim=1).values
        true, other = (logits.gather(1, classes[rows, None])[:, 0] for classes in (label, target))
        return (other - true) / (best[:, 0] - (best[:, 2] + best[:, 3]) / 2 + 1e-12)

    return loss


@dataclass(frozen=True)
class Ball:
    """The images within a distance of given ones, and within [0, 1].

    Attributes:
        clean: The given images, (n, 3, h, w) float32 in [0, 1].
        epsilon: The distance.
        norm: Norm of the distance, "linf" or "l2".
        low: Least values in the ball and in [0, 1], rounded to the inside.
        high: Largest values in the ball and in [0, 1], rounded to the inside.
    """

    clean: FloatImages
    epsilon: float
    norm: str
    low: FloatImages
    high: FloatImages

    @classmethod
    def around(cls, clean: FloatImages, epsilon: Fraction, norm: str) -> Ball:
        """Return the ball around images."""
        exact, radius = clean.double(), float(epsilon)
        low, high = (exact - radius).float(), (exact + radius).float()
        low = torch.where(exact - low.double() > radius, low.nextafter(torch.full_like(low, math.inf)), low)
        high = torch.where(high.double() - exact > radius, high.nextafter(torch.full_like(high, -math.inf)), high)
        return cls(clean, radius, norm, low.clamp(min=0), high.clamp(max=1))

    def select(self, rows: Tensor) -> Ball:
        """Return the ball around some of the images."""
        return Ball(self.clean[rows], self.epsilon, self.norm, self.low[rows], self.high[rows])

    def start(self, noise: Tensor) -> FloatImages:
        """Return starts at the distance, in the direction of a noise (n, 3, h, w): uniform in -1 to 1, or normal for l2."""
        return self.project(self.clean + self.epsilon * self._unit(noise))

    def step(self, images: FloatImages, gradient: Tensor, size: Tensor) -> FloatImages:
        """Return images after a step of some length, (n, 1, 1, 1), along the gradient, projected into the ball."""
        direction = gradient.sign() if self.norm == "linf" else self._unit(gradient)
        return self.project(images + size * direction)

    def project(self, images: FloatImages) -> FloatImages:
        """Return the images of the ball that are nearest to given ones. They are inside it exactly, without rounding."""
        if self.norm == "linf":
            return images.clamp(self.low, self.high)
        inside = self._shortened(images, 1.0).clamp(0, 1)
        for _ in range(4):
            if not (self.distance(inside) > self.epsilon).any():
                return inside
            inside = self._shortened(inside, _INSIDE).clamp(0, 1)
        return torch.where((self.distance(inside) > self.epsilon).view(-1, 1, 1, 1), self.clean, inside)

    def distance(self, images: FloatImages) -> Tensor:
        """Return the distance of images from the given ones, (n,) float64."""
        change = (images.double() - self.clean.double()).flatten(1)
        return change.abs().amax(dim=1) if self.norm == "linf" else change.norm(dim=1)

    def _shortened(self, images: FloatImages, factor: float) -> FloatImages:
        """Return images whose change is at most the radius times a factor, up to rounding."""
        ratio = self.epsilon / self.distance(images).clamp(min=1e-30)
        scale = torch.where(ratio < 1, ratio * factor, 1.0).float().view(-1, 1, 1, 1)
        return self.clean + (images - self.clean) * scale

    def _unit(self, values: Tensor) -> Tensor:
        """Return values (n, 3, h, w) divided by their norm; 0 stays 0."""
        flat = values.flatten(1)
        norms = flat.abs().amax(dim=1) if self.norm == "linf" else flat.norm(dim=1)
        return values / norms.clamp(min=1e-12).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Outcome:
    """The result of an attack.

    Attributes:
        broken: Whether an image is misclassified, (n,) bool.
        images: The misclassified image, else the one with the largest loss, (n, 3, h, w).
        logits: Its logits, (n, classes).
    """

    broken: Tensor
    images: FloatImages
    logits: Logits


@dataclass
class _State:
    """The images that are still classified correctly, one row each in every tensor."""

    rows: Rows
    images: FloatImages
    before: FloatImages
    gradient: Tensor
    loss: Tensor
    best: FloatImages
    best_gradient: Tensor
    best_loss: Tensor
    best_logits: Logits
    size: Tensor
    increases: Tensor
    last_best_loss: Tensor
    was_halved: Tensor

    def keep(self, chosen: Tensor) -> None:
        """Keep some rows, (m,) bool."""
        for name, values in vars(self).items():
            setattr(self, name, values[chosen])


def apgd(
    logits_of: Callable[[FloatImages], Logits], loss_of: Loss, label: Tensor, ball: Ball, start: FloatImages, steps: int
) -> Outcome:
    """Attack images that are classified correctly.

    Args:
        logits_of: Returns the logits of images, with gradients.
        loss_of: The loss to raise.
        label: True classes, (n,) int64.
        ball: The ball around the images.
        start: Images of the ball to begin with, (n, 3, h, w).
        steps: Number of updates.
    """
    broken = torch.zeros(len(start), dtype=torch.bool, device=start.device)

    def evaluate(images: FloatImages, rows: Rows) -> tuple[Logits, Tensor, Tensor]:
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = logits_of(leaf)
            loss = loss_of(logits, rows)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return logits.detach(), loss.detach(), gradient

    rows = torch.arange(len(start), device=start.device)
    logits, loss, gradient = evaluate(start, rows)
    outcome = Outcome(broken, start.clone(), logits.clone())
    size = torch.full((len(start), 1, 1, 1), 2 * ball.epsilon, device=start.device)
    none = torch.zeros_like(loss)
    state = _State(rows, start, start, gradient, loss, start, gradient, loss, logits, size, none, loss, none.bool())

    def leave(logits: Logits) -> None:
        """Take out the images that are misclassified."""
        nonlocal ball
        right = is_right(logits, label[state.rows])
        wrong = state.rows[~right]
        if len(wrong):
            outcome.broken[wrong] = True
            outcome.images[wrong], outcome.logits[wrong] = state.images[~right], logits[~right]
            state.keep(right)
            ball = ball.select(right)

    leave(logits)
    since, places = 0, set(checkpoints(steps))
    for update in range(1, steps + 1):
        if not len(state.rows):
            break
        share = 1.0 if update == 1 else _MOMENTUM
        stepped = ball.step(state.images, state.gradient, state.size)
        momentum = (state.images - state.before) * (1 - share)
        moved = ball.project(state.images + (stepped - state.images) * share + momentum)
        state.before, state.images = state.images, moved
        logits, loss, state.gradient = evaluate(moved, state.rows)
        state.increases = state.increases + (loss > state.loss)
        state.loss = loss
        _remember_best(state, logits)
        leave(logits)
        since += 1
        if update in places:
            _halve(state, since)
            since = 0
    outcome.images[state.rows], outcome.logits[state.rows] = state.best, state.best_logits
    return outcome


def _remember_best(state: _State, logits: Logits) -> None:
    higher = state.loss > state.best_loss
    wide = higher.view(-1, 1, 1, 1)
    state.best = torch.where(wide, state.images, state.best)
    state.best_gradient = torch.where(wide, state.gradient, state.best_gradient)
    state.best_logits = torch.where(higher[:, None], logits, state.best_logits)
    state.best_loss = torch.where(higher, state.loss, state.best_loss)


def _halve(state: _State, since: int) -> None:
    """Halve the steps of the images whose loss rises too seldom, or not at all, and continue these from their best images."""
    few = state.increases < _INCREASES * since
    stuck = ~state.was_halved & (state.best_loss == state.last_best_loss)
    halved = few | stuck
    wide = halved.view(-1, 1, 1, 1)
    state.size = torch.where(wide, state.size / 2, state.size)
    state.images = torch.where(wide, state.best, state.images)
    state.gradient = torch.where(wide, state.best_gradient, state.gradient)
    state.loss = torch.where(halved, state.best_loss, state.loss)
    state.was_halved, state.last_best_loss = halved, state.best_loss
    state.increases = torch.zeros_like(state.increases)
