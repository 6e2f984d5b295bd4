"""Weights files: tensors by name, with an architecture that has exactly these names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from robench.errors import CheckpointError, with_notes
from robench.models.architectures import EXAMPLES, build_architecture, names_factory, translate_names
from robench.models.architectures.detect import detect_architecture, exact_fits
from robench.models.architectures.timm import average_pooled
from robench.models.checkpoints.aux_bn import add_aux_bn, describe_aux_bn
from robench.models.checkpoints.differences import differences, other_classes
from robench.models.checkpoints.fit import MisfitError, abbreviate, load_strict, needed
from robench.models.checkpoints.read import extension_mismatch_note, file_sha256, holds_weights, metadata
from robench.models.checkpoints.rename import rename
from robench.models.checkpoints.sharded import files_sha256, is_index, shards
from robench.models.checkpoints.state_dict import EXTENSIONS, Weights, read_weights, weights_in
from robench.models.checkpoints.statistics import Statistics, find_statistics
from robench.models.checkpoints.unused import without_ignored
from robench.models.class_names import class_names_in_texts
from robench.models.formats import pickled_module
from robench.models.formats.base import LoadedModel, LoadRequest
from robench.models.heads.features import without_head
from robench.models.preprocessing import Preprocessing, listed, with_known_mean

__all__ = ["label_of_file", "load", "matches"]

_TEACHER = "teacher"
"""Key or prefix of the network that the authors of self-distillation evaluate."""
_SUGGESTED = 3
"""Number of architectures in a hint."""

_Built: TypeAlias = tuple[nn.Module, Preprocessing, tuple[str, ...]]
"""A network, its preprocessing, and notes."""
_Build: TypeAlias = Callable[[str, int | None], _Built]
"""Builds the network of an architecture with a number of classes."""
_Fitted: TypeAlias = tuple[str, nn.Module, Preprocessing, tuple[str, ...]]
"""An architecture, the network, its preprocessing, and notes."""


def matches(path: Path) -> bool:
    """Return whether a path has an extension of weights files, or content of one."""
    return path.name.lower().endswith(EXTENSIONS) or holds_weights(path)


def load(request: LoadRequest) -> LoadedModel:
    """Load the network of a weights file, with its weights."""
    path = request.path
    notes: list[str] = []
    try:
        weights, teacher_notes = _read(request)
        notes += teacher_notes
    except CheckpointError:
        if not (request.trust_pickle and (is_index(path) or pickled_module.matches(path))):
            raise
        if is_index(path):
            content, trust_notes = pickled_module.read_state(path, request.trust_pickle)
            weights = weights_in(path, content, request.weights_key)
            notes += trust_notes
        else:
            sha256 = file_sha256(path)  # Before the code in the file can change it.
            unpickled = pickled_module.unpickle(path)
            loaded = pickled_module.find_module(path, unpickled, sha256)
            if loaded is not None:
                return loaded
            weights = weights_in(path, unpickled, request.weights_key)
            notes.append(pickled_module.TRUST_NOTE)
    if weights.others and request.weights_key is None:
        notes.append(f"{path} also holds weights under {', '.join(weights.others)}: select them with --weights-key")
    if weights.objects:
        notes.append(f"{path} also holds objects of {abbreviate(weights.objects)}; only their plain values were read")
    state, ignored = without_ignored(path, weights, request.ignore_keys)
    if ignored:
        notes.append(f"{path}: --ignore-key left out {len(ignored)} tensors: {abbreviate(ignored)}")
    arch = request.arch
    if arch is None:
        arch = _detect(path, state, weights.stated)
        reason = "the name in the file" if weights.stated is not None and weights.stated in arch else "the only match"
        notes.append(f"{path}: detected architecture {arch} ({reason}); pass --arch to override")
    weights = replace(weights, state=state)
    fit = _fit_or_suggest if request.arch is not None and not request.is_backbone else _fit_or_translate
    with with_notes(notes):
        try:
            arch, module, preprocessing, more = fit(path, arch, weights, ignored)
        except CheckpointError:
            if not request.is_backbone:
                raise
            arch, module, preprocessing, more = _fit_or_translate(path, arch, weights, ignored, _trunk)
            notes.append(f"{path}: it is the trunk of {arch}, without a classification head")
    files = shards(path) if is_index(path) else [path]
    notes += [note for file in files if (note := extension_mismatch_note(file)) is not None]
    return LoadedModel(
        label_of_file(path),
        arch,
        module,
        preprocessing,
        files_sha256(files),
        class_names=weights.class_names or class_names_in_texts(metadata(path).items()),
        notes=(*notes, *more),
    )


def _read(request: LoadRequest) -> tuple[Weights, list[str]]:
    """Return the weights that the user chose, or those of the teacher of a self-supervised backbone, and notes."""
    path = request.path
    if request.is_backbone and request.weights_key is None:
        with suppress(CheckpointError):
            weights = read_weights(path, _TEACHER)
            return weights, [f"{path}: of its networks, the teacher is used; select another one with --weights-key"]
    return read_weights(path, request.weights_key), []


def label_of_file(path: Path) -> str:
    """Return a file's name without its extension, or its folder's name for `model.safetensors`."""
    extension = max((end for end in EXTENSIONS if path.name.lower().endswith(end)), key=len, default=path.suffix)
    label = path.name[: len(path.name) - len(extension)].removesuffix(".pth")
    return path.resolve().parent.name or label if label.lower() == "model" and extension == ".safetensors" else label


def _detect(path: Path, state: Mapping[str, Tensor], stated: str | None) -> str:
    try:
        return detect_architecture(state, stated)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} does not state its architecture, and {error.problem}", error.hint or f"name it, such as {EXAMPLES}"
        ) from error


def _fit_or_suggest(path: Path, arch: str, weights: Weights, ignored: Sequence[str]) -> _Fitted:
    """Fit the weights to the architecture that the user gave, or name another one that fits; see `_fit_or_translate`."""
    try:
        return _fit_or_translate(path, arch, weights, ignored)
    except MisfitError as error:
        fitting = exact_fits(weights.state, weights.stated)
        if not fitting or arch in fitting:
            raise
        advice = "omit --arch, or give it" if len(fitting) == 1 else "give one of them as --arch"
        raise MisfitError(error.problem, f"the weights fit {abbreviate(fitting, _SUGGESTED)}: {advice}") from error


def _trunk(arch: str, classes: int | None = None) -> _Built:
    """Build a network without its classification head."""
    module, preprocessing, notes = build_architecture(arch, classes)
    without_head(module)
    return module, preprocessing, notes


def _fit_or_translate(
    path: Path, arch: str, weights: Weights, ignored: Sequence[str], build: _Build = build_architecture
) -> _Fitted:
    """Fit the weights, see `_fit_weights`: as they are, or with average pooling, or by names that the library itself translates.

    Returns:
        The architecture, and what `_fit_weights` returns.
    """
    try:
        return arch, *_fit_weights(path, arch, weights, ignored, build)
    except CheckpointError as error:
        if (pooled := average_pooled(arch, weights.state)) is not None:
            with suppress(CheckpointError):
                module, preprocessing, notes = _fit_weights(path, pooled, weights, ignored, build)
                note = f"{path}: its fc_norm belongs to average pooling, so the architecture is {pooled}"
                return pooled, module, preprocessing, (*notes, note)
        try:
            translated = translate_names(arch, weights.state)
            if translated is None:
                raise error
            tensors, is_resized = translated
            module, preprocessing, notes = _fit_weights(path, arch, replace(weights, state=tensors), ignored, build)
        except CheckpointError:
            raise error from None
        if is_resized and "img_size=" not in arch:
            raise CheckpointError(
                f"{path} was trained at another input size than that of {arch}",
                f"give its size, --arch '{arch}{'&' if '?' in arch else '?'}img_size=SIZE'",
            ) from error
    family, name = arch.partition("?")[0].split(":")
    note = f"{path}: {family}'s own conversion for {name} (checkpoint_filter_fn) translated the names of the weights"
    if is_resized:
        note += ", and interpolated the position embeddings to the img_size of --arch"
    return arch, module, preprocessing, (*notes, note)


def _fit_weights(
    path: Path, arch: str, weights: Weights, ignored: Sequence[str], build: _Build
) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Build a network with the weights of a file.

    The number of classes follows the weights. The names follow those of the network, see `rename`. A mean and std next to the
    network replace those of the architecture.

    Args:
        path: The file, for messages.
        arch: `family:name` or a factory.
        weights: The tensors of the file, and the mean and std next to them.
        ignored: Names of tensors that the user ignores.
        build: Builds the network of an architecture and a number of classes.

    Returns:
        The network, its preprocessing, and notes.

    Raises:
        MisfitError: A tensor is missing, unexpected or of another shape.
        CheckpointError: The file holds several networks, or the user ignores a tensor of the network.
    """
    module, preprocessing, notes = build(arch, None)
    expected = module.state_dict()
    prefix = weights.prefix
    while prefix:  # The end of the prefix that all names share may be the network's own.
        whole = {f"{prefix}{name}": value for name, value in weights.state.items()}
        if needed(expected) <= whole.keys():
            weights = replace(weights, state=whole)
            break
        prefix = prefix.partition(".")[2]
    found = [pair for pair in find_statistics(weights.state) if not _are_expected(pair.names, expected)]
    names = {name for pair in found for name in pair.names}
    state, fit_notes = rename(path, {key: value for key, value in weights.state.items() if key not in names}, expected)
    for key in sorted(needed(expected) - state.keys()):
        if any(name == key or name.endswith(f".{key}") for name in ignored):
            raise CheckpointError(f"--ignore-key leaves out {key}, which {arch} needs", "name other tensors")
    add_aux_bn(module, state)
    classes = None if names_factory(arch) else other_classes(state, module.state_dict())
    if classes is not None:
        other, other_preprocessing, _ = build(arch, classes)
        add_aux_bn(other, state)
        # Tensors outside of the head can differ in the leading dimension too; the default network then explains more.
        if "of another shape" not in differences(state, other.state_dict()):
            module, preprocessing = other, other_preprocessing
    load_strict(module, state, path, arch)
    if not find_statistics(expected):  # The network does not normalise its input itself.
        unread = [
            f"{name} ({listed(value.flatten().tolist())})"
            for name, value in weights.state.items()
            if value.numel() == 3 and name not in names and not _are_expected([name], expected)
        ]
        preprocessing, notes = _with_statistics(path, found or weights.statistics, unread, preprocessing, notes)
    if (branches := describe_aux_bn(module)) is not None:
        notes = (*notes, f"{path}: {branches}")
    return module, preprocessing, (*fit_notes, *notes)


