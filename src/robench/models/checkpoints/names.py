"""Names of tensors: traces of wrappers, prefixes, and the names of a network that they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeVar

__all__ = ["Alignment", "align", "describe_prefixes", "inside", "most_of", "shortened", "wrappers_in"]

WRAPPERS = (
    *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    *("_fpw_module", "_forward_module"),
)
"""Names that DataParallel, torch.compile, FSDP, activation checkpointing, fairscale and DeepSpeed add to those of a network."""

_PREFIX_PARTS = 16
"""Most parts of a prefix."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Alignment:
    """Names of a network for the tensors of a file.

    Attributes:
        names: Name in the network by name in the file; names without an equal in the network have their prefix removed.
        outside: Names in the file that lie outside of the network.
        prefixes: Prefixes that were removed, each with its dot; without wrappers. One of them is empty if some names have none.
        head: Name of the last layer in the file and in the network, if they differ by more than a prefix.
        added: Prefix of the network that the file lacks, with its dot.
    """

    names: Mapping[str, str]
    outside: Sequence[str] = ()
    prefixes: Sequence[str] = ()
    head: tuple[str, str] | None = None
    added: str = ""


def shortened(state: Mapping[str, Value]) -> dict[str, Value]:
    """Return the items under their names without the names of wrappers; as they are if two then had one name."""
    short = {_without_wrappers(name): value for name, value in state.items()}
    return short if len(short) == len(state) else dict(state)


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def most_of(state: Mapping[str, Value], needed: AbstractSet[str]) -> dict[str, Value]:
    """Return the items under the prefix that holds most of a network, without it; all if it holds no more than half."""
    names = shortened(state)
    prefixes = Counter(name.removesuffix(end) for name in names for end in _ends(name) if end in needed)
    (prefix, count), *_ = prefixes.most_common(1) or [("", 0)]
    return inside(names, prefix) if 2 * count > len(needed) else dict(state)


def _ends(name: str) -> Iterator[str]:
    """Yield a name, then its ends after each of its first dots."""
    yield name
    for _ in range(_PREFIX_PARTS):
        _, dot, name = name.partition(".")
        if not dot:
            return
        yield name


def wrappers_in(names: Iterable[str]) -> list[str]:
    """Return the wrappers whose names are in the names of tensors."""
    found = {part for name in names for part in name.split(".")}
    return [wrapper for wrapper in WRAPPERS if wrapper in found]


def inside(state: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the items whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def align(names: Iterable[str], needed: AbstractSet[str]) -> list[Alignment]:
    """Return the alignments of a file's names that give a network every name that it needs.

    The names of wrappers play no role. One prefix may hold the whole network. Otherwise each name of the network must be the
    end of exactly one name of the file, whose beginning is a prefix. Then a single layer may have another name, as heads do.
    A prefix that all names of the network share may be absent from the file. Several alignments are several sets of weights.
    """
    names = [*names]
    if needed <= {*names}:
        return [Alignment({name: name for name in names})]
    same, equal = {name: name for name in names}, {name: name for name in needed}
    short, own = shortened(same), shortened(equal)
    return _whole(same, equal) or _search(short, own)


def _search(short: Mapping[str, str], own: Mapping[str, str]) -> list[Alignment]:
    """Return the alignments by names without wrappers, also without a prefix that all names of the network share."""
    if found := _whole(short, own) or _in_parts(short, own):
        return found
    prefix = "".join(next(iter(own), "").partition(".")[:2])
    inner = inside(own, prefix)
    if not prefix.endswith(".") or len(inner) < len(own):
        return []
    known = {*own.values()}
    return [
        replace(
            alignment,
            names={key: name if name in known else f"{prefix}{name}" for key, name in alignment.names.items()},
            added=f"{prefix}{alignment.added}",
        )
        for alignment in _search(short, inner)
    ]


def _whole(short: Mapping[str, str], own: Mapping[str, str]) -> list[Alignment]:
    """Return an alignment for each prefix under which the whole network is."""
    longest = max(own, key=lambda name: (len(name), name))
    ends = [name for name in short if name == longest or name.endswith(f".{longest}")]
    prefixes = [end.removesuffix(longest) for end in ends]
    return [
        Alignment(
            {short[f"{prefix}{name}"]: own.get(name, name) for name in inside(short, prefix)},
            [original for name, original in short.items() if not name.startswith(prefix)],
            [prefix],
        )
        for prefix in prefixes
        if all(f"{prefix}{name}" in short for name in own)
    ]


def _in_parts(short: Mapping[str, str], own: Mapping[str, str]) -> list[Alignment]:
    """Return the alignments by the longest end that is a name of the network, if they use each name once."""
    trunk: dict[str, tuple[str, str]] = {}
    for name in short:
        if (end := next((end for end in _ends(name) if end in own), None)) is not None:
            trunk[name] = (name.removesuffix(end), end)
    heads: list[tuple[str, str] | None] = [None]
    if any(prefix for prefix, _ in trunk.values()):
        rest = [name for name in short if name not in trunk]
        heads = [*_heads(rest, own.keys() - {end for _, end in trunk.values()})] or heads
    alignments = []
    for head in heads:
        found = dict(trunk)
        if head is not None:
            layer, own_layer = (f"{name}." for name in head)
            tails = {name: name.removeprefix(layer) for name in short if name not in trunk}
            found |= {name: (layer, f"{own_layer}{tail}") for name, tail in tails.items() if tail != name}
        if Counter(end for _, end in found.values()) == Counter([*own]):
            alignments.append(_parts(short, own, found, head))
    return alignments


def _parts(
    short: Mapping[str, str],
    own: Mapping[str, str],
    found: Mapping[str, tuple[str, str]],
    head: tuple[str, str] | None,
) -> Alignment:
    """Return the alignment of names that each consist of a prefix and a name of the network."""
    prefixes = sorted({prefix for prefix, _ in found.values()}, key=len, reverse=True)
    names, outside = {}, []
    for name, original in short.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if name in found:
            names[original] = own[found[name][1]]
        elif prefix is None:
            outside.append(original)
        else:
            names[original] = name.removeprefix(prefix)
    return Alignment(names, outside, [prefix for prefix in prefixes if not head or prefix != f"{head[0]}."], head)


def _heads(names: Iterable[str], needed: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Yield each layer of the names with the only layer of the needed names, if their tensors have the same names."""
    layers, needed_layers = _layers(names), _layers(needed)
    if len(needed_layers) == 1:
        ((own_layer, tails),) = needed_layers.items()
        yield from ((layer, own_layer) for layer, found in layers.items() if layer and own_layer and found == tails)


def _layers(names: Iterable[str]) -> dict[str, set[str]]:
    """Return the last parts of names by all before them."""
    layers: dict[str, set[str]] = {}
    for name in names:
        layer, _, tail = name.rpartition(".")
        layers.setdefault(layer, set()).add(tail)
    return layers


def describe_prefixes(prefixes: Iterable[str]) -> str:
    """Return the names of prefixes for a message."""
    return " and ".join(prefix.removesuffix(".") or "the top" for prefix in prefixes)
