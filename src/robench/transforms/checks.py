"""Checks of pixels that do not let the host wait for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from robench.errors import RobenchError

__all__ = ["check", "deferred_checks"]

_PENDING: ContextVar[list[tuple[Tensor, RobenchError]] | None] = ContextVar("_PENDING", default=None)


def check(passed: Tensor, error: RobenchError) -> None:
    """Raise `error` unless `passed`, a bool scalar, is true: at once on a CPU, else at the end of `deferred_checks`."""
    pending = _PENDING.get()
    if pending is not None and passed.device.type != "cpu":
        pending.append((passed, error))
    elif not bool(passed):
        raise error


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Collect the checks of a device inside the context. At its end, wait for them once and raise the first that failed."""
    pending: list[tuple[Tensor, RobenchError]] = []
    token = _PENDING.set(pending)
    try:
        yield
    finally:
        _PENDING.reset(token)
    if pending:
        passed = torch.stack([one for one, _ in pending]).tolist()
        for ok, (_, error) in zip(passed, pending, strict=True):
            if not ok:
                raise error
