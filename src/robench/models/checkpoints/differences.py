"""What keeps the tensors of a file from being those of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["differences", "is_counter", "other_classes"]


def differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of the tensors that differ, by what is wrong with them, for texts; none where the state dict loads strictly.

    state: of a file, which may lack the counters of batches or have them as fractions.  expected: of the network.
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
    return {what: keys for what, keys in groups.items() if keys}


def other_classes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """Number of classes of the file where the head is all that differs from the default network.

    Tensors that are no head can differ in the leading dimension too: whether the number is one shows when it is built.
    """
    wrong = [key for key, value in expected.items() if key in state and state[key].shape != value.shape]
    sizes = {state[key].shape[0] if state[key].ndim else 0 for key in wrong}
    only_leading = all(state[key].ndim and state[key].shape[1:] == expected[key].shape[1:] for key in wrong)
    return sizes.pop() if only_leading and len(sizes) == 1 else None


def is_counter(key: str) -> bool:
    """Whether a tensor counts batches: old files have none, and they play no role in evaluation."""
    return key.rpartition(".")[2] == "num_batches_tracked"


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
