"""Detection of the architecture that a state dict fits to the last key and shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.errors import CheckpointError, RobenchError
from robench.models.architectures import ARCHITECTURES, architecture_names, build_architecture, timm
from robench.models.architectures.fingerprint import fingerprint, similarity
from robench.models.architectures.index import Structure, load_index
from robench.models.checkpoints.aux_bn import without_aux_bn
from robench.models.checkpoints.differences import differences, other_classes
from robench.models.checkpoints.fit import abbreviate
from robench.models.checkpoints.names import shortened
from robench.models.checkpoints.statistics import without_statistics
from robench.models.checkpoints.unused import is_unused
from robench.models.checkpoints.weight_parts import merge_parts

__all__ = ["detect_architecture", "exact_fits", "fitting_architectures", "shapes"]

_NEAREST = 3
_LONGEST = 80
"""Longest name of a tensor in a message, in characters."""
_COMPARED = 6
"""Number of the most similar architectures that are built and compared."""
_NEW = 12
"""Number of architectures outside the index that are built and compared; each takes about 0.2 s."""
_PREFIX_PARTS = 4
"""Most parts of the prefix of a network in a file."""
_READINGS = 5
"""Most ways to read the names whose nearest architectures are looked for."""
_HEAD_PARTS = 4
"""Number of lengths at which the names of a head are tried: whole, or without their first parts."""
_GROUPS = 8
"""Most groups of tensors among which a head is looked for."""
_HEADS = ("fc", "linear", "head", "head.fc", "classifier", "classifier.1")
"""Usual names of the last layer."""
_CLASS_TOKEN_NORM = {"norm.weight", "norm.bias"}
"""Tensors of a ViT without average pooling, which has `fc_norm` instead."""
_FILLED = (torch.empty, torch.zeros, torch.ones)

Compared: TypeAlias = dict[str, dict[str, list[str]]]
"""Differences by architecture and kind, as `differences` returns them."""


def detect_architecture(state: Mapping[str, Tensor], stated: str | None = None) -> str:
    """Return the only architecture of `ARCHITECTURES` that a state dict fits to the last key and shape, as `family:name`.

    Args:
        state: The state dict; the number of classes follows it.
        stated: Name that a training script wrote next to the weights. If architectures of that name fit, no others count.

    Raises:
        CheckpointError: None or several fit. The error names the fitting or the nearest architectures, but not the file.
    """
    fitting = fitting_architectures(state, stated)
    if len(fitting) == 1:
        return fitting[0]
    raise CheckpointError(
        f"its weights fit {len(fitting)} known architectures",
        f"give --arch with the right one of {abbreviate(fitting)}",
    )


def fitting_architectures(state: Mapping[str, Tensor], stated: str | None = None) -> list[str]:
    """Return all architectures that fit a state dict, or the part of it that is a network in a training module.

    Names are also read without wrappers, without counters, and with the weights that their parts make.

    Args:
        state: The state dict.
        stated: As for `detect_architecture`.

    Raises:
        CheckpointError: No known architecture fits, or several networks of the file do.
    """
    index = _Index.installed_here()
    fitting, readings = _exact_fits(index, state, stated)
    if fitting:
        return fitting
    errors = []
    for reading in readings:
        compared = index.similar(reading)
        if fitting := [arch for arch, differing in compared.items() if not differing]:
            return fitting
        fewest = min((sum(map(len, groups.values())) for groups in compared.values()), default=0)
        errors.append((fewest, index.refusal(compared, len(reading))))
    raise min(errors, key=lambda error: error[0])[1]


def exact_fits(state: Mapping[str, Tensor], stated: str | None = None) -> list[str]:
    """Return the indexed architectures that fit, as `fitting_architectures` does; it builds no similar ones, so it is fast."""
    try:
        return _exact_fits(_Index.installed_here(), state, stated)[0]
    except CheckpointError:
        return []


def _exact_fits(
    index: _Index, state: Mapping[str, Tensor], stated: str | None
) -> tuple[list[str], list[Mapping[str, Tensor]]]:
    """Return the architectures that fit, and the ways in which the names were read."""
    own: Mapping[str, Tensor] = without_statistics(state)
    plain = {name: value for name, value in merge_parts(shortened(own))[0].items() if not is_unused(name)}
    readings = [own] if plain.keys() == own.keys() else [own, plain]
    named = index.named(stated or "")
    for reading in readings:
        if fitting := [arch for arch in named if _differences(reading, arch) == {}] or index.fitting(
            reading, index.new
        ):
            return fitting, readings
    fits = {prefix: _named(named, fitting) for prefix, fitting in _fitting_groups(index, plain)}
    if len({*map(tuple, fits.values())}) > 1:
        raise CheckpointError(f"it holds several networks, under {' and '.join(fits)}", "select one with --weights-key")
    if fits:
        return next(iter(fits.values())), readings
    while (groups := _groups(plain)) and len(readings) < _READINGS:
        largest = max(groups, key=lambda prefix: len(groups[prefix]))
        for reading in _with_heads(groups, largest):
            if fitting := index.fitting(reading):
                return _named(named, fitting), readings
        is_most = 2 * len(groups[largest]) > len(plain)
        plain = groups[largest] if is_most else {}
        readings.append(groups[largest])
    return [], readings


def _named(named: Sequence[str], fitting: list[str]) -> list[str]:
    """Return the fitting architectures that a training script named, else all that fit."""
    return [arch for arch in named if arch.partition(".")[0] in fitting] or fitting


def _fitting_groups(index: _Index, state: Mapping[str, Tensor]) -> Iterator[tuple[str, list[str]]]:
    """Yield the outermost prefixes under which an architecture is, with the architectures."""
    groups = _groups(state)
    for _ in range(_PREFIX_PARTS):
        inner: dict[str, dict[str, Tensor]] = {}
        for prefix, group in groups.items():
            if fitting := index.fitting(group):
                yield prefix, fitting
            else:
                inner |= {f"{prefix}.{name}": found for name, found in _groups(group).items()}
        groups = inner


def _groups(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors under each first part of their names, without it."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        prefix, dot, end = name.partition(".")
        if dot:
            groups.setdefault(prefix, {})[end] = value
    return groups


def _with_heads(groups: Mapping[str, dict[str, Tensor]], trunk: str) -> Iterator[Mapping[str, Tensor]]:
    """Yield the tensors of a trunk with those of one or all other groups, whose names lose parts or become a usual head's."""
    others = [
        {f"{prefix}.{name}": value for name, value in group.items()}
        for prefix, group in groups.items()
        if prefix != trunk
    ]
    together = {name: value for other in others for name, value in other.items()}
    for head in [together, *others] if 1 < len(others) <= _GROUPS else others[:1]:
        for parts in range(_HEAD_PARTS):
            yield groups[trunk] | {".".join(name.split(".")[parts:]): value for name, value in head.items()}
        if len({name.rpartition(".")[0] for name in head}) == 1:
            for layer in _HEADS:
                yield groups[trunk] | {f"{layer}.{name.rpartition('.')[2]}": value for name, value in head.items()}


