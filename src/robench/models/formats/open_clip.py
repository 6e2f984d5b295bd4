"""Load models of open_clip: a folder with open_clip_config.json, or a weights file with `--arch open_clip:NAME`.

Nothing is downloaded. robench's own readers read the configuration and the weights. The library builds the network and the tokenizer,
from the folder or from its own files.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, OptionError, one_line, ran_out_of_memory, unknown_name
from robench.models.checkpoints.fit import load_strict
from robench.models.checkpoints.read import extension_mismatch_note, file_sha256
from robench.models.checkpoints.sharded import read_json
from robench.models.checkpoints.state_dict import Weights, read_weights
from robench.models.formats.base import (
    CONFIG_NAME,
    LARGE_CONFIG_HINT,
    OPEN_CLIP_CONFIG,
    REFUSED,
    LoadedModel,
    LoadRequest,
)
from robench.models.formats.hf_dual_encoder import TOKENIZERS
from robench.models.formats.huggingface import check_no_code, check_tokenizer, offline_transformers
from robench.models.formats.state_dict import label_of_file
from robench.models.hub_client import download_command
from robench.models.memory import OUT_OF_MEMORY
from robench.models.preprocessing import Preprocessing
from robench.models.zero_shot.text_encoder import TextEncoder, tokenizer_sha256

__all__ = ["PREFIX", "architecture_names", "load", "load_weights", "matches"]

PREFIX = "open_clip:"
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Files of weights, in the library's order of preference."""
_TOKENIZER_KEYS = {"clean", "strip_sep_token", "language"}
"""Settings of a tokenizer that a configuration may state; others would reach transformers."""
_OF_PROGRAMS = ("input_resolution", "context_length", "vocab_size")
"""Numbers next to OpenAI's weights."""


class _Images(nn.Module):
    """The image tower, which returns features (b, d)."""

    returns_features = True

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, d)."""
        output = self.visual(images)
        features: Tensor = output[0] if isinstance(output, tuple) else output
        return features


def matches(path: Path) -> bool:
    """Return whether a path is a folder of open_clip, and not one of transformers with a configuration of open_clip in it."""
    if not path.is_dir() or not (path / OPEN_CLIP_CONFIG).is_file():
        return False
    return not (path / CONFIG_NAME).is_file() or any((path / name).is_file() for name in _WEIGHTS[:4])


def architecture_names() -> list[str]:
    """Return the names of all architectures of the installed open_clip."""
    with _library() as library:
        return list(library.list_models())


def load(request: LoadRequest) -> LoadedModel:
    """Load the folder's model with its weights and its tokenizer."""
    folder = request.path
    config = read_json(folder / OPEN_CLIP_CONFIG)
    settings = config.get("model_cfg")
    if not isinstance(settings, Mapping) or not isinstance(config.get("preprocess_cfg", {}), Mapping):
        raise CheckpointError(
            f"{folder / OPEN_CLIP_CONFIG} is not as open_clip writes it: model_cfg is no object",
            "copy the folder again",
        )
    _check_config(folder, settings)
    file = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(f"{folder} holds no weights", f"it needs {_WEIGHTS[0]}, or {' or '.join(_WEIGHTS[1:3])}")
    name, note = folder.resolve().name, extension_mismatch_note(file)
    source = _Source(f"local-dir:{folder}", settings, folder)
    return _loaded(request.name or name, f"{PREFIX}{name}", source, file, read_weights(file), (note,) if note else ())


def load_weights(request: LoadRequest) -> LoadedModel:
    """Load a weights file of the architecture `open_clip:NAME`."""
    path, name = request.path, (request.arch or "").removeprefix(PREFIX)
    with _library() as library:
        if name not in library.list_models():
            raise CheckpointError(*unknown_name("open_clip architecture", name, library.list_models()))
        settings = library.get_model_config(name)
    weights = read_weights(path, request.weights_key)
    notes = []
    quick = f"{name}-quickgelu"
    with _library() as library:
        if quick in library.list_models():
            notes.append(
                f"{path}: {name} computes GELU; for weights that were trained with QuickGELU, as OpenAI's, give --arch {PREFIX}{quick}"
            )
    return _loaded(label_of_file(path), f"{PREFIX}{name}", _Source(name, settings, None), path, weights, tuple(notes))


