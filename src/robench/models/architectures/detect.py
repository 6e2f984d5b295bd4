"""The architecture of a state dict that does not say it: the one that it fits to the last key and shape."""

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

__all__ = ["detect_architecture", "fitting_architectures", "shapes"]

_LISTED = 8
_NEAREST = 3
_LONGEST = 80
_COMPARED = 6
"""How many of the most alike are built to find the nearest; the sketches only estimate."""
_NEW = 12
"""How many architectures that the index lacks are built and compared; each takes some 0.2 s."""
_FILLED = (torch.empty, torch.zeros, torch.ones)

Compared: TypeAlias = dict[str, dict[str, list[str]]]
"""By architecture and kind of difference: what differs."""


def detect_architecture(state: Mapping[str, Tensor], stated: str | None = None) -> str:
    """Return the only architecture of `ARCHITECTURES`, as `family:name`, that a state dict fits to the last key and shape.

    stated: the name that a training script wrote beside the weights; where architectures of that name fit, no others count.
    The number of classes follows the weights. Raises CheckpointError, which says what fits or what is nearest, but not of
    which file it speaks.
    """
    fitting = fitting_architectures(state, stated)
    if len(fitting) == 1:
        return fitting[0]
    more = f" and {len(fitting) - _LISTED} more" if len(fitting) > _LISTED else ""
    raise CheckpointError(
        f"its weights fit {len(fitting)} known architectures: give --arch with the right one of "
        f"{', '.join(fitting[:_LISTED])}{more}"
    )


def fitting_architectures(state: Mapping[str, Tensor], stated: str | None = None) -> list[str]:
    """Return all architectures that `detect_architecture` chooses from; CheckpointError where there is none.

    A part of the weights may be what fits, as of a network in a training module.
    """
    errors = []
    for part in _parts(state):
        try:
            return _fitting(part, stated)
        except CheckpointError as error:
            errors.append(error)
    raise errors[0]


def _parts(state: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """All the weights, then those under each prefix that more than half of them share, as a network in a training module."""
    yield state
    firsts = Counter(key.partition(".")[0] for key in state)
    first, count = firsts.most_common(1)[0]
    if len(state) > 1 and 2 * count > len(state):
        inside = {key.removeprefix(f"{first}."): value for key, value in state.items() if key.startswith(f"{first}.")}
        if inside.keys() != state.keys():
            yield from _parts(inside)


def _fitting(state: Mapping[str, Tensor], stated: str | None) -> list[str]:
    state = without_aux_bn(state)
    compared, untried = _compare(state, stated)
    fitting = [arch for arch, found in compared.items() if not found]
    if not fitting:
        note = f" ({untried} of the installed libraries are newer than the index and were not tried)" if untried else ""
        raise CheckpointError(f"its weights fit no known architecture{note}{_nearest(compared, len(state))}")
    return fitting


def shapes(arch: str, classes: int | None = None) -> dict[str, Tensor]:
    """Return the state dict of an untrained architecture, its large tensors without values (on the meta device)."""
    with _WithoutValues():
        return build_architecture(arch, classes)[0].state_dict()


class _WithoutValues(TorchFunctionMode):
    """Puts what layers make their weights with on the meta device.

    Under `torch.device("meta")` all tensors are there, and networks that compute their widths with torch.arange fail.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FILLED and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _compare(state: Mapping[str, Tensor], stated: str | None = None) -> tuple[Compared, int]:
    """What differs from architectures that could fit or, where none does, that are alike; how many new ones were not tried."""
    installed = [f"{family}:{name}" for family in ARCHITECTURES for name in architecture_names(family)]
    index = _still_there(load_index(), installed)
    known = {arch for one in index for arch in one.archs}
    new = [arch for arch in installed if arch not in known]
    few = new if len(new) <= _NEW else []
    compared: Compared = {}
    for archs in _stages(state, stated, index, installed, few):
        found = {arch: _differences(state, arch) for arch in archs if arch not in compared}
        compared |= {arch: differences for arch, differences in found.items() if differences is not None}
        if not all(compared.values()):
            break
    return compared, len(new) - len(few)


def _still_there(index: Sequence[Structure], installed: Sequence[str]) -> list[Structure]:
    """The index without the architectures that the installed libraries lack."""
    known = set(installed)
    kept = [replace(one, archs=tuple(arch for arch in one.archs if arch in known)) for one in index]
    return [one for one in kept if one.archs]


def _stages(
    state: Mapping[str, Tensor],
    stated: str | None,
    index: Sequence[Structure],
    installed: Sequence[str],
    new: Sequence[str],
) -> Iterator[Sequence[str]]:
    """Architectures to compare until some fit: of the stated name; of the same structure, or new; one of each that is alike."""
    if stated is not None:
        names = [stated, *(f"{family}:{stated}" for family in ARCHITECTURES)]
        yield [arch for arch in names if arch.partition(".")[0] in installed]  # timm's names may end in a tag
    own = fingerprint(state)
    yield [*(arch for one in index if one.fingerprint.structure == own.structure for arch in one.archs), *new]
    alike = similarity(own, [one.fingerprint for one in index])
    order = sorted(range(len(index)), key=lambda row: -alike[row])
    yield [index[row].archs[0] for row in order[:_COMPARED]]


def _nearest(compared: Compared, tensors: int) -> str:
    """What differs from those that differ least, of those that have any tensor of the file at all."""
    related = [arch for arch, found in compared.items() if len(found.get("unexpected", ())) < tensors]
    nearest = sorted(related, key=lambda arch: sum(map(len, compared[arch].values())))[:_NEAREST]
    found = "; ".join(f"{arch} has {_described(compared[arch])}" for arch in nearest)
    return f"; the nearest: {found}" if found else ", and none has a tensor of such a name"


def _differences(state: Mapping[str, Tensor], arch: str) -> dict[str, list[str]] | None:
    """What keeps a state dict from loading into `arch`, with as many classes as it has; None where that cannot be built."""
    try:
        expected = shapes(arch)
        if (classes := other_classes(state, expected)) is not None:
            other = shapes(arch, classes)
            if "of another shape" not in differences(state, other):
                expected = other
    except (RobenchError, RuntimeError, TypeError, ValueError, AssertionError):
        return None  # Another version of a library may trip over weights without values.
    return differences(state, expected)


def _described(found: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{len(names)} {what} ({_shown(names[0])})" for what, names in found.items())


def _shown(name: str) -> str:
    """A name of the file's own choice, fit for one line."""
    return name if name.isprintable() and len(name) <= _LONGEST else f"{ascii(name)[:_LONGEST]}..."
