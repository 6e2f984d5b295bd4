"""Differences between the tensors of a file and those of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["differences", "is_counter", "other_classes"]


def differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names of the tensors that differ, by kind of difference; empty if the state dict loads strictly.

    Args:
        state: Tensors of a file. It may lack the counters of batches, or hold them as floating-point numbers.
        expected: Tensors of the network.

    Returns:
        Lists for messages by kind. Tensors of another shape or dtype are listed with both.
    """
    shared = [key for key in expected if key in state]
    groups = {
        "missing": [key for key in expected if key not in state and not is_counter(key)],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {_size(state[key])} instead of {_size(expected[key])}"
            for key in shared
            if state[key].shape != expected[key].shape
        ],
        "of another kind": [
            f"{key} {state[key].dtype} instead of {expected[key].dtype}"
            for key in shared
            if state[key].is_floating_point() != expected[key].is_floating_point() and not is_counter(key)
        ],
    }
    return {kind: keys for kind, keys in groups.items() if keys}


def other_classes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of a file if its head alone can differ from the default network, else None.

    Other tensors can differ in the leading dimension too, so a network with that number of classes must still be compared.
    """
    pairs = [(state[key].shape, value.shape) for key, value in expected.items() if key in state]
    wrong = [(own, network) for own, network in pairs if own != network]
    classes = {own[0] for own, _ in wrong if own}
    only_leading = all(own and own[1:] == network[1:] for own, network in wrong)
    return classes.pop() if only_leading and len(classes) == 1 else None


def is_counter(key: str) -> bool:
    """Return whether a tensor counts batches; old files lack these, and they play no role in evaluation."""
    return key.rpartition(".")[2] == "num_batches_tracked"


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