class _Source:
    """A model as the library finds it.

    Attributes:
        name: Name for the functions of the library.
        settings: Configuration of the model.
        folder: Folder of the files; None for an architecture of the library.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], folder: Path | None) -> None:
        self.name, self.settings, self.folder = name, settings, folder

    @property
    def text(self) -> Mapping[str, Any]:
        """Configuration of the text tower."""
        found = self.settings.get("text_cfg")
        return found if isinstance(found, Mapping) else {}

    def __str__(self) -> str:
        return str(self.folder or f"{PREFIX}{self.name}")


def _loaded(
    label: str, arch: str, source: _Source, file: Path, weights: Weights, notes: tuple[str, ...]
) -> LoadedModel:
    with _library() as library:
        try:
            model = library.create_model(source.name, load_weights=False, pretrained_text=False)
        except Exception as error:  # The library checks configurations with errors of its own.
            if ran_out_of_memory(error):
                raise CheckpointError(f"{source} {OUT_OF_MEMORY}", LARGE_CONFIG_HINT) from error
            raise _cannot_build(source, error) from error
        load_strict(
            model, _translated(model, weights.state), file, arch, source.folder and source.folder / OPEN_CLIP_CONFIG
        )
        tokenizer, tokenizer_hash = _tokenizer(library, source)
    preprocessing, more = _preprocessing(source, model.visual)
    scale, bias = _number(source, model.logit_scale.exp()), getattr(model, "logit_bias", None)
    encoder = TextEncoder(
        tower=model,
        tokenize=lambda texts: {"text": tokenizer(texts)},
        encode=lambda tokens: model.encode_text(tokens["text"]),
        scale=scale,
        bias=0.0 if bias is None else _number(source, bias),
        tokenizer_sha256=tokenizer_hash,
        versions={"open_clip": version("open_clip_torch")},
    )
    return LoadedModel(
        label, arch, _Images(model.visual), preprocessing, file_sha256(file), texts=encoder, notes=(*notes, *more)
    )


def _number(source: _Source, value: Tensor) -> float:
    number = float(value.detach().float().reshape(-1)[0])
    if not math.isfinite(number):
        raise CheckpointError(
            f"the scale or bias of the logits of {source} is not finite", "its weights may be damaged"
        )
    return number


def _translated(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by the names of the network, from those of older versions and of other authors."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if name not in _OF_PROGRAMS}
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    ignored = [name for name in state if name.endswith(".position_ids") and name not in own]
    return {name: value for name, value in state.items() if name not in ignored}


def _check_config(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a configuration that makes a library run code of the folder, or read or download other files."""
    check_no_code(folder, settings, OPEN_CLIP_CONFIG)
    vision, text = settings.get("vision_cfg"), settings.get("text_cfg")
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise CheckpointError(f"{folder / OPEN_CLIP_CONFIG} lacks vision_cfg or text_cfg", "copy the folder again")
    for name in (vision.get("timm_model_name"), text.get("hf_model_name")):
        if name is not None and (
            not isinstance(name, str) or ":" in name or name.startswith((".", "/")) or "\\" in name
        ):
            raise _refused(folder, str(name))
    given = text.get("tokenizer_kwargs") or {}
    if not isinstance(given, Mapping) or not given.keys() <= _TOKENIZER_KEYS:
        raise _refused(folder, f"tokenizer_kwargs {', '.join(map(str, given))}")
    check_tokenizer(folder)


def _refused(folder: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} {REFUSED}: its {OPEN_CLIP_CONFIG} names {name[:80]!r}",
        "download the folder from a source that you trust",
    )


