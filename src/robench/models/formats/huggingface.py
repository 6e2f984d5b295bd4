"""Load Hugging Face folders: config.json and weights of transformers (extra robench[huggingface]) or of timm.

Nothing is downloaded. robench's own readers read configurations and weights, and pass them to the libraries as values. A configuration
that needs code of its own is refused. The sandbox limits the time and memory that a configuration can take.
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

from robench.errors import CheckpointError, OptionError, one_line, ran_out_of_memory
from robench.models.architectures import timm as timm_family
from robench.models.checkpoints.fit import check_fit, load_strict
from robench.models.checkpoints.read import extension_mismatch_note
from robench.models.checkpoints.sharded import files_sha256, is_index, read_json, shards
from robench.models.class_names import class_names_in
from robench.models.formats import pickled_module
from robench.models.formats.base import CONFIG_NAME, LARGE_CONFIG_HINT, REFUSED, LoadedModel, LoadRequest
from robench.models.formats.hf_dual_encoder import DUAL_ENCODERS, default_settings, dual_encoder, processor_settings
from robench.models.memory import OUT_OF_MEMORY
from robench.models.preprocessing import Preprocessing, assumed
from robench.models.preprocessing.from_config import from_hf_processor, from_timm_config, timm_deviation_note
from robench.models.zero_shot.text_encoder import TextEncoder

__all__ = ["PROCESSORS", "WEIGHTS", "check_no_code", "check_tokenizer", "load", "matches", "offline_transformers"]

_NESTED = "processor_config.json"
PROCESSORS = (_NESTED, "preprocessor_config.json")
"""In transformers' order; the first can also hold processors of other input than images."""
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of weights, in the order of preference."""
_REMOTE = (
    "auto_map",
    "trust_remote_code",
    "use_pretrained_backbone",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
)
"""Settings that make a library import the folder's code or download weights."""
_PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""Preprocessing in older folders of timm; newer ones have it in pretrained_cfg."""
_CLASSIFIER = "ForImageClassification"
_MISSING = torch.empty((), device="meta")
"""Placeholder of a tensor that the file or the network lacks."""


def matches(path: Path) -> bool:
    """Return whether a path is a folder with a config.json."""
    return path.is_dir() and (path / CONFIG_NAME).is_file()


def load(request: LoadRequest) -> LoadedModel:
    """Load the folder's classifier with its weights and its processor's preprocessing."""
    folder = request.path
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder", "give the folder that holds config.json and the weights")
    config = read_json(folder / CONFIG_NAME)
    check_no_code(folder, config, CONFIG_NAME)
    _check_timm_arguments(folder, config)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise CheckpointError(f"{folder} holds no weights", f"it needs one of {', '.join(WEIGHTS)}")
    files = [weights, *shards(weights)] if is_index(weights) else [weights]
    state, notes = pickled_module.read_state(weights, request.trust_pickle)
    notes += tuple(note for file in files if (note := extension_mismatch_note(file)) is not None)
    is_timm = isinstance(config.get("architecture"), str) and "model_type" not in config
    texts = None
    try:
        if is_timm:
            arch, module, preprocessing, more = _load_timm(folder, config, state)
        else:
            arch, module, preprocessing, more, texts = _load_transformers(folder, config, state, request.is_backbone)
    except CheckpointError as error:
        if error.__cause__ is not None and ran_out_of_memory(error.__cause__):
            raise CheckpointError(f"{folder} {OUT_OF_MEMORY}", LARGE_CONFIG_HINT) from error
        raise
    return LoadedModel(
        request.name or folder.resolve().name,
        arch,
        module,
        preprocessing,
        files_sha256(files),
        class_names=() if texts is not None else class_names_in(config),
        texts=texts,
        notes=(*notes, *more),
    )


def check_no_code(folder: Path, config: Mapping[str, Any], name: str) -> None:
    """Raise CheckpointError if a configuration makes a library import code of the folder or download weights.

    Args:
        folder: The folder.
        config: Content of the file.
        name: Name of the file.
    """
    if remote := next((key for key in _REMOTE if _is_set(config, key)), None):
        raise CheckpointError(
            f"{folder} {REFUSED}: its {name} has {remote}, which needs other code or a download",
            "save the model with its own code, and load it with file.py:function",
        )


def check_tokenizer(folder: Path) -> None:
    """Raise CheckpointError if the configuration of a folder's tokenizer needs other code."""
    file = folder / "tokenizer_config.json"
    if file.is_file():
        check_no_code(folder, read_json(file), file.name)


