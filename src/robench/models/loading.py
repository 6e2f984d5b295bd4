"""From what the user names to a Classifier: a file or folder of any format, published weights, a factory, or the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, printable, unknown_name
from robench.models import exported, huggingface, onnx, torchscript, weights
from robench.models.architectures import (
    ARCHITECTURES,
    architecture_names,
    build_architecture,
    find_family,
    names_factory,
    names_family,
)
from robench.models.checkpoint import EXTENSIONS
from robench.models.classifier import Classifier, Preprocessing
from robench.models.configured import unlike_timm
from robench.models.factory import call_factory, preprocessing_of
from robench.models.family import one_line
from robench.models.loaded import Format, Loaded, Request, assumed
from robench.models.outputs import (
    Output,
    Taken,
    as_logits,
    ends_in_sigmoid,
    head_of,
    is_by_image,
    logits_places,
    output_tensor,
)
from robench.models.trial import try_out

__all__ = ["FORMATS", "choose_device", "load_classifier", "load_untried"]

FORMATS: tuple[Format, ...] = (
    Format("huggingface", "a folder with config.json, as the Hugging Face hub has them; timm's too", huggingface.matches, huggingface.load),
    Format("torchscript", "a TorchScript archive, torch.jit.save", torchscript.matches, torchscript.load, computes=True),
    Format("exported", "a program of torch.export.save (.pt2)", exported.matches, exported.load, computes=True),
    Format("onnx", "an ONNX file (.onnx), run by onnxruntime", onnx.matches, onnx.load, computes=True),
    Format("weights", f"tensors by name ({' '.join(EXTENSIONS)}), with --arch or one that fits", weights.matches, weights.load),
)  # fmt: skip
"""What a model can be stored as, in the order in which a path is tried."""

_BATCH = 4096
"""Largest fixed batch that an exported model may ask for."""
_DEMO_ARCH = "zoo:cifar_resnet8"


def load_classifier(
    model: str | Path,
    arch: str | None = None,
    device: str = "auto",
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | tuple[int, int] | None = None,
    crop: int | None = None,
    interpolation: str | None = None,
    trust_pickle: bool = False,
    weights_key: str | None = None,
) -> Classifier:
    """Return a classifier ready to be measured.

    model: a file or folder of one of `FORMATS`; `torchvision:NAME[@WEIGHTS]` or `timm:NAME`; a factory,
        `package.module:function` or `file.py:function`, perhaps with `?name=value&...`; `demo`.
    arch: `family:name` or a factory, for files that hold weights alone; where it is missing, the one known architecture that
        they fit. For other files: whose preprocessing they were made with.
    trust_pickle: whether a file that would run code when it is read may do so; files that say themselves what is computed are
        else tried in a process of their own first, which takes some seconds.
    weights_key: which of several sets of weights in a file, for example `state_dict_ema`.
    The number of classes follows the weights. The other arguments replace parts of the model's preprocessing.
    Raises CheckpointError, DeviceError or OptionError; the caller's random generators are left as they were.
    """
    request = Request(Path(model), arch, choose_device(device), trust_pickle, weights_key)
    given: dict[str, Any] = {
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "resize": resize,
        "crop": crop,
        "interpolation": interpolation,
    }
    if not trust_pickle and _computes(model):
        try_out(request, given)
    origin = {"model": model, "arch": arch, "trust_pickle": trust_pickle, "weights_key": weights_key, **given}
    return replace(load_untried(model, request, given), origin=origin)


def load_untried(model: str | Path, request: Request, given: Mapping[str, Any]) -> Classifier:
    """Return what `load_classifier` does, of a model that may still compute for ever; given: parts of its preprocessing."""
    place, mean, std, crop = request.device, given.get("mean"), given.get("std"), given.get("crop")
    loaded = _load(model, request)
    stated = loaded.preprocessing
    if crop is not None and given.get("resize") is None and _ASSUMPTIONS[0] in loaded.notes:
        stated = assumed(crop)[0]
    preprocessing = stated.replaced(**given)
    module = _placed(loaded.module, place)
    probe = _probed(loaded, module, preprocessing.crop, place)
    first = probe.outputs[0]
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
        dtype=probe.dtype,
        torch_runs=loaded.torch_runs,
        outputs=probe.outputs,
        notes=tuple(
            map(
                printable,
                (
                    *_still_true(loaded, mean, std, crop),
                    *_contradictions(loaded, preprocessing, request.arch),
                    *probe.notes,
                ),
            )
        ),
    )
    # Which of several holds the logits, the classes of the images decide where their numbers differ.
    return classifier.taking(first.classes) if len({one.classes for one in probe.outputs}) == 1 else classifier


def choose_device(name: str) -> torch.device:
    """Return the device that auto, cpu, cuda, cuda:N or mps means here; raise DeviceError if it is absent.

    auto prefers CUDA, then MPS, then the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if kind == "cuda" and (number.isdecimal() if colon else True):
        return _cuda(int(number) if colon else None)
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("no MPS device on this machine: use --device cpu")
        return torch.device("mps")
    if name == "cpu":
        return torch.device("cpu")
    raise DeviceError(unknown_name("device", name, ("auto", "cpu", "cuda", "cuda:N", "mps")))


