"""From what the user names to a Classifier: a file or folder of any format, published weights, a factory, or the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, one_line, printable
from robench.models.architectures import (
    ARCHITECTURES,
    architecture_names,
    build_architecture,
    find_family,
    names_factory,
    names_family,
)
from robench.models.architectures.factory import call_factory, preprocessing_of
from robench.models.checkpoints.state_dict import EXTENSIONS
from robench.models.classifier import Classifier
from robench.models.formats import huggingface, onnx, state_dict, torch_export, torchscript
from robench.models.formats.base import LoadedModel, LoadRequest, ModelFormat
from robench.models.preprocessing import Preprocessing, assumed
from robench.models.preprocessing.from_config import timm_deviation_note
from robench.models.probe import probe

__all__ = ["FORMATS", "load_model"]

FORMATS: tuple[ModelFormat, ...] = (
    ModelFormat(
        "huggingface",
        "a folder with config.json, as the Hugging Face hub has them; timm's too",
        huggingface.matches,
        huggingface.load,
    ),
    ModelFormat(
        "torchscript",
        "a TorchScript archive, torch.jit.save",
        torchscript.matches,
        torchscript.load,
        is_program=True,
    ),
    ModelFormat(
        "exported",
        "a program of torch.export.save (.pt2)",
        torch_export.matches,
        torch_export.load,
        is_program=True,
    ),
    ModelFormat("onnx", "an ONNX file (.onnx), run by onnxruntime", onnx.matches, onnx.load, is_program=True),
    ModelFormat(
        "weights",
        f"tensors by name ({' '.join(EXTENSIONS)}), with --arch or one that fits",
        state_dict.matches,
        state_dict.load,
    ),
)
"""What a model can be stored as, in the order in which a path is tried."""

_DEMO_ARCH = "zoo:cifar_resnet8"


def load_model(model: str | Path, request: LoadRequest, given: Mapping[str, Any]) -> Classifier:
    """Return what `load_classifier` does, of a model that may still compute for ever; given: parts of its preprocessing."""
    place, mean, std, crop = request.device, given.get("mean"), given.get("std"), given.get("crop")
    loaded = _load(model, request)
    stated = loaded.preprocessing
    if crop is not None and given.get("resize") is None and _ASSUMPTIONS[0] in loaded.notes:
        stated = assumed(crop)[0]
    preprocessing = stated.replaced(**given)
    module = _placed(loaded.module, place)
    result = probe(loaded, module, preprocessing.crop, place)
    first = result.outputs[0]
    classifier = Classifier(
        label=loaded.label,
        arch=loaded.arch,
        module=module,
        preprocessing=preprocessing,
        classes=first.classes,
        sha256=loaded.sha256,
        device=place,
        head=first.head,
        batch=loaded.batch,
        dtype=result.dtype,
        torch_runs=loaded.torch_runs,
        outputs=result.outputs,
        notes=tuple(
            map(
                printable,
                (
                    *_still_true(loaded, mean, std, crop),
                    *_contradictions(loaded, preprocessing, request.arch),
                    *result.notes,
                ),
            )
        ),
    )
    # Which of several holds the logits, the classes of the images decide where their numbers differ.
    return classifier.with_classes(first.classes) if len({one.classes for one in result.outputs}) == 1 else classifier


def _load(model: str | Path, request: LoadRequest) -> LoadedModel:
    text = str(model)
    if not text:
        raise CheckpointError(
            "the model has an empty name: give a file, a folder, FAMILY:NAME, file.py:function or demo"
        )
    if not isinstance(model, Path) and not request.path.exists():
        family, colon, name = text.partition(":")
        named = bool(colon) and names_family(family)
        if (text == "demo" or named or names_factory(text)) and request.arch is not None:
            raise CheckpointError(f"--arch goes with a weights file; {text} already names its architecture")
        if text == "demo":
            return _load_demo(request.device)
        if named:
            return _load_published(family, name)
        if names_factory(text):
            return _load_factory(text)
    elif text == "demo" and not isinstance(model, Path):
        return _load_demo(request.device)
    return _load_path(request)


def is_program_file(model: str | Path) -> bool:
    """Whether a model is a file that says itself what is computed."""
    path = Path(model)
    found = _format(path) if path.exists() and model != "demo" else None
    return found is not None and found.is_program


def _format(path: Path) -> ModelFormat | None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path} is no regular file: give the file itself")
    if path.is_symlink() and not path.exists():
        raise CheckpointError(f"{path} is a link that leads nowhere: check it")
    try:
        # What is not there has a format by its name alone.
        return next(
            (one for one in FORMATS if (path.exists() or one.load is state_dict.load) and one.matches(path)), None
        )
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _load_path(request: LoadRequest) -> LoadedModel:
    path = request.path
    found = _format(path)
    if found is None and path.suffix.lower() in _EXPORTED:
        wrong = "is damaged, incomplete or another kind of file: copy or download it again"
        raise CheckpointError(f"{path} {wrong}" if path.exists() else f"no model file {path}: check the path")
    if found is None and path.is_dir():
        raise CheckpointError(
            f"{path} is a folder without config.json: give one weights file, such as weights.safetensors"
        )
    if found is None:
        known = ", ".join(f"{family}:NAME" for family in ARCHITECTURES)
        misspelt, _, rest = str(path).partition(":")
        named = [f"{family}:{rest}" for family in get_close_matches(misspelt, ARCHITECTURES, n=1) if rest]
        named += [f"{family}:{path}" for family in ARCHITECTURES if str(path) in architecture_names(family)]
        meant = f"; did you mean {' or '.join(named)}?" if named else ""
        raise CheckpointError(
            f"model {str(path)!r} is neither a file of a known format ({', '.join(one.name for one in FORMATS)}), "
            f"nor {known}, file.py:function, nor demo{meant}"
        )
    loaded = found.load(request)
    if request.arch is None or found.load is state_dict.load:
        return loaded
    _, preprocessing, notes = build_architecture(request.arch)
    kept = [note for note in loaded.notes if note not in _ASSUMPTIONS]
    note = f"{path} is prepared for as {request.arch} is"
    return replace(loaded, preprocessing=preprocessing, notes=(*kept, note, *notes))


def _load_demo(device: torch.device) -> LoadedModel:
    resource = resources.files("robench.models").joinpath("data", "digits.safetensors")
    if not resource.is_file():
        raise CheckpointError("the demo's weights, models/data/digits.safetensors, are missing: install robench again")
    with resources.as_file(resource) as path:
        return replace(state_dict.load(LoadRequest(path, _DEMO_ARCH, device)), label="demo")


def _load_published(family: str, name: str) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        module, preprocessing = find_family(family).pretrained(name)
    arch, notes = f"{family}:{name.partition('@')[0]}", timm_deviation_note(getattr(module, "pretrained_cfg", None))
    return LoadedModel(name, arch, module, preprocessing, _state_sha256(module.state_dict()), notes=notes)


def _load_factory(text: str) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        module = call_factory(text)
    stated = preprocessing_of(module)
    preprocessing, note = (stated, None) if stated is not None else assumed()
    name, _, arguments = text.rpartition(":")[2].partition("?")
    label = "-".join([name, *(argument.rpartition("/")[2] for argument in arguments.split("&") if argument)])
    notes = (note,) if note is not None else ()
    return LoadedModel(label, text, module, preprocessing, _state_sha256(module.state_dict()), notes=notes)


def _state_sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    try:
        # An exported program has no training mode to leave.
        module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        return module.to(device).to(memory_format=torch.channels_last)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(f"the model does not fit on {device}: free its memory or use another --device") from error
    except RuntimeError as error:  # a tensor of the file that cannot be laid out
        raise CheckpointError(
            f"the weights cannot be placed on {device} ({one_line(error)}): are they damaged?"
        ) from error


_EXPORTED = (".pt2", ".onnx", ".ts", ".torchscript")
_ASSUMPTIONS = (assumed()[1], assumed(1)[1])


def _still_true(
    loaded: LoadedModel, mean: Sequence[float] | None, std: Sequence[float] | None, crop: int | None
) -> list[str]:
    """The notes but for what was assumed and is given now."""
    given = mean is not None and std is not None
    settled = {_ASSUMPTIONS[0]} if given and crop is not None else set()
    return [note for note in loaded.notes if note not in settled and not (given and note == _ASSUMPTIONS[1])]


def _contradictions(loaded: LoadedModel, used: Preprocessing, arch: str | None) -> list[str]:
    """Say where options feed the model something else than what it says it was made for."""
    if any(note in _ASSUMPTIONS for note in loaded.notes):
        return []
    stated, source = loaded.preprocessing, arch or loaded.arch
    squashes = isinstance(stated.resize, tuple) and not isinstance(used.resize, tuple)
    squashed = f"--resize {used.resize} is the short side, and {source} squashes pictures: leave --resize out unless you know better"
    return ([squashed] if squashes else []) + [
        f"--{name} {_listed(given)} is not the {_listed(own)} that {source} states: leave --{name} out unless you know better"
        for name, given, own in (("mean", used.mean, stated.mean), ("std", used.std, stated.std))
        if given != own
    ]


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
