"""Networks with several exits, or with several settings such as widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from robench.errors import CheckpointError, OptionError
from robench.models.classifier import Classifier
from robench.models.outputs import logit_indices
from robench.runs.schema import check_cell

__all__ = ["Exits", "at_setting", "exits_of", "setting_names"]

Exits: TypeAlias = tuple[tuple[str, float | None], ...]
"""Name and operations, in 10^9, of each exit or setting; None for operations that are not counted."""


def setting_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the settings that a module offers, in its order; empty if it offers none.

    The attribute `settings` of such a module holds operations in 10^9 by name, or None for operations to count. Its attribute
    `setting` is the name of the present one and may be assigned.

    Raises:
        CheckpointError: The attributes have other values.
    """
    stated = getattr(module, "settings", None)
    if not isinstance(stated, Mapping) or not hasattr(module, "setting"):
        return ()
    costs = stated.values()
    if not all(isinstance(name, str) for name in stated) or not all(
        cost is None or (isinstance(cost, int | float) and cost > 0) for cost in costs
    ):
        raise CheckpointError(
            f"{type(module).__name__}.settings is no mapping from names to GFLOPs", "write None for a cost to count"
        )
    for name in stated:
        check_cell("setting", name)
    return tuple(stated)


@contextmanager
def at_setting(module: nn.Module, name: str | None) -> Iterator[None]:
    """Choose a setting of a module inside the context; None keeps the present one."""
    if name is None:
        yield
        return
    chooser: Any = module
    before = chooser.setting
    chooser.setting = name
    try:
        yield
    finally:
        chooser.setting = before


def exits_of(classifier: Classifier) -> Exits:
    """Return the exits or settings of a network, with their operations for one image.

    The operations of an exit are those that its output depends on, unless the module states `exit_gflops`.

    Raises:
        OptionError: The network has one output and no settings.
        CheckpointError: It states other settings or costs.
    """
    module = classifier.module
    if names := setting_names(module):
        stated: Mapping[str, float | None] = getattr(module, "settings")  # noqa: B009 - mypy knows no such attribute
        costs = []
        for name in names:
            with at_setting(module, name):
                cost = stated[name]
                costs.append(classifier.gflops(classifier.preprocessing.crop) if cost is None else float(cost))
        return tuple(zip(names, costs, strict=True))
    image = torch.zeros((2, classifier.preprocessing.bands, *classifier.preprocessing.shape), dtype=torch.uint8)
    with torch.no_grad(), _Operations() as counted:
        returned = classifier.module(classifier.network_input(image))
    count = len(logit_indices(returned, 2))
    outputs = returned[:count] if isinstance(returned, list | tuple) else []
    if count < 2 or len({tuple(one.shape) for one in outputs}) > 1 or classifier.batch is not None:
        raise OptionError(
            f"{classifier.label} has one output and no settings, so it has no exits",
            "let the module return a list of logits, or give it `settings` and `setting` (docs/formats.md)",
        )
    own = getattr(module, "exit_gflops", None)
    if own is not None and len(own) != count:
        raise CheckpointError(
            f"{classifier.label} states {len(own)} exit_gflops for {count} exits", "state one for each"
        )
    gflops = [counted.gflops(one) / 2 or None for one in outputs] if own is None else [float(cost) for cost in own]
    return tuple((f"exit {number}", cost) for number, cost in enumerate(gflops, 1))


class _Operations(TorchDispatchMode):
    """Record the floating-point operations that each tensor depends on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts: list[int] = []
        self._sources: dict[int, frozenset[int]] = {}
        self._kept: list[Tensor] = []

    def gflops(self, tensor: Tensor) -> float:
        """Return the operations that a tensor depends on, in 10^9."""
        return sum(self._counts[number] for number in self._sources.get(_storage(tensor), ())) / 1e9

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation unchanged."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        count = flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sources = frozenset[int]().union(*(self._sources.get(_storage(leaf), frozenset()) for leaf in inputs))
        if count:
            sources |= {len(self._counts)}
            self._counts.append(int(count))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._sources[_storage(leaf)] = sources
                self._kept.append(leaf)  # Its memory must not be that of a later tensor.
        return result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
