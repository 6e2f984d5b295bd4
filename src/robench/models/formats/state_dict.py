"""Weights files: tensors by name, with an architecture that has exactly these names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.architectures import EXAMPLES, build_architecture, names_factory
from robench.models.architectures.detect import detect_architecture
from robench.models.checkpoints.aux_bn import add_aux_bn, describe_aux_bn
from robench.models.checkpoints.differences import differences, other_classes
from robench.models.checkpoints.fit import abbreviate, load_strict, needed
from robench.models.checkpoints.read import extension_mismatch_note, file_sha256, holds_weights
from robench.models.checkpoints.rename import rename
from robench.models.checkpoints.sharded import files_sha256, is_index, shards
from robench.models.checkpoints.state_dict import EXTENSIONS, read_weights, weights_in
from robench.models.checkpoints.unused import without_ignored
from robench.models.formats import pickled_module
from robench.models.formats.base import LoadedModel, LoadRequest
from robench.models.preprocessing import Preprocessing

__all__ = ["load", "matches"]


def matches(path: Path) -> bool:
    """Return whether a path has an extension of weights files, or content of one."""
    return path.name.lower().endswith(EXTENSIONS) or holds_weights(path)


def load(request: LoadRequest) -> LoadedModel:
    """Load the network of a weights file, with its weights."""
    path = request.path
    notes: list[str] = []
    try:
        weights = read_weights(path, request.weights_key)
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
        notes.append(f"{path} also holds objects of {abbreviate(weights.objects)}, which were not read")
    state, ignored = without_ignored(path, weights, request.ignore_keys)
    if ignored:
        notes.append(f"{path}: --ignore-key left out {len(ignored)} tensors: {abbreviate(ignored)}")
    arch = request.arch
    if arch is None:
        arch = _detect(path, state, weights.stated)
        reason = "the name in the file" if weights.stated is not None and weights.stated in arch else "the only match"
        notes.append(f"{path}: detected architecture {arch} ({reason}); pass --arch to override")
    module, preprocessing, more = _fit_weights(path, arch, state, ignored)
    files = shards(path) if is_index(path) else [path]
    notes += [note for file in files if (note := extension_mismatch_note(file)) is not None]
    return LoadedModel(_label(path), arch, module, preprocessing, files_sha256(files), notes=(*notes, *more))


def _label(path: Path) -> str:
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


def _fit_weights(
    path: Path, arch: str, state: Mapping[str, Tensor], ignored: Sequence[str]
) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Build a network with the weights of a file.

    The number of classes follows the weights. The names follow those of the network, see `rename`.

    Args:
        path: The file, for messages.
        arch: `family:name` or a factory.
        state: The tensors of the file, by name.
        ignored: Names of tensors that the user ignores.

    Returns:
        The network, its preprocessing, and notes.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    module, preprocessing, notes = build_architecture(arch)
    state, fit_notes = rename(path, state, module.state_dict())
    for key in sorted(needed(module.state_dict()) - state.keys()):
        if any(name == key or name.endswith(f".{key}") for name in ignored):
            raise CheckpointError(f"--ignore-key leaves out {key}, which {arch} needs", "name other tensors")
    add_aux_bn(module, state)
    classes = None if names_factory(arch) else other_classes(state, module.state_dict())
    if classes is not None:
        other, other_preprocessing, _ = build_architecture(arch, classes)
        add_aux_bn(other, state)
        # Tensors outside of the head can differ in the leading dimension too; the default network then explains more.
        if "of another shape" not in differences(state, other.state_dict()):
            module, preprocessing = other, other_preprocessing
    load_strict(module, state, path, arch)
    if (branches := describe_aux_bn(module)) is not None:
        notes = (*notes, f"{path}: {branches}")
    return module, preprocessing, (*fit_notes, *notes)
