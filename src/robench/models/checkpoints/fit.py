"""Whether the tensors of a file are those of a network: one rule, for weights files and for folders of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.differences import differences, is_counter, other_classes

__all__ = ["abbreviate", "check_fit", "load_strict", "needed"]

_LISTED = 8
_STRANGER = "is it another architecture? See `robench list models`"


def load_strict(module: nn.Module, state: Mapping[str, Tensor], file: object, arch: str, config: object = None) -> None:
    """Put a state dict into a network; CheckpointError unless every name and shape fits, but for counters of batches.

    file, arch: for errors.  config: the file that asked for a network of this size, where one did.
    """
    expected = module.state_dict()
    check_fit(state, expected, file, arch, config)
    # Old files have no counters, and they play no role in evaluation.
    counters = {key: value for key, value in expected.items() if is_counter(key)}
    try:
        module.load_state_dict(counters | dict(state), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{file} does not load into {arch}: {one_line(error)}") from error


def check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: object, arch: str, config: object = None
) -> None:
    """Raise CheckpointError unless a file's tensors are those of a network, by their names and shapes."""
    found = differences(state, expected)
    if found:
        wrong = "; ".join(f"{len(keys)} {what}: {abbreviate(keys)}" for what, keys in found.items())
        cause = _STRANGER if config is None else _cause(state, expected, found, config)
        raise CheckpointError(f"{file} does not fit {arch} ({wrong}): {cause}")


def needed(expected: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors that a file must have for a network."""
    return {key for key in expected if not is_counter(key)}


def abbreviate(keys: Sequence[str]) -> str:
    """The first of some names, and how many follow."""
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def _cause(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], found: Mapping[str, Sequence[str]], config: object
) -> str:
    classes = other_classes(state, expected)
    if found.keys() == {"of another shape"} and classes is not None:
        return f"the weights are probably of {classes} classes, and {config} says another number: correct it"
    return f"{config} is of another network than the weights: copy both from one place"
