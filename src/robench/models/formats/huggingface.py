"""Folders as the Hugging Face hub has them: config.json and weights, of transformers (extra robench[huggingface]) or of timm.

Nothing is fetched: configurations and weights are read from the folder by robench's own readers, and the libraries get them as
values. A configuration that needs code of its own is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, OptionError, RobenchError, one_line
from robench.models.architectures import timm as timm_family
from robench.models.checkpoints.fit import check_fit, load_strict
from robench.models.checkpoints.read import extension_mismatch_note
from robench.models.checkpoints.sharded import files_sha256, is_index, read_json, shards
from robench.models.formats import pickled_module
from robench.models.formats.base import LoadedModel, LoadRequest
from robench.models.formats.build_limits import check_integers, check_position_embeddings, limit_build
from robench.models.preprocessing import Preprocessing, assumed
from robench.models.preprocessing.from_config import from_hf_processor, from_timm_config, timm_deviation_note

__all__ = ["load", "matches"]

_CONFIG = "config.json"
_NESTED = "processor_config.json"
_PROCESSORS = (_NESTED, "preprocessor_config.json")
"""In transformers' order; the first holds other processors beside that of images, or none."""
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""In the order of preference."""
_REMOTE = (
    "auto_map",
    "trust_remote_code",
    "use_pretrained_backbone",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
)
"""Settings for which a library would import the folder's code or fetch weights."""
_TIMM_ARGUMENTS = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "features_only",
)
"""Arguments of timm.create_model that read files or make something else than a classifier."""
_STATED = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""What older folders of timm state beside the architecture, and newer ones in pretrained_cfg."""

_NOTHING = torch.empty((), device="meta")
"""Stands for a tensor that the other side lacks."""


class _BGRInput(nn.Module):
    """A model that was trained on blue, green, red."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """(b, 3, h, w), red first."""
        return self.model(x.flip(1))


def matches(path: Path) -> bool:
    """Whether a path is a folder with a config.json."""
    return path.is_dir() and (path / _CONFIG).is_file()


def load(request: LoadRequest) -> LoadedModel:
    """Return the folder's classifier with its weights, and its processor's preprocessing."""
    folder = request.path
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder: give the one that holds config.json and the weights")
    config = read_json(folder / _CONFIG)
    if remote := next((key for key in _REMOTE if _truthy(config, key)), None):
        raise CheckpointError(
            f"{folder} was refused, and nothing in it was run: its config.json has {remote}, which needs other code or a download"
        )
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise CheckpointError(f"{folder} holds no weights: it needs one of {', '.join(_WEIGHTS)}")
    files = [weights, *shards(weights)] if is_index(weights) else [weights]
    state, read = pickled_module.tensors_of(weights, request.trust_pickle)
    read += tuple(note for file in files if (note := extension_mismatch_note(file)) is not None)
    is_timm = isinstance(config.get("architecture"), str) and "model_type" not in config
    made = _timm(folder, config, state) if is_timm else _transformers(folder, config, state)
    arch, module, preprocessing, notes = made
    return LoadedModel(folder.resolve().name, arch, module, preprocessing, files_sha256(files), notes=(*read, *notes))


def _truthy(value: Any, key: str) -> bool:
    """Whether a configuration or one within it sets a key."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict(found):
                if found.get(key):
                    return True
                waiting += found.values()
            case list(found):
                waiting += found
    return False


def _timm(
    folder: Path, config: Mapping[str, Any], state: dict[str, Tensor]
) -> tuple[str, nn.Module, Any, tuple[str, ...]]:
    _check_wrapped(folder, config)
    name = str(config["architecture"])
    stated = config.get("pretrained_cfg") or {key: config[key] for key in _STATED if key in config}
    arguments = config.get("model_args") or {}
    if not isinstance(stated, Mapping) or not isinstance(arguments, Mapping):
        raise CheckpointError(f"{folder} has a config.json that timm did not write: pretrained_cfg is no object")
    classes = config.get("num_classes", stated.get("num_classes"))
    arguments = ({} if classes is None else {"num_classes": classes}) | dict(arguments)
    file = folder / _CONFIG
    check_integers(arguments, state, file)
    with limit_build(state, file):
        module = timm_family.build_with(name, arguments)
    load_strict(module, state, folder, f"timm:{name}", file)
    # What the folder leaves out is what timm itself says of the network.
    own = getattr(module, "pretrained_cfg", None)
    whole = {**(own if isinstance(own, Mapping) else {}), **stated}
    return f"timm:{name}", module, from_timm_config(whole, str(file)), timm_deviation_note(whole)