def _is_set(value: Any, key: str) -> bool:
    """Return whether a configuration, or one inside it, sets a key."""
    values = [value]
    while values:
        match values.pop():
            case dict(items):
                if items.get(key):
                    return True
                values += items.values()
            case list(items):
                values += items
    return False


def _check_timm_arguments(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse arguments that make timm, or its wrapper in transformers, read files outside of the folder or download some."""
    architecture, arguments = config.get("architecture"), config.get("model_args")
    names = [] if architecture is None else [str(architecture)]
    for name in (*names, *(arguments if isinstance(arguments, Mapping) else ())):
        if name in timm_family.FORBIDDEN or ":" in name:
            raise CheckpointError(
                f"{folder} {REFUSED}: its {CONFIG_NAME} names {name[:80]!r}",
                "download the folder from a source that you trust",
            )


def _load_timm(
    folder: Path, config: Mapping[str, Any], state: dict[str, Tensor]
) -> tuple[str, nn.Module, Preprocessing, tuple[str, ...]]:
    name, file = str(config["architecture"]), folder / CONFIG_NAME
    stated = config.get("pretrained_cfg") or {key: config[key] for key in _PREPROCESSING if key in config}
    arguments = config.get("model_args") or {}
    if not isinstance(stated, Mapping) or not isinstance(arguments, Mapping):
        raise CheckpointError(
            f"{file} is not as timm writes it: pretrained_cfg is no object", "download the folder again"
        )
    classes = config.get("num_classes", stated.get("num_classes"))
    module = timm_family.build_with(name, ({} if classes is None else {"num_classes": classes}) | dict(arguments))
    load_strict(module, state, folder, f"timm:{name}", file)
    # timm's own configuration of the network completes the folder's.
    own = getattr(module, "pretrained_cfg", None)
    stated = {**(own if isinstance(own, Mapping) else {}), **stated}
    return f"timm:{name}", module, from_timm_config(stated, str(file)), timm_deviation_note(stated)


class _Backbone(nn.Module):
    """A model of transformers without a head, which returns the features of images.

    Args:
        network: The model.
        pools: Whether its own pooled output is used; otherwise the class token, the first one of the last layer.
    """

    def __init__(self, network: nn.Module, pools: bool) -> None:
        super().__init__()
        self.network, self.pools = network, pools

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, d)."""
        output = self.network(pixel_values=images)
        features: Tensor = output.pooler_output.flatten(1) if self.pools else output.last_hidden_state[:, 0]
        return features


def _load_transformers(
    folder: Path, config: Mapping[str, Any], state: dict[str, Tensor], is_backbone: bool
) -> tuple[str, nn.Module, Preprocessing, tuple[str, ...], TextEncoder | None]:
    with offline_transformers() as transformers:
        name = _architecture(transformers, folder, config, is_backbone)
        try:
            # The library reads config.json again, and no other file.
            settings = transformers.AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
            module, info = getattr(transformers, name).from_pretrained(
                None,
                config=settings,
                state_dict=state,
                output_loading_info=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # check_fit reports them with the others.
            )
        except Exception as error:
            # Every model class checks its configuration and weights with errors of its own.
            raise CheckpointError(
                f"transformers {transformers.__version__} cannot load {folder} as {name} ({one_line(error)})",
                "download the folder again, or pip install --upgrade transformers",
            ) from error
    of_file, of_network = _differing(info, state, module)
    texts = None
    if name in DUAL_ENCODERS:
        check_fit(of_file, of_network, folder, name, folder / CONFIG_NAME)
        check_tokenizer(folder)
        with offline_transformers() as transformers:
            module, texts = dual_encoder(transformers, folder, config, name, module)
    elif not name.endswith(_CLASSIFIER):
        # Self-supervised models are saved without the learned pooling of their class.
        pooling = [key for key in of_network if key.startswith("pooler.")]
        of_network = {key: value for key, value in of_network.items() if key not in pooling}
        module = _Backbone(module, pools=not pooling)
    check_fit(of_file, of_network, folder, name, folder / CONFIG_NAME)
    return f"transformers:{name}", module, *_preprocessing(folder, config), texts


def _differing(
    info: Mapping[str, Any], state: Mapping[str, Tensor], module: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors in which a file and a network differ, by transformers' names; tensors of another shape have no values."""
    of_file = dict.fromkeys(map(str, info.get("unexpected_keys", ())), _MISSING)
    of_network = dict.fromkeys(map(str, info.get("missing_keys", ())), _MISSING)
    expected = module.state_dict()
    for entry in info.get("mismatched_keys", ()):
        # Some versions also give the shapes; the others do not rename these tensors.
        key, *shapes = (entry,) if isinstance(entry, str) else entry
        of_file[key] = torch.empty(shapes[0], device="meta") if shapes else state.get(key, _MISSING)
        of_network[key] = expected[key]
    return dict(sorted(of_file.items())), dict(sorted(of_network.items()))


def _architecture(transformers: ModuleType, folder: Path, config: Mapping[str, Any], is_backbone: bool) -> str:
    """Return the class of the model, or the only class of its model type.

    Raises:
        CheckpointError: It is neither an image classifier, nor a model of images without a head where `is_backbone` is set.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    known = {name for names in NAMES.values() for name in ((names,) if isinstance(names, str) else names)}
    stated = config.get("architectures") or NAMES.get(str(config.get("model_type")), ())
    if isinstance(stated, tuple) and len(stated) > 1:
        raise CheckpointError(
            f"{folder / CONFIG_NAME} names none of {', '.join(stated)}",
            "add the one that was trained under architectures",
        )
    name = stated if isinstance(stated, str) else stated[0] if isinstance(stated, list) and stated else None
    if isinstance(name, str) and name in DUAL_ENCODERS and hasattr(transformers, name):
        return name
    if isinstance(name, str) and not name.endswith(_CLASSIFIER) and _takes_images(transformers, name):
        if is_backbone:
            return name
        raise CheckpointError(
            f"{folder} holds {name[:80]}, a trunk, which has no classification head",
            "add --head knn or linear with --reference DIR, or --head FILE",
        )
    if not isinstance(name, str) or name not in known or not hasattr(transformers, name):
        raise CheckpointError(
            f"{folder} holds {str(name)[:80]}, which is no image classifier of transformers {transformers.__version__}",
            "give a model for image classification, or pip install --upgrade transformers",
        )
    return name


def _takes_images(transformers: ModuleType, name: str) -> bool:
    """Return whether a class is a model without a head whose only input is images."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    known = {one for names in MODEL_MAPPING_NAMES.values() for one in ((names,) if isinstance(names, str) else names)}
    kind = getattr(transformers, name, None) if name in known else None
    return getattr(kind, "main_input_name", None) == "pixel_values"


def _preprocessing(folder: Path, config: Mapping[str, Any]) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing that AutoImageProcessor would find, and notes."""
    model_type = str(config.get("model_type") or "")
    for name in PROCESSORS:
        if (folder / name).is_file():
            content = read_json(folder / name)
            stated: object = content.get("image_processor") if name == _NESTED else content
            if isinstance(stated, Mapping):
                return from_hf_processor(processor_settings(config, stated), str(folder / name), model_type)
    wrapped: object = config.get("pretrained_cfg")
    if isinstance(wrapped, Mapping):
        return from_timm_config(wrapped, str(folder / CONFIG_NAME)), timm_deviation_note(wrapped)
    if (settings := default_settings(config)) is not None:
        preprocessing, notes = from_hf_processor(
            processor_settings(config, settings), str(folder / CONFIG_NAME), model_type
        )
        note = f"{folder} lacks {PROCESSORS[1]}, so the defaults of transformers for {model_type} are used"
        return preprocessing, (note, *notes)
    size = config.get("image_size")
    try:
        preprocessing, note = assumed(size if isinstance(size, int) and size > 0 else None)
    except OptionError as error:
        raise CheckpointError(f"{folder / CONFIG_NAME} has image_size {size}: {error.problem}", error.hint) from error
    return preprocessing, (note,)


@contextmanager
def offline_transformers() -> Iterator[ModuleType]:
    """Import transformers, and keep it off the network and the terminal inside the context."""
    try:
        import transformers
        from huggingface_hub import constants
    except ImportError as error:
        raise CheckpointError(
            f"folders with config.json need transformers ({one_line(error)})", "pip install 'robench[huggingface]'"
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