def _cuda(number: int | None) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError("no CUDA device that this torch can use: use --device cpu, or check the driver and torch")
    count = torch.cuda.device_count()
    if number is None:
        number = torch.cuda.current_device()
    if number >= count:
        raise DeviceError(f"no device cuda:{number}: this machine has cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", number)


def _load(model: str | Path, request: Request) -> Loaded:
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


def _computes(model: str | Path) -> bool:
    """Whether a model is a file that says itself what is computed."""
    path = Path(model)
    found = _format(path) if path.exists() and model != "demo" else None
    return found is not None and found.computes


def _format(path: Path) -> Format | None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path} is no regular file: give the file itself")
    if path.is_symlink() and not path.exists():
        raise CheckpointError(f"{path} is a link that leads nowhere: check it")
    try:
        # What is not there has a format by its name alone.
        return next((one for one in FORMATS if (path.exists() or one.load is weights.load) and one.matches(path)), None)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _load_path(request: Request) -> Loaded:
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
    if request.arch is None or found.load is weights.load:
        return loaded
    _, preprocessing, notes = build_architecture(request.arch)
    kept = [note for note in loaded.notes if note not in _ASSUMPTIONS]
    note = f"{path} is prepared for as {request.arch} is"
    return replace(loaded, preprocessing=preprocessing, notes=(*kept, note, *notes))


def _load_demo(device: torch.device) -> Loaded:
    resource = resources.files("robench").joinpath("demo", "digits.safetensors")
    if not resource.is_file():
        raise CheckpointError("the demo's weights, demo/digits.safetensors, are missing: install robench again")
    with resources.as_file(resource) as path:
        return replace(weights.load(Request(path, _DEMO_ARCH, device)), label="demo")


def _load_published(family: str, name: str) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        module, preprocessing = find_family(family).pretrained(name)
    arch, notes = f"{family}:{name.partition('@')[0]}", unlike_timm(getattr(module, "pretrained_cfg", None))
    return Loaded(name, arch, module, preprocessing, _state_sha256(module.state_dict()), notes=notes)


def _load_factory(text: str) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        module = call_factory(text)
    stated = preprocessing_of(module)
    preprocessing, note = (stated, None) if stated is not None else assumed()
    name, _, arguments = text.rpartition(":")[2].partition("?")
    label = "-".join([name, *(argument.rpartition("/")[2] for argument in arguments.split("&") if argument)])
    notes = (note,) if note is not None else ()
    return Loaded(label, text, module, preprocessing, _state_sha256(module.state_dict()), notes=notes)


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


@dataclass(frozen=True)
class _Probe:
    """What a module shows of itself on a blank image and on noise."""

    outputs: tuple[Output, ...]
    dtype: torch.dtype
    notes: tuple[str, ...]


