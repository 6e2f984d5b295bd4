"""Tensors of a file under the names that a network has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.fit import abbreviate, needed
from robench.models.checkpoints.names import Alignment, align, describe_prefixes, shortened, wrappers_in
from robench.models.checkpoints.unused import is_unused
from robench.models.checkpoints.weight_parts import merge_parts

__all__ = ["rename"]


def rename(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a file under the names of a network, and notes.

    Wrappers, prefixes and parts of weights are only looked at if the names do not fit otherwise. Tensors outside of the network,
    and those that play no role in evaluation, are left out. If nothing fits, the names stay as they are.
    """
    first: tuple[dict[str, Tensor], list[str]] | None = None
    for candidate, methods in ((dict(state), {}), merge_parts(state), merge_parts(shortened(state))):
        alignments = align(candidate, needed(expected))
        if not alignments:
            continue
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
            notes.append(f"took the wrappers' names {' and '.join(wrappers)} out of the names of its tensors")
        if len(alignment.prefixes) > 1:
            notes.append(f"took the prefixes {describe_prefixes(alignment.prefixes)} off the names of its tensors")
        if alignment.head:
            notes.append("took {} for {}, the only layer of another name".format(*alignment.head))
        if len(alignments) > 1:
            others = describe_prefixes(other.prefixes[0] for other in alignments)
            notes.append(f"the weights under {others} are equal")
        if alignment.outside:
            listed = abbreviate(alignment.outside)
            notes.append(f"ignored {len(alignment.outside)} tensors outside of the network: {listed}")
        if unused:
            notes.append(f"ignored {len(unused)} tensors that play no role in evaluation: {abbreviate(unused)}")
        found = renamed, [f"{path}: {note}" for note in notes]
        if renamed.keys() <= expected.keys():
            return found
        first = first or found
    return first or (dict(state), [])


def _only(path: Path, state: Mapping[str, Tensor], alignments: Sequence[Alignment]) -> Alignment:
    """Return the first alignment; raise CheckpointError if others give the network other weights."""
    first, *others = alignments
    values = {name: state[key] for key, name in first.names.items()}
    for other in others:
        if any(not torch.equal(values[name], state[key]) for key, name in other.names.items() if name in values):
            names = describe_prefixes((alignment.prefixes or [""])[0] for alignment in alignments)
            raise CheckpointError(
                f"{path} holds several sets of these weights, under {names}", "select one with --weights-key"
            )
    return first
