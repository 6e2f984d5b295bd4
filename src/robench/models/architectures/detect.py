"""Detection of the architecture that a state dict fits to the last key and shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.errors import CheckpointError, RobenchError
from robench.models.architectures import ARCHITECTURES, architecture_names, build_architecture
from robench.models.architectures.fingerprint import fingerprint, similarity
from robench.models.architectures.index import Structure, load_index
from robench.models.checkpoints.aux_bn import without_aux_bn
from robench.models.checkpoints.differences import differences, other_classes
from robench.models.checkpoints.fit import abbreviate
from robench.models.checkpoints.statistics import without_statistics

__all__ = ["detect_architecture", "fitting_architectures", "shapes"]

_NEAREST = 3
_LONGEST = 80
"""Longest name of a tensor in a message, in characters."""
_COMPARED = 6
"""Number of the most similar architectures that are built and compared."""
_NEW = 12
"""Number of architectures outside the index that are built and compared; each takes about 0.2 s."""
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

    Args:
        state: The state dict.
        stated: As for `detect_architecture`.

    Raises:
        CheckpointError: No known architecture fits.
    """
    errors = []
    for part in _parts(without_statistics(state)):
        try:
            return _fitting(part, stated)
        except CheckpointError as error:
            errors.append(error)
    raise errors[0]


def _parts(state: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """Yield all weights, then those under each prefix that more than half of them share."""
    yield state
    prefix, count = Counter(key.partition(".")[0] for key in state).most_common(1)[0]
    if len(state) > 1 and 2 * count > len(state):
        inside = {key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")}
        if inside.keys() != state.keys():
            yield from _parts(inside)


def _fitting(state: Mapping[str, Tensor], stated: str | None) -> list[str]:
    state = without_aux_bn(state)
    compared, untried = _compare(state, stated)
    fitting = [arch for arch, groups in compared.items() if not groups]
    if not fitting:
        note = f" ({untried} of the installed libraries are newer than the index and were not tried)" if untried else ""
        raise CheckpointError(f"its weights fit no known architecture{note}{_nearest(compared, len(state))}")
    return fitting


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


def _compare(state: Mapping[str, Tensor], stated: str | None = None) -> tuple[Compared, int]:
    """Return the differences from fitting or else similar architectures, and the number of new ones that were not tried."""
    installed = [f"{family}:{name}" for family in ARCHITECTURES for name in architecture_names(family)]
    index = _restrict(load_index(), set(installed))
    known = {arch for structure in index for arch in structure.archs}
    new = [arch for arch in installed if arch not in known]
    tried = new if len(new) <= _NEW else []
    compared: Compared = {}
    for archs in _stages(state, stated, index, installed, tried):
        results = {arch: _differences(state, arch) for arch in archs if arch not in compared}
        compared |= {arch: groups for arch, groups in results.items() if groups is not None}
        if not all(compared.values()):
            break
    return compared, len(new) - len(tried)


def _restrict(index: Sequence[Structure], installed: set[str]) -> list[Structure]:
    """Return the index without the architectures that the installed libraries lack."""
    structures = (
        replace(structure, archs=tuple(arch for arch in structure.archs if arch in installed)) for structure in index
    )
    return [structure for structure in structures if structure.archs]


def _stages(
    state: Mapping[str, Tensor],
    stated: str | None,
    index: Sequence[Structure],
    installed: Sequence[str],
    new: Sequence[str],
) -> Iterator[Sequence[str]]:
    """Yield architectures of the stated name, then those of the same structure and new ones, then similar ones."""
    if stated is not None:
        names = [stated, *(f"{family}:{stated}" for family in ARCHITECTURES)]
        # timm's names may end in a tag. A file cannot choose arguments.
        yield [arch for arch in names if "?" not in arch and arch.partition(".")[0] in installed]
    own = fingerprint(state)
    same = [structure for structure in index if structure.fingerprint.structure == own.structure]
    yield [*(arch for structure in same for arch in structure.archs), *new]
    scores = similarity(own, [structure.fingerprint for structure in index])
    order = sorted(range(len(index)), key=lambda row: -scores[row])
    yield [index[row].archs[0] for row in order[:_COMPARED]]


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
