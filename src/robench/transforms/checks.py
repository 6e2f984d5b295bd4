"""Checks of pixels that do not let the host wait for a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from robench.errors import RobenchError
from robench.transforms.device import to_host

__all__ = ["DeferredChecks", "check", "deferred_checks"]

_PENDING: ContextVar[list[tuple[Tensor, RobenchError]] | None] = ContextVar("_PENDING", default=None)


def check(passed: Tensor, error: RobenchError) -> None:
    """Raise `error` unless `passed`, a bool scalar, is true: at once on a CPU, else with the result of `deferred_checks`."""
    pending = _PENDING.get()
    if pending is not None and passed.device.type != "cpu":
        pending.append((passed, error))
    elif not bool(passed):
        raise error


@contextmanager
def deferred_checks() -> Iterator[DeferredChecks]:
    """Collect the checks of a device inside the context."""
    checks = DeferredChecks()
    token = _PENDING.set(checks.pending)
    try:
        yield checks
    finally:
        _PENDING.reset(token)


class DeferredChecks:
    """Checks whose results are on a device.

    Attributes:
        pending: Each result with the error to raise if it is false.
    """

    def __init__(self) -> None:
        self.pending: list[tuple[Tensor, RobenchError]] = []

    def copied(self) -> Callable[[], None]:
        """Begin to copy the results to the host; the returned function waits for them and raises the first error."""
        passed = to_host(torch.stack([one for one, _ in self.pending])) if self.pending else None

        def wait() -> None:
            results = [] if passed is None else passed().tolist()
            for ok, (_, error) in zip(results, self.pending, strict=True):
                if not ok:
                    raise error

        return wait