def _tokenizer(library: ModuleType, source: _Source) -> tuple[Any, str]:
    """Return the tokenizer and the hash of its files."""
    name = source.text.get("hf_tokenizer_name")
    if not name:
        if source.folder is None and "siglip" in source.name.lower():
            raise CheckpointError(
                f"the tokenizer of {source} is not in open_clip", "give a folder with its tokenizer.json"
            )
        tokenizer = library.get_tokenizer(source.name)
        vocabulary = Path(str(library.__file__)).parent / "bpe_simple_vocab_16e6.txt.gz"
        return tokenizer, file_sha256(vocabulary)
    if source.folder is not None:
        if not any((source.folder / file).is_file() for file in TOKENIZERS):
            raise CheckpointError(
                f"{source.folder} lacks the files of its tokenizer, such as {TOKENIZERS[0]}",
                f"copy them into the folder, from {name}" if isinstance(name, str) else "copy them into the folder",
            )
        digest = tokenizer_sha256(source.folder)
    else:
        digest = tokenizer_sha256(_cached_folder(source, str(name)))
    try:
        return library.get_tokenizer(source.name), digest
    except Exception as error:  # Tokenizers of transformers fail with errors of their own.
        raise CheckpointError(
            f"the tokenizer of {source} cannot be loaded ({one_line(error)})", "copy its files again"
        ) from error


def _cached_folder(source: _Source, name: str) -> Path:
    """Return the folder of a tokenizer in the local cache of the Hugging Face hub."""
    from huggingface_hub import try_to_load_from_cache

    for file in TOKENIZERS:
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return Path(found).parent
    raise CheckpointError(
        f"{source} needs {name}/{TOKENIZERS[0]}, which is not in the local cache of the Hugging Face hub",
        f"download it where there is a network: {download_command(name)}",
    )


def _preprocessing(source: _Source, visual: Any) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing of the library's `image_transform`, and notes."""
    config: Mapping[str, Any] = visual.preprocess_cfg
    size = config["size"]
    sides = [size, size] if isinstance(size, int) else [*size] if isinstance(size, Sequence) else []
    if len(sides) != 2 or sides[0] != sides[1] or not all(isinstance(side, int) for side in sides):
        raise CheckpointError(
            f"{source} takes images of size {size}, which are not square", "give a model of square images"
        )
    side, mode = sides[0], config.get("resize_mode") or "shortest"
    notes: tuple[str, ...] = ()
    if mode == "longest":
        notes = (
            "its resize_mode is longest, which keeps the whole image between bars; robench keeps the middle square",
        )
    mean, std = (
        tuple(map(float, [values] * 3 if isinstance(values, int | float) else values))
        for values in (config["mean"], config["std"])
    )
    try:
        preprocessing = Preprocessing(
            resize=(side, side) if mode == "squash" else side,
            crop=side,
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            mean=mean,
            std=std,
        )
    except OptionError as error:
        raise CheckpointError(f"{source} states no usable preprocessing ({error.problem})", error.hint) from error
    return preprocessing, notes


def _cannot_build(source: _Source, error: Exception) -> CheckpointError:
    name = source.text.get("hf_model_name")
    if isinstance(name, str) and isinstance(error, OSError):
        return CheckpointError(
            f"{source} needs {name}/{CONFIG_NAME}, which is not in the local cache of the Hugging Face hub",
            f"download it where there is a network: {download_command(name)}",
        )
    return CheckpointError(
        f"open_clip {version('open_clip_torch')} cannot build {source} ({one_line(error)})",
        "copy the folder again, or pip install --upgrade open_clip_torch" if source.folder else "",
    )


@contextmanager
def _library() -> Iterator[ModuleType]:
    """Import open_clip, and keep it and transformers off the network and the terminal inside the context."""
    try:
        import open_clip
    except ImportError as error:
        raise CheckpointError(
            f"models of open_clip need open_clip_torch ({one_line(error)})", "pip install 'robench[clip]'"
        ) from error
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=[]), offline_transformers():
            yield open_clip
    finally:
        logging.disable(level)