def _transformers(
    folder: Path, config: Mapping[str, Any], state: dict[str, Tensor]
) -> tuple[str, nn.Module, Any, tuple[str, ...]]:
    _check_wrapped(folder, config)
    file = folder / _CONFIG
    with _quiet() as transformers:
        name = _architecture(transformers, folder, config)
        check_integers(config, state, file, _read_keys(config))
        try:
            with limit_build(state, file):
                # The folder's config.json again, by the library; it reads no other file.
                settings = transformers.AutoConfig.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
                check_position_embeddings(settings, state, file)
                module, info = getattr(transformers, name).from_pretrained(
                    None,
                    config=settings,
                    state_dict=state,
                    output_loading_info=True,
                    local_files_only=True,
                    ignore_mismatched_sizes=True,  # They are told of below, with the others.
                )
        except RobenchError:
            raise
        except Exception as error:
            # Every model class checks its configuration and weights with errors of its own.
            raise CheckpointError(
                f"{folder} cannot be loaded as {name} by transformers {transformers.__version__} ({one_line(error)})"
            ) from error
    check_fit(*_differing(info, state, module), folder, name, file)
    preprocessing, notes, is_reversed = _processor(folder, config)
    return f"transformers:{name}", _BGRInput(module) if is_reversed else module, preprocessing, notes


def _differing(
    info: Mapping[str, Any], state: Mapping[str, Tensor], module: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what a file and a network have apart, under the names that transformers gives it; of shapes, no values."""
    of_file = dict.fromkeys(map(str, info.get("unexpected_keys", ())), _NOTHING)
    of_network = dict.fromkeys(map(str, info.get("missing_keys", ())), _NOTHING)
    expected = module.state_dict()
    for entry in info.get("mismatched_keys", ()):
        # Some versions give the shapes too; the others do not rename these tensors.
        key, *shapes = (entry,) if isinstance(entry, str) else entry
        of_file[key] = torch.empty(shapes[0], device="meta") if shapes else state.get(key, _NOTHING)
        of_network[key] = expected[key]
    return dict(sorted(of_file.items())), dict(sorted(of_network.items()))


def _read_keys(config: Mapping[str, Any]) -> set[str]:
    """Return the keys that transformers reads of a configuration: those of the defaults and their other names.

    What else a file states, the number of its parameters for example, plays no role.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        return set()  # AutoConfig refuses it.
    kind = CONFIG_MAPPING[model_type]
    keys = {"num_labels", *getattr(kind, "attribute_map", {})}
    wrapped = config.get("model_args")
    waiting: list[Any] = [kind().to_dict(), wrapped if isinstance(wrapped, Mapping) else {}]
    while waiting:
        found = waiting.pop()
        keys |= found.keys()
        waiting += [value for value in found.values() if isinstance(value, Mapping)]
    return keys


def _check_wrapped(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what would make timm, which transformers can wrap, read other files than the folder's or fetch some."""
    architecture, arguments = config.get("architecture"), config.get("model_args")
    named = [] if architecture is None else [str(architecture)]
    for key in (*named, *(arguments if isinstance(arguments, Mapping) else ())):
        if key in _TIMM_ARGUMENTS or ":" in key:
            raise CheckpointError(f"{folder} was refused, and nothing in it was run: its {_CONFIG} names {key[:80]!r}")


def _architecture(transformers: ModuleType, folder: Path, config: Mapping[str, Any]) -> str:
    """Return the class of the model, where it is one of transformers' own for classifying images.

    A file that names no class means the only one of its model type.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    known = {name for names in NAMES.values() for name in ((names,) if isinstance(names, str) else names)}
    named = config.get("architectures") or NAMES.get(str(config.get("model_type")), ())
    if isinstance(named, tuple) and len(named) > 1:
        raise CheckpointError(
            f"{folder / _CONFIG} names none of {', '.join(named)}: state the one it was trained as under architectures"
        )
    name = named if isinstance(named, str) else named[0] if isinstance(named, list) and named else None
    if not isinstance(name, str) or name not in known or not hasattr(transformers, name):
        raise CheckpointError(
            f"{folder} holds {str(name)[:80]}, which transformers {transformers.__version__} does not know as an image classifier"
        )
    return str(name)


def _processor(folder: Path, config: Mapping[str, Any]) -> tuple[Preprocessing, tuple[str, ...], bool]:
    """Return what the folder says of its input, as AutoImageProcessor would find it, notes, and whether blue goes in first."""
    model_type = str(config.get("model_type") or "")
    for name in _PROCESSORS:
        if (folder / name).is_file():
            content = read_json(folder / name)
            stated: object = content.get("image_processor") if name == _NESTED else content
            if isinstance(stated, Mapping):
                return from_hf_processor(stated, str(folder / name), model_type)
    wrapped: object = config.get("pretrained_cfg")
    if isinstance(wrapped, Mapping):
        return from_timm_config(wrapped, str(folder / _CONFIG)), timm_deviation_note(wrapped), False
    side = config.get("image_size")
    try:
        preprocessing, note = assumed(side if isinstance(side, int) and side > 0 else None)
    except OptionError as error:
        raise CheckpointError(f"{folder / _CONFIG} has image_size {side}: {error}") from error
    return preprocessing, (note,), False


@contextmanager
def _quiet() -> Iterator[ModuleType]:
    """Import transformers; keep it from the network and from writing to the terminal meanwhile."""
    try:
        import transformers
        from huggingface_hub import constants
    except ImportError as error:
        raise CheckpointError(
            f"folders with config.json need transformers ({one_line(error)}): pip install 'robench[huggingface]'"
        ) from error
    logging = transformers.utils.logging
    offline, verbosity, shows_bar = constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield transformers
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.set_verbosity(verbosity)
        if shows_bar:
            logging.enable_progress_bar()