def _probed(loaded: Loaded, module: nn.Module, side: int, device: torch.device) -> _Probe:
    """Run the module once; CheckpointError unless it runs at this size and gives at least two classes."""
    label, count = loaded.label, 2 if loaded.batch is None else loaded.batch
    if not 1 <= count <= _BATCH:
        raise CheckpointError(f"{label} takes batches of {count} images only: export it for any batch size")
    dtype = next((value.dtype for value in module.parameters() if value.is_floating_point()), torch.float32)
    try:
        noise = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
        images = torch.cat([torch.zeros_like(noise), noise]).repeat((count + 1) // 2, 1, 1, 1)[:count]
        images = images.to(device, dtype).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            output = module(images)
            found: list[tuple[int | None, Tensor, bool | None]] = []
            places: list[int | None] = [*logits_places(output, count)]
            for place in places or [None]:
                values = output_tensor(output if place is None else output[place])
                softmax = loaded.softmax
                if softmax is None and values.numel() == count:
                    one = module if place is None else Taken(module, place)
                    softmax = ends_in_sigmoid(partial(one, images))
                found.append((place, values, softmax))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{count} images of {label} do not fit on {device}: use another --device") from error
    except TypeError as error:
        if not str(error).startswith("a "):
            raise _not_run(label, side, error) from error
        raise CheckpointError(f"{label} gives {error}: a classifier gives logits, (images, classes)") from error
    except Exception as error:
        # A module may assert its input size or trip over it with any error.
        raise _not_run(label, side, error) from error
    notes = []
    if dtype not in (torch.float32, torch.float64):
        notes.append(f"{label} computes in {str(dtype).removeprefix('torch.')}, as it was stored")
    several = (
        None if found[0][0] is None else f"{label} gives {len(output)} outputs for {count} images, {_sizes(output)}"
    )
    outputs = [_output(label, count, several, *one) for one in found]
    return _Probe(tuple(outputs), dtype, tuple(notes))


def _output(
    label: str, count: int, several: str | None, place: int | None, values: Tensor, softmax: bool | None
) -> Output:
    """Say what the columns of an output of `count` images are; CheckpointError where they are no classes.

    several: says that there are others, where it is one of a tuple.
    """
    if not values.is_floating_point() or any(size != 1 for size in values.shape[2:]) or not is_by_image(values, count):
        raise CheckpointError(
            f"{label} gives a {_size(values)} tensor of {values.dtype} for {count} images: a classifier gives (images, classes)"
        )
    values = values.reshape(count, -1)
    if not values.shape[1]:
        raise CheckpointError(f"{label} gives no classes")
    head = head_of(values, softmax)
    notes = [] if several is None or place is None else [f"{several}: number {place + 1} is taken for its logits"]
    if head in ("probabilities", "probability"):
        ending = "softmax" if head == "probabilities" else "sigmoid"
        notes.append(f"{label} ends in a {ending}: its outputs are taken as probabilities")
    elif head == "logit":
        notes.append(f"{label} has one output: it is taken as the logit of the second of two classes")
    if not bool(torch.isfinite(values).all()):
        notes.append(f"{label} gives logits that are not finite, even of a blank image: its weights may be damaged")
    return Output(place, as_logits(values, head, count).shape[1], head, tuple(map(printable, notes)))


def _not_run(label: str, side: int, error: Exception) -> CheckpointError:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return CheckpointError(f"{label} does not run on {side}x{side} images: it asks for more memory than there is")
    return CheckpointError(
        f"{label} does not run on {side}x{side} images: {one_line(error)}; give its input size by --crop if it is another"
    )


_OUT_OF_MEMORY = ("can't allocate memory", "Failed to allocate memory", "bad_alloc", "bad allocation")
"""In the texts of torch and onnxruntime, which have no error of their own for it on the CPU."""
_EXPORTED = (".pt2", ".onnx", ".ts", ".torchscript")
_ASSUMPTIONS = (assumed()[1], assumed(1)[1])


def _still_true(
    loaded: Loaded, mean: Sequence[float] | None, std: Sequence[float] | None, crop: int | None
) -> list[str]:
    """The notes but for what was assumed and is given now."""
    given = mean is not None and std is not None
    settled = {_ASSUMPTIONS[0]} if given and crop is not None else set()
    return [note for note in loaded.notes if note not in settled and not (given and note == _ASSUMPTIONS[1])]


def _contradictions(loaded: Loaded, used: Preprocessing, arch: str | None) -> list[str]:
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


def _sizes(output: Any) -> str:
    """The sizes of what a module gives in a tuple."""
    return " and ".join(_size(value) if isinstance(value, Tensor) else type(value).__name__ for value in output)


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