def shapes(arch: str, classes: int | None = None) -> dict[str, Tensor]:
    """Return the state dict of an untrained architecture, its large tensors without values (on the meta device)."""
    with _WithoutValues():
        return build_architecture(arch, classes)[0].state_dict()


class _WithoutValues(TorchFunctionMode):
    """Put the weights of layers on the meta device.

    `torch.device("meta")` puts all tensors there, which fails for networks that compute their widths with torch.arange.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FILLED and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@dataclass(frozen=True)
class _Index:
    """Structures of the installed libraries.

    Attributes:
        structures: Those that the index has.
        installed: All architectures.
        new: Architectures outside the index, if they are few enough to be compared each time.
        untried: Number of the others.
    """

    structures: Sequence[Structure]
    installed: Sequence[str]
    new: Sequence[str]
    untried: int

    @classmethod
    def installed_here(cls) -> _Index:
        """Return the index without the architectures that the installed libraries lack."""
        installed = [f"{family}:{name}" for family in ARCHITECTURES for name in architecture_names(family)]
        structures = _restrict(load_index(), set(installed))
        known = {arch for structure in structures for arch in structure.archs}
        new = [arch for arch in installed if arch not in known]
        tried = new if len(new) <= _NEW else []
        return cls(structures, installed, tried, len(new) - len(tried))

    def fitting(self, state: Mapping[str, Tensor], others: Sequence[str] = ()) -> list[str]:
        """Return the architectures of the same structure that fit, and other ones if they fit."""
        state = without_aux_bn(state)
        own = fingerprint(state)
        same = [structure for structure in self.structures if structure.fingerprint.structure == own.structure]
        archs = [*(arch for structure in same for arch in structure.archs), *others]
        return [arch for arch in archs if _differences(state, arch) == {}]

    def named(self, stated: str) -> list[str]:
        """Return the architectures of the name that a training script wrote."""
        names = [stated, *(f"{family}:{stated}" for family in ARCHITECTURES)]
        # timm's names may end in a tag. A file cannot choose arguments.
        return [arch for arch in names if "?" not in arch and arch.partition(".")[0] in self.installed]

    def similar(self, state: Mapping[str, Tensor]) -> Compared:
        """Return the differences from similar architectures and from new ones."""
        state = without_aux_bn(state)
        scores = similarity(fingerprint(state), [structure.fingerprint for structure in self.structures])
        order = sorted(range(len(self.structures)), key=lambda row: -scores[row])
        archs = [*(self.structures[row].archs[0] for row in order[:_COMPARED]), *self.new]
        results = {arch: _differences(state, arch) for arch in archs}
        return {arch: groups for arch, groups in results.items() if groups is not None}

    def refusal(self, compared: Compared, tensors: int) -> CheckpointError:
        """Return the error for a state dict that fits none of the compared architectures."""
        note = (
            f" ({self.untried} of the installed libraries are newer than the index and were not tried)"
            if self.untried
            else ""
        )
        complete = [arch for arch, groups in compared.items() if groups.keys() == {"unexpected"}]
        hint = f"if it is {complete[0]}, leave the others out with --ignore-key" if complete else ""
        for arch, groups in compared.items():
            if groups.keys() == {"missing"} and len({name.rpartition(".")[0] for name in groups["missing"]}) == 1:
                hint = hint or f"if it is the trunk of {arch}, give that as --arch, with --head"
            is_like = groups.keys() == {"missing", "unexpected"} and set(groups["missing"]) == _CLASS_TOKEN_NORM
            if is_like and (pooled := timm.average_pooled(arch, groups["unexpected"])) is not None:
                hint = f"fc_norm belongs to average pooling: give --arch, such as '{pooled}'"
                break
        return CheckpointError(f"its weights fit no known architecture{note}{_nearest(compared, tensors)}", hint)


def _restrict(index: Sequence[Structure], installed: set[str]) -> list[Structure]:
    """Return the index without the architectures that the installed libraries lack."""
    structures = (
        replace(structure, archs=tuple(arch for arch in structure.archs if arch in installed)) for structure in index
    )
    return [structure for structure in structures if structure.archs]


def _nearest(compared: Compared, tensors: int) -> str:
    """Describe the architectures with the fewest differences, among those that share a tensor with the file."""
    related = [arch for arch, groups in compared.items() if len(groups.get("unexpected", ())) < tensors]
    nearest = sorted(related, key=lambda arch: sum(map(len, compared[arch].values())))[:_NEAREST]
    listed = "; ".join(f"{arch} has {_describe(compared[arch])}" for arch in nearest)
    return f"; the nearest: {listed}" if listed else ", and none has a tensor of such a name"


def _differences(state: Mapping[str, Tensor], arch: str) -> dict[str, list[str]] | None:
    """Return the differences from `arch` with the classes of the state dict; None if it cannot be built."""
    try:
        expected = shapes(arch)
        if (classes := other_classes(state, expected)) is not None:
            other = shapes(arch, classes)
            if "of another shape" not in differences(state, other):
                expected = other
    except (RobenchError, RuntimeError, TypeError, ValueError, AssertionError):
        return None  # Another version of a library may fail on weights without values.
    return differences(state, expected)


def _describe(groups: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{len(names)} {kind} ({_abbreviate(names[0])})" for kind, names in groups.items())


def _abbreviate(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
