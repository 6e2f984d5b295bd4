"""Check of a file's tensors against those of a network, for weights files and for folders of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.differences import differences, is_counter, other_classes
from robench.models.checkpoints.weight_parts import are_parts

__all__ = ["MisfitError", "abbreviate", "check_fit", "load_strict", "needed"]

_LISTED = 8


class MisfitError(CheckpointError):
    """The tensors of a file are not those of a network."""


def load_strict(module: nn.Module, state: Mapping[str, Tensor], file: object, arch: str, config: object = None) -> None:
    """Load a state dict into a network.

    Args:
        module: The network.
        state: Tensors of the file, which may lack the counters of batches.
        file: The file, for errors.
        arch: The architecture, for errors.
        config: Configuration file that determined the network, if any.

    Raises:
        MisfitError: A name or a shape does not fit.
    """
    expected = module.state_dict()
    check_fit(state, expected, file, arch, config)
    counters = {key: value for key, value in expected.items() if is_counter(key)}
    try:
        module.load_state_dict(counters | dict(state), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{file} does not load into {arch}: {one_line(error)}",
            "give another --arch, or omit it to have it detected",
        ) from error


def check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: object, arch: str, config: object = None
) -> None:
    """Raise MisfitError unless a file's tensors have the names and shapes of the network's `expected` ones."""
    groups = differences(state, expected)
    if not groups:
        return
    if config is None:
        hint = _hint(groups)
    elif groups.keys() == {"of another shape"} and (classes := other_classes(state, expected)) is not None:
        hint = f"the weights probably have {classes} classes; correct the number in {config}"
    else:
        hint = f"{config} describes another network than the weights; copy both from one place"
    shown = 2 if len(groups) <= 2 else 1
    listed = "; ".join(f"{len(keys)} {kind}: {abbreviate(keys, shown)}" for kind, keys in groups.items())
    raise MisfitError(f"{file} does not fit {arch} ({listed})", hint)


def _hint(groups: Mapping[str, Sequence[str]]) -> str:
    unexpected = groups.get("unexpected", ())
    if any(map(are_parts, unexpected)):
        return (
            "some names are of parts of weights: before saving, call torch.nn.utils.prune.remove, "
            "or torch.nn.utils.parametrize.remove_parametrizations"
        )
    if groups.keys() == {"unexpected"}:
        return f"--ignore-key leaves out tensors that the network lacks, such as --ignore-key '{unexpected[0]}'"
    if groups.keys() == {"missing"} and len({name.rpartition(".")[0] for name in groups["missing"]}) == 1:
        return "if it is a trunk without a classification head, add --head knn or linear with --reference DIR, or --head FILE"
    return "is it another architecture? See `robench list models`"


def needed(expected: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the tensors that a file must have for a network."""
    return {key for key in expected if not is_counter(key)}


def abbreviate(keys: Sequence[str], listed: int = _LISTED) -> str:
    """Return the first names of a list and the number of the others."""
    more = f" and {len(keys) - listed} more" if len(keys) > listed else ""
    return ", ".join(keys[:listed]) + more
