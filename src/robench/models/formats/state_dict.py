"""Weights files: tensors by name, and the architecture that they fit to the last key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.architectures import EXAMPLES, build_architecture, names_factory
from robench.models.architectures.detect import detect_architecture
from robench.models.checkpoints.aux_bn import add_aux_bn, describe_aux_bn
from robench.models.checkpoints.differences import differences, other_classes
from robench.models.checkpoints.fit import abbreviate, load_strict, needed
from robench.models.checkpoints.read import extension_mismatch_note, file_sha256, holds_weights
from robench.models.checkpoints.sharded import files_sha256, is_index, shards
from robench.models.checkpoints.state_dict import EXTENSIONS, Weights, read_weights, weights_in
from robench.models.formats import pickled_module
from robench.models.formats.base import LoadedModel, LoadRequest
from robench.models.preprocessing import Preprocessing

__all__ = ["fit_weights", "load", "matches"]


def matches(path: Path) -> bool:
    """Whether a path has the name of a weights file, or its content under any name."""
    return path.name.lower().endswith(EXTENSIONS) or holds_weights(path)


def load(request: LoadRequest) -> LoadedModel:
    """Return the network that a weights file belongs to, with its weights."""
    path = request.path
    notes: list[str] = []
    try:
        weights = read_weights(path, request.weights_key)
    except CheckpointError:
        if not (request.trust_pickle and (is_index(path) or pickled_module.matches(path))):
            raise
        if is_index(path):
            state, more = pickled_module.tensors_of(path, request.trust_pickle)
            weights = weights_in(path, state, request.weights_key)
            notes += more
        else:
            sha256 = file_sha256(path)  # of what is about to run
            content = pickled_module.unpickle(path)
            whole = pickled_module.module_in(path, content, sha256)
            if whole is not None:
                return whole
            weights = weights_in(path, content, request.weights_key)
            notes.append(pickled_module.NOTE)
    if weights.others and request.weights_key is None:
        notes.append(f"{path} also holds weights under {', '.join(weights.others)}: --weights-key takes them instead")
    arch = request.arch
    if arch is None:
        arch = _guessed(path, weights)
        named = weights.stated is not None and weights.stated in arch
        why = f"says that it is {weights.stated}" if named else "nothing else that is known"
        notes.append(f"{path} fits {arch} and {why}: taken for that, as --arch {arch} would")
    module, preprocessing, more = fit_weights(path, arch, weights.state)
    files = shards(path) if is_index(path) else [path]
    notes += [note for file in files if (note := extension_mismatch_note(file)) is not None]
    sha256 = files_sha256(files)
    return LoadedModel(_label(path), arch, module, preprocessing, sha256, notes=(*notes, *more))


def _label(path: Path) -> str:
    """A file's name without what it ends in; `model.safetensors` says nothing, and then it is its folder's."""
    extension = max((one for one in EXTENSIONS if path.name.lower().endswith(one)), key=len, default=path.suffix)
    label = path.name[: len(path.name) - len(extension)].removesuffix(".pth")
    return path.resolve().parent.name or label if label.lower() == "model" and extension == ".safetensors" else label


def _guessed(path: Path, weights: Weights) -> str:
    try:
        return detect_architecture(weights.state, weights.stated)
    except CheckpointError as error:
        # Where it fits several architectures, that it does is what helps.
        told = str(error) if "--arch" in str(error) else f"{error}; name it, such as {EXAMPLES}"
        raise CheckpointError(f"{path} does not say its architecture: {told}") from error


def fit_weights(path: Path, arch: str, state: Mapping[str, Tensor]) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return the network `arch` with the weights of `path`, its preprocessing, and notes; CheckpointError unless all fit.

    The number of classes follows the weights. Where they all lie under one prefix, as the network in a training module does,
    what lies beside it is left out and named in a note.
    """
    module, preprocessing, notes = build_architecture(arch)
    state, beside = _under_prefix(path, state, module.state_dict())
    add_aux_bn(module, state)
    classes = None if names_factory(arch) else other_classes(state, module.state_dict())
    if classes is not None:
        other, other_preprocessing, _ = build_architecture(arch, classes)
        add_aux_bn(other, state)
        # Tensors that are no head can differ in the leading dimension too; then the default is the better report.
        if "of another shape" not in differences(state, other.state_dict()):
            module, preprocessing = other, other_preprocessing
    load_strict(module, state, path, arch)
    if (branched := describe_aux_bn(module)) is not None:
        notes = (*notes, f"{path}: {branched}")
    if beside:
        notes = (*notes, f"{path}: left out {len(beside)} tensors beside the network: {abbreviate(beside)}")
    return module, preprocessing, notes


def _under_prefix(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The network's own tensors without the prefix that all of them share, and the names of the tensors beside them."""
    own = needed(expected)
    if not own or own <= state.keys():
        return dict(state), []
    longest = max(own, key=lambda key: (len(key), key))
    prefixes = [key.removesuffix(longest) for key in state if key.endswith(f".{longest}")]
    whole = [prefix for prefix in prefixes if all(f"{prefix}{key}" in state for key in own)]
    if len(whole) > 1:
        names = " and ".join(prefix.removesuffix(".") for prefix in whole)
        raise CheckpointError(f"{path} holds several sets of these weights, under {names}: choose one by --weights-key")
    if not whole:
        return dict(state), []
    inside = {key.removeprefix(whole[0]): value for key, value in state.items() if key.startswith(whole[0])}
    return inside, [key for key in state if not key.startswith(whole[0])]
