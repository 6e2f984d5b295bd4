"""Build a Classifier from a file or folder of any format, published weights, a factory, or the demo."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, OptionError, one_line, printable, with_notes
from robench.models import hub
from robench.models.architectures import (
    ARCHITECTURES,
    architecture_names,
    build_architecture,
    load_published,
    names_factory,
    names_family,
)
from robench.models.architectures.arguments import label_of
from robench.models.checkpoints.state_dict import EXTENSIONS
from robench.models.classifier import Classifier
from robench.models.formats import huggingface, onnx, open_clip, state_dict, torch_export, torchscript
from robench.models.formats.base import LoadedModel, LoadRequest, ModelFormat
from robench.models.heads.build import with_head
from robench.models.heads.choice import HeadChoice
from robench.models.heads.features import is_trunk
from robench.models.in_memory import module_sha256
from robench.models.preprocessing import ASSUMPTIONS, SIZE_NOTE, Preprocessing, assumed, listed, with_known_mean
from robench.models.preprocessing.in_network import Normalisation
from robench.models.probe import ProbeResult, input_channels, probe, probe_normalisation, probe_notes
from robench.models.zero_shot.choice import ZeroShotChoice
from robench.models.zero_shot.head import with_class_names
from robench.types import Images, Size

__all__ = ["FORMATS", "check_head", "is_sandboxed", "load_model"]

FORMATS: tuple[ModelFormat, ...] = (
    ModelFormat(
        "open_clip",
        "a folder with open_clip_config.json, for zero-shot classification",
        open_clip.matches,
        open_clip.load,
        is_sandboxed=True,
    ),
    ModelFormat(
        "huggingface",
        "a folder with config.json, as on the Hugging Face hub; timm's too",
        huggingface.matches,
        huggingface.load,
        is_sandboxed=True,
    ),
    ModelFormat(
        "torchscript",
        "a TorchScript archive, torch.jit.save",
        torchscript.matches,
        torchscript.load,
        is_sandboxed=True,
    ),
    ModelFormat(
        "exported",
        "a program of torch.export.save (.pt2)",
        torch_export.matches,
        torch_export.load,
        is_sandboxed=True,
    ),
    ModelFormat("onnx", "an ONNX file (.onnx), run by onnxruntime", onnx.matches, onnx.load, is_sandboxed=True),
    ModelFormat(
        "weights",
        f"tensors by name ({' '.join(EXTENSIONS)}), with --arch or one that fits",
        state_dict.matches,
        state_dict.load,
    ),
)
"""All formats, in the order in which a path is tried."""

_DEMO_ARCH = "zoo:cifar_resnet8"
_SCALING = ("mean", "std", "input_range")
"""Parts of the preprocessing that scale the values of pixels."""
_PROGRAMS = ("torchscript", "exported", "onnx")
"""Formats of programs."""
_PROGRAM_EXTENSIONS = (".pt2", ".onnx", ".ts", ".torchscript")


def load_model(
    model: str | Path | LoadedModel,
    request: LoadRequest,
    overrides: Mapping[str, Any],
    head: HeadChoice | None = None,
    zero_shot: ZeroShotChoice | None = None,
) -> Classifier:
    """Load a classifier without the sandbox.

    Args:
        model: A file or a name of `load_classifier`, or the model itself.
        request: The same model, with the options of its load.
        overrides: Parts of the preprocessing and its default, by the names of `load_classifier`.
        head: The head to put on the model; None for its own.
        zero_shot: Names and prompts for a vision-language model; None for a trial.
    """
    loaded = model if isinstance(model, LoadedModel) else _load(model, request)
    with with_notes(loaded.notes):
        if not request.is_backbone and is_trunk(loaded.module):
            raise CheckpointError(
                f"{loaded.label} is a trunk, which has no classification head",
                "add --head knn or linear with --reference DIR, or --head FILE",
            )
        if zero_shot is not None and zero_shot.options and (loaded.texts is None or head is not None):
            raise OptionError(
                f"{' and '.join(zero_shot.options)} has no effect on {loaded.label}, whose classes are not given by texts",
                "omit it",
            )
        return _prepared(loaded, request, dict(overrides), head, zero_shot)


def check_head(model: str | Path, head: HeadChoice | None) -> None:
    """Raise CheckpointError, before anything is read, if a file is a program, on which no head can be put."""
    path = Path(model)
    model_format = _format(path) if head is not None and path.exists() and model != "demo" else None
    if model_format is not None and model_format.name in _PROGRAMS:
        raise CheckpointError(
            f"--head {head} needs the features of a layer, and {path} is an exported program, whose layers cannot be read",
            "give the weights of the network with --arch",
        )


def _prepared(
    loaded: LoadedModel,
    request: LoadRequest,
    overrides: dict[str, Any],
    head: HeadChoice | None,
    zero_shot: ZeroShotChoice | None,
) -> Classifier:
    """Return the classifier of a loaded model, which runs here for the first time."""
    default = overrides.pop("default_crop", None)
    loaded = _with_size(loaded, overrides.get("crop"), default)
    assumes_size = _states_no_size(loaded)
    loaded = replace(loaded, module=_on_device(loaded.module, request.device))
    takes_rgb = overrides.get("mean") is None or len(overrides["mean"]) == 3
    takes_rgb = takes_rgb and input_channels(loaded.module) in (None, 3) and loaded.preprocessing.bands == 3
    if takes_rgb and not (
        names_family(loaded.arch.partition(":")[0]) or request.path.is_dir()
    ):  # Others state their preprocessing.
        own = probe_normalisation(loaded, loaded.preprocessing.replaced(**overrides).shape, request.device)
        loaded = _with_own_normalisation(loaded, own, overrides)
    if head is not None:
        preprocessing = loaded.preprocessing.replaced(**overrides)
        loaded = with_head(loaded, head, preprocessing, request.device, partial(_run, loaded, preprocessing, request))
    elif loaded.texts is not None and not request.is_backbone:
        loaded = with_class_names(loaded, zero_shot, request.device)
    loaded, preprocessing, result = _probed(loaded, overrides, request.device)
    outputs = tuple(
        replace(output, notes=tuple(map(printable, probe_notes(loaded.label, result, output))))
        for output in result.outputs
    )
    notes = _unsettled_notes(loaded, overrides)
    classifier = Classifier(
        label=loaded.label,
        arch=loaded.arch,
        module=loaded.module,
        preprocessing=preprocessing,
        classes=outputs[0].classes,
        sha256=loaded.sha256,
        device=request.device,
        head=outputs[0].head,
        batch=loaded.batch,
        dtype=result.dtype,
        torch_runs=loaded.torch_runs,
        outputs=outputs,
        class_names=loaded.class_names,
        head_facts=loaded.head_facts,
        reference_sha=loaded.reference_sha,
        assumes_size=assumes_size,
        notes=tuple(map(printable, notes)),
        warnings=tuple(map(printable, _contradictions(loaded, overrides, preprocessing, request.arch))),
    )
    # If the outputs differ in their number of classes, the dataset decides later.
    is_decided = len({output.classes for output in outputs}) == 1
    return classifier.with_classes(outputs[0].classes) if is_decided else classifier


def _run(
    loaded: LoadedModel, preprocessing: Preprocessing, request: LoadRequest, module: nn.Module, images: Images
) -> Tensor:
    """Return the output (b, d) of a part of a loaded model for uint8 images."""
    dtype = next((value.dtype for value in module.parameters() if value.is_floating_point()), torch.float32)
    return Classifier(
        loaded.label, loaded.arch, module, preprocessing, 0, loaded.sha256, request.device, dtype=dtype
    ).logits(images)


def _probed(
    loaded: LoadedModel, overrides: Mapping[str, Any], device: torch.device
) -> tuple[LoadedModel, Preprocessing, ProbeResult]:
    """Run a model for the first time; if it fails, with the channels of its first layer.

    Raises:
        OptionError: The chosen mean or std has values for another number of channels.
        CheckpointError: The model does not run.
    """
    chosen = [name for name in ("mean", "std") if overrides.get(name) is not None]
    stated = loaded.preprocessing
    if len(chosen) == 1 and (count := len(overrides[chosen[0]])) != stated.bands:
        other = "std" if chosen == ["mean"] else "mean"
        raise OptionError(
            f"--{chosen[0]} has {_counted(count)}, and {loaded.label} states a {other} of {stated.bands}",
            f"give --{other} as well",
        )
    preprocessing = stated.replaced(**overrides)
    try:
        return loaded, preprocessing, probe(loaded, preprocessing, device)
    except CheckpointError:
        channels = input_channels(loaded.module)
        if channels in (None, preprocessing.bands):
            raise
        if chosen:
            raise OptionError(
                f"--{chosen[0]} has {_counted(preprocessing.bands)}, but {loaded.label} takes {channels} channels",
                "give one value for each channel",
            ) from None
    assert channels is not None
    stated = replace(stated, mean=(0.0,) * channels, std=(1.0,) * channels)
    preprocessing = stated.replaced(**overrides)
    note = (
        f"{loaded.label} takes {channels} channel{'s' if channels > 1 else ''} and states no mean and std for them, so images in "
        "0 to 1 are used; change them with --mean and --std"
    )
    notes = (*with_known_mean(loaded.notes), note)
    return replace(loaded, preprocessing=stated, notes=notes), preprocessing, probe(loaded, preprocessing, device)


def _counted(values: int) -> str:
    return f"{values} value{'s' if values > 1 else ''}"


def _load(model: str | Path, request: LoadRequest) -> LoadedModel:
    text = str(model)
    if not text:
        raise CheckpointError(
            "the model has an empty name", "give a file, a folder, FAMILY:NAME, file.py:function or demo"
        )
    if isinstance(model, Path) or (request.path.exists() and text != "demo"):
        return _load_path(request)
    family, colon, _ = text.partition(":")
    if text.startswith(open_clip.PREFIX):
        raise CheckpointError(
            f"{text} names an architecture without weights",
            f"give a weights file with --arch {text}, or a folder of open_clip",
        )
    is_published = bool(colon) and names_family(family)
    if not (text == "demo" or is_published or names_factory(text)):
        return _load_path(request)
    _check_keys(text, request)
    if request.arch is not None:
        raise CheckpointError(f"{text} already names its architecture", "omit --arch, which is for weights files")
    if text == "demo":
        return _load_demo(request.device)
    return _load_published(text) if is_published else _load_factory(text)


def is_sandboxed(model: str | Path) -> bool:
    """Return whether a model is a file or folder that the sandbox tries first."""
    path = Path(model)
    model_format = _format(path) if path.exists() and model != "demo" else None
    return model_format is not None and model_format.is_sandboxed


def _format(path: Path) -> ModelFormat | None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path} is no regular file", "give the file itself")
    if path.is_symlink() and not path.exists():
        raise CheckpointError(f"{path} is a broken link", "check its target")
    # The name of a missing file alone can match the format of weights files.
    formats = FORMATS if path.exists() else FORMATS[-1:]
    try:
        return next((model_format for model_format in formats if model_format.matches(path)), None)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def _load_path(request: LoadRequest) -> LoadedModel:
    path = request.path
    model_format = _format(path)
    if model_format is None:
        raise _unknown_format(path)
    if (request.arch or "").startswith(open_clip.PREFIX):
        if model_format is not FORMATS[-1]:
            raise CheckpointError(
                f"{path} is no weights file, so --arch {request.arch} does not apply",
                "save its weights alone, torch.save(model.state_dict(), 'weights.pth'); a folder needs no --arch",
            )
        return open_clip.load_weights(request)
    if model_format is not FORMATS[-1]:
        _check_keys(str(path), request)
    loaded = model_format.load(request)
    if request.arch is None or model_format is FORMATS[-1]:
        return loaded
    _, preprocessing, notes = build_architecture(request.arch)
    stated = [note for note in loaded.notes if note not in ASSUMPTIONS]
    return replace(
        loaded,
        preprocessing=replace(preprocessing, channels=loaded.preprocessing.channels),
        notes=(*stated, f"{path}: using the preprocessing of {request.arch}", *notes),
    )


def _check_keys(model: str, request: LoadRequest) -> None:
    """Raise CheckpointError if an option selects tensors of a model that is no weights file."""
    for option, value in (("--weights-key", request.weights_key), ("--ignore-key", request.ignore_keys)):
        if value:
            raise CheckpointError(f"{option} has no effect on {model}, which is no weights file", f"omit {option}")


def _unknown_format(path: Path) -> CheckpointError:
    if path.suffix.lower() in _PROGRAM_EXTENSIONS:
        if not path.exists():
            return CheckpointError(f"there is no model file {path}", "check the path")
        return CheckpointError(f"{path} is damaged, incomplete or of another kind", "copy or download it again")
    if path.is_dir():
        return CheckpointError(
            f"{path} is a folder without config.json", "give a weights file, such as weights.safetensors"
        )
    text = str(path)
    if hub.is_hub_id(text) and (not path.suffix or "_" in path.suffix) and not path.parent.exists():
        return CheckpointError(f"there is no model file {text}", f"did you mean {hub.PREFIX}{text}?")
    misspelt, _, name = text.partition(":")
    names = [f"{family}:{name}" for family in get_close_matches(misspelt, ARCHITECTURES, n=1) if name]
    names += [f"{family}:{text}" for family in ARCHITECTURES if text in architecture_names(family)]
    formats = ", ".join(model_format.name for model_format in FORMATS)
    families = ", ".join(f"{family}:NAME" for family in ARCHITECTURES)
    return CheckpointError(
        f"model {text!r} is neither a file of a known format ({formats}), nor {families}, hf:OWNER/NAME, file.py:function, nor demo",
        f"did you mean {' or '.join(names)}?" if names else "",
    )


def _load_demo(device: torch.device) -> LoadedModel:
    resource = resources.files("robench.models").joinpath("data", "digits.safetensors")
    if not resource.is_file():
        raise CheckpointError(
            "the demo's weights, models/data/digits.safetensors, are missing", "install robench again"
        )
    with resources.as_file(resource) as path:
        return replace(state_dict.load(LoadRequest(path, _DEMO_ARCH, device)), label="demo")


def _load_published(text: str) -> LoadedModel:
    module, preprocessing, notes = load_published(text)
    name, _, arguments = text.partition("?")
    arch = name.partition("@")[0] + (f"?{arguments}" if arguments else "")
    return LoadedModel(label_of(text), arch, module, preprocessing, _state_sha256(module.state_dict()), notes=notes)


def _load_factory(text: str) -> LoadedModel:
    module, preprocessing, notes = build_architecture(text)
    return LoadedModel(label_of(text), text, module, preprocessing, module_sha256(module), notes=notes)


def _state_sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _on_device(module: nn.Module, device: torch.device) -> nn.Module:
    try:
        # An exported program has no training mode to leave.
        module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        return module.to(device).to(memory_format=torch.channels_last)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(f"the model does not fit on {device}", "free its memory or use another --device") from error
    except RuntimeError as error:  # A tensor of the file has an impossible layout.
        raise CheckpointError(
            f"the weights cannot be moved to {device} ({one_line(error)})", "check that the file is not damaged"
        ) from error


def _states_no_size(loaded: LoadedModel) -> bool:
    return ASSUMPTIONS[0] in loaded.notes or SIZE_NOTE in loaded.notes


def _with_size(loaded: LoadedModel, crop: Size | None, default: int | None) -> LoadedModel:
    """Return a model with `crop` if it states no input size, or else with `default` and a note."""
    if not _states_no_size(loaded) or not (crop or default):
        return loaded
    preprocessing, note = assumed(crop or default)
    notes = [other for other in loaded.notes if other not in (*ASSUMPTIONS, SIZE_NOTE)]
    if SIZE_NOTE in loaded.notes:
        preprocessing = replace(preprocessing, mean=loaded.preprocessing.mean, std=loaded.preprocessing.std)
    else:
        notes.insert(0, note)
    if crop is None:
        notes.append(
            f"{loaded.label} does not state its input size, so {default} px is used, the size of the suite or of the images; "
            "change it with --crop"
        )
    return replace(loaded, preprocessing=preprocessing, notes=tuple(notes))


def _with_own_normalisation(
    loaded: LoadedModel, own: Normalisation | None, overrides: Mapping[str, Any]
) -> LoadedModel:
    """Return a model whose preprocessing does not repeat what its network computes itself.

    Args:
        loaded: The model.
        own: The normalisation in its network; None if there is none.
        overrides: Parts of the preprocessing that the user chose.

    Raises:
        OptionError: The network takes uint8 images, and the user chose a mean or std.
    """
    chosen = [f"--{name.replace('_', '-')}" for name in _SCALING if overrides.get(name) is not None]
    if loaded.takes_pixels:
        if chosen:
            raise OptionError(
                f"{loaded.label} takes uint8 images, so no mean and std can apply",
                f"omit {' and '.join(chosen)}",
            )
        return _unnormalised(loaded, 255, "takes uint8 images, so their pixels are passed without mean and std")
    if own is None:
        return loaded
    if (overrides.get("channels") or loaded.preprocessing.channels) == "bgr":
        own = replace(own, mean=own.mean[::-1], std=own.std[::-1])
    is_assumed = any(note in ASSUMPTIONS for note in loaded.notes)
    mean, std = (listed(float(f"{value:.4g}") for value in values) for values in (own.mean, own.std))
    computes = f"itself computes (x - mean) / std with mean {mean} and std {std}"
    if own.full_scale is None:
        note = f"{loaded.label} {computes}; if its images are in 0 to 1, give --mean 0,0,0 --std 1,1,1"
        return replace(loaded, notes=(*loaded.notes, note)) if is_assumed and not chosen else loaded
    unnormalised = _unnormalised(
        loaded, own.full_scale, f"{computes} of images in 0 to {own.full_scale}, so they need no other mean and std"
    )
    stated, left = loaded.preprocessing, unnormalised.preprocessing
    if is_assumed or all(
        math.isclose(value, inner / own.full_scale, rel_tol=0.02)
        for value, inner in zip((*stated.mean, *stated.std), (*own.mean, *own.std), strict=True)
    ):
        return unnormalised
    if stated == left:
        return loaded
    options = "--input-range 255" if own.full_scale == 255 else "--mean 0,0,0 --std 1,1,1"
    note = f"{loaded.label} {computes}, after its stated mean and std; if this is once too often, give {options}"
    return replace(loaded, notes=(*loaded.notes, note))


def _unnormalised(loaded: LoadedModel, full_scale: int, note: str) -> LoadedModel:
    """Return the model with images in 0 to `full_scale`, and the note in place of assumptions about mean and std."""
    preprocessing = replace(
        loaded.preprocessing,
        mean=(0.0,) * loaded.preprocessing.bands,
        std=(1 / full_scale,) * loaded.preprocessing.bands,
    )
    return replace(
        loaded, preprocessing=preprocessing, notes=(*with_known_mean(loaded.notes), f"{loaded.label} {note}")
    )


def _unsettled_notes(loaded: LoadedModel, overrides: Mapping[str, Any]) -> list[str]:
    """Return the notes without the assumptions that the overrides replace."""
    settled: list[str] = [] if overrides.get("crop") is None else [SIZE_NOTE]
    is_plain = overrides.get("input_range") == 255
    if is_plain or (overrides.get("mean") is not None and overrides.get("std") is not None):
        settled += [*ASSUMPTIONS] if overrides.get("crop") is not None else [ASSUMPTIONS[1]]
    return [note for note in loaded.notes if note not in settled]


def _contradictions(
    loaded: LoadedModel, overrides: Mapping[str, Any], used: Preprocessing, arch: str | None
) -> list[str]:
    """Return warnings about options that contradict the preprocessing of the model."""
    if any(note in ASSUMPTIONS for note in loaded.notes):
        return []
    stated, source = loaded.preprocessing, arch or loaded.arch
    notes = []
    if isinstance(stated.resize, tuple) and not isinstance(used.resize, tuple):
        notes.append(
            f"--resize {used.resize} is the short side, but {source} squashes images to a square: "
            "omit --resize unless you know better"
        )
    scale = overrides.get("input_range") or 1
    for name, value, own in (("mean", used.mean, stated.mean), ("std", used.std, stated.std)):
        if all(math.isclose(one, other, rel_tol=1e-3) for one, other in zip(value, own, strict=True)):
            continue
        shown, own_shown = (listed(scale * one for one in values) for values in (value, own))
        option, given = (f"--{name}", shown) if overrides.get(name) is not None else ("--input-range", f"{scale}")
        sets = "" if given == shown else f" sets {name} {shown}, which"
        notes.append(
            f"{option} {given}{sets} differs from the {own_shown} of {source}: omit {option} unless you know better"
        )
    if used.channels != stated.channels and stated.channels == "bgr":  # No format states the usual order.
        notes.append(
            f"--channels {used.channels} differs from the {stated.channels} of {source}: omit --channels unless you know better"
        )
    return notes
