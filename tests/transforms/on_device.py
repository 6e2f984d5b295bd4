"""Waits of the host for a GPU, found without one: torch's FakeTensorMode makes tensors of a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robench.transforms.corruptions.weather import textures_on
from robench.transforms.device import constant
from robench.transforms.kernels import kernel_scope

_COPIES = (torch.ops.aten._to_copy, torch.ops.aten.to, torch.ops.aten.copy_)
"""In inference mode `to` comes whole, else as the copy that it makes."""


def where_cuda(test: Callable[..., None]) -> Callable[..., None] | None:
    """Mark a test `gpu`, or replace it by None where there is no CUDA device, so that pytest generates no case."""
    return pytest.mark.gpu(test) if torch.cuda.is_available() else None


class OnDevice(TorchDispatchMode):
    """Fails where an operation lets the host wait for the device.

    That is where it brings a value from the device to the host, and where it copies to the device memory that is not page-locked or
    waits for the copy. allowed: how many copies to the host there may be.
    """

    def __init__(self, allowed: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allowed = allowed
        self.locked: WeakSet[Any] = WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if kwargs.get("pin_memory"):
            self.locked.update(one.untyped_storage() for one in made)
        if _any_on("cuda", given) and _any_on("cpu", made):
            if not self.allowed:
                raise AssertionError(f"{func} copies from the device to the host")
            self.allowed -= 1
        if func.overloadpacket in _COPIES and _any_on("cpu", given) and _any_on("cuda", made):
            named = {one.name: value for one, value in zip(func._schema.arguments, args, strict=False)} | kwargs
            source = next(one for one in reversed(given) if one.device.type == "cpu")
            if not named.get("non_blocking") or source.untyped_storage() not in self.locked:
                raise AssertionError(f"{func} waits for its copy to the device")
        return result


def _any_on(kind: str, tensors: list[Tensor]) -> bool:
    return any(one.device.type == kind for one in tensors)


@contextmanager
def device_alone(allowed: int = 0) -> Iterator[None]:
    """Fail where the host waits for a device; allowed: how many copies to the host there must be.

    Fused kernels cannot take fake tensors, and constants of one fake mode have no place in another.
    """
    for cache in (constant, textures_on):
        cache.cache_clear()
    with kernel_scope("eager"), OnDevice(allowed) as mode:
        yield
    for cache in (constant, textures_on):
        cache.cache_clear()
    assert mode.allowed == 0, f"{mode.allowed} copies to the host were not made"


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Let tensors of a CUDA device be made that have no values; whatever lets the host wait for it fails."""
    with FakeTensorMode(), device_alone():
        yield
