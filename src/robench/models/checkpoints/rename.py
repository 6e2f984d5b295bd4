"""Tensors of a file under the names that a network has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.fit import abbreviate, needed
from robench.models.checkpoints.names import Alignment, align, describe_prefixes, most_of, shortened, wrappers_in
from robench.models.checkpoints.unused import is_unused
from robench.models.checkpoints.weight_parts import merge_parts

__all__ = ["rename"]


def rename(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a file under the names of a network, and notes.

    Wrappers, prefixes and parts of weights are only looked at if the names do not fit otherwise. Tensors outside of the network,
    and those that play no role in evaluation, are left out. If nothing fits, the names are those for a message.
    """
    first: tuple[dict[str, Tensor], list[str]] | None = None
    for candidate, methods in ((dict(state), {}), merge_parts(state), merge_parts(shortened(state))):
        alignments = [found for found in align(candidate, needed(expected)) if _renames_no_norm(found, expected)]
        if not alignments:
            continue
        alignments = [found for found in alignments if _fits(candidate, found, expected)] or alignments
        alignment = _only(path, candidate, alignments)
        renamed = {name: candidate[key] for key, name in alignment.names.items()}
        unused = [name for name in renamed if name not in expected and is_unused(name)]
        renamed = {name: value for name, value in renamed.items() if name not in unused}
        notes = []
        if methods:
            kinds = " and ".join(dict.fromkeys(methods.values()))
            notes.append(
                f"computed {len(methods)} weights from the parts that {kinds} stores: {abbreviate([*methods])}"
            )
        if wrappers := [name for name in wrappers_in(alignment.names) if name not in wrappers_in(expected)]:
            notes.append(f"removed the wrappers {' and '.join(wrappers)} from names")
        if alignment.head or len(alignment.prefixes) > 1:
            names = describe_prefixes(filter(None, alignment.prefixes))
            notes.append(f"removed {names} from the beginning of names")
        if alignment.head:
            notes.append("loaded {} as {}, the only layer of another name".format(*alignment.head))
        if alignment.added:
            notes.append(f"added {describe_prefixes([alignment.added])} to the beginning of names")
        if len(alignments) > 1:
            names = describe_prefixes(map(_place, alignments))
            notes.append(f"the weights under {names} are equal")
        if alignment.outside:
            listed = abbreviate(alignment.outside)
            notes.append(f"ignored {len(alignment.outside)} tensors outside of the network: {listed}")
        if unused:
            notes.append(f"ignored {len(unused)} tensors that play no role in evaluation: {abbreviate(unused)}")
        found = renamed, [f"{path}: {note}" for note in notes]
        if renamed.keys() <= expected.keys():
            return found
        first = first or found
    return first or (most_of(state, needed(expected)), [])


def _renames_no_norm(alignment: Alignment, expected: Mapping[str, Tensor]) -> bool:
    """Return whether a layer of another name has a matrix, as heads do; a norm of another name is of another network."""
    if alignment.head is None:
        return True
    layer = f"{alignment.head[1]}."
    return any(value.ndim > 1 for name, value in shortened(expected).items() if name.startswith(layer))


def _fits(state: Mapping[str, Tensor], alignment: Alignment, expected: Mapping[str, Tensor]) -> bool:
    """Return whether all names are the network's and all shapes may be, for some number of classes."""
    return all(
        state[key].shape[1:] == expected[name].shape[1:] if name in expected else is_unused(name)
        for key, name in alignment.names.items()
    )


def _only(path: Path, state: Mapping[str, Tensor], alignments: Sequence[Alignment]) -> Alignment:
    """Return the first alignment; raise CheckpointError if others give the network other weights."""
    first, *others = alignments
    values = {name: state[key] for key, name in first.names.items()}
    for other in others:
        if not all(_equal(values[name], state[key]) for key, name in other.names.items() if name in values):
            names = describe_prefixes(map(_place, alignments))
            if first.head:
                raise CheckpointError(
                    f"{path} holds several layers that may be {first.head[1]}, under {names}",
                    f"leave out all but one with --ignore-key, such as --ignore-key '{_place(others[0])}.*'",
                )
            raise CheckpointError(
                f"{path} holds several sets of these weights, under {names}", "select one with --weights-key"
            )
    return first


def _place(alignment: Alignment) -> str:
    """Return what distinguishes an alignment from the others: the name of its last layer, or its prefix."""
    return alignment.head[0] if alignment.head else alignment.prefixes[0]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