def _are_expected(names: Sequence[str], expected: Mapping[str, Tensor]) -> bool:
    """Return whether a network has tensors of these names, apart from prefixes in the file."""
    return any(name == key or name.endswith(f".{key}") for name in names for key in expected)


def _with_statistics(
    path: Path, found: Sequence[Statistics], unread: Sequence[str], preprocessing: Preprocessing, notes: tuple[str, ...]
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing and the notes with the only mean and std that a file holds next to its network.

    Args:
        path: The file, for messages.
        found: The pairs of a mean and a std.
        unread: Descriptions of other tensors of three values.
        preprocessing: That of the architecture.
        notes: Those of the architecture.
    """
    usable = {fractions: statistics for statistics in found if (fractions := statistics.fractions()) is not None}
    if len(usable) == 1:
        (((mean, std), statistics),) = usable.items()
        note = f"{path}: mean {listed(mean)} and std {listed(std)} are its {' and '.join(statistics.names)}"
        return replace(preprocessing, mean=mean, std=std), (*with_known_mean(notes), note)
    others = [f"{' and '.join(pair.names)} ({listed(pair.mean)} and {listed(pair.std)})" for pair in found] + [*unread]
    unused = (
        f"{path} also holds {abbreviate(others)}: if they are the mean and std of its images, give --mean and --std"
    )
    return preprocessing, (*notes, unused) if others else notes
