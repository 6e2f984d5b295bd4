"""From what the user names to a Classifier: a weights file with its architecture, published weights, or the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, unknown_name
from robench.models import checkpoint, timm, torchvision, zoo
from robench.models.classifier import Classifier, Preprocessing
from robench.models.family import Family, one_line

__all__ = ["ARCHITECTURES", "architecture_names", "choose_device", "load_classifier"]

ARCHITECTURES: dict[str, Family] = {
    "zoo": Family(zoo.build, zoo.pretrained, zoo.names),
    "torchvision": Family(torchvision.build, torchvision.pretrained, torchvision.names),
    "timm": Family(timm.build, timm.pretrained, timm.names),
}

_DEMO_ARCH = "zoo:cifar_resnet8"
_EXAMPLES = "--arch torchvision:resnet50, timm:vit_base_patch16_224 or zoo:cifar_resnet20"
_LISTED = 8


def load_classifier(
    model: str | Path,
    arch: str | None = None,
    device: str = "auto",
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | None = None,
    crop: int | None = None,
    interpolation: str | None = None,
) -> Classifier:
    """Return a classifier ready to be measured.

    model: a weights file (with arch, `family:name`); `torchvision:NAME[@WEIGHTS]` or `timm:NAME`; `demo`.
    The number of classes follows the weights. The keyword arguments replace parts of the model's preprocessing.
    Raises CheckpointError, DeviceError or OptionError; the caller's random generators are left as they were.
    """
    place = choose_device(device)
    with torch.random.fork_rng(devices=[]):  # building a module draws weights that are overwritten at once
        loaded = _load(model, arch)
    preprocessing = loaded.preprocessing.replaced(
        mean=mean, std=std, resize=resize, crop=crop, interpolation=interpolation
    )
    module = _placed(loaded.module.eval().requires_grad_(False), place)
    return Classifier(
        label=loaded.label,
        arch=loaded.arch,
        module=module,
        preprocessing=preprocessing,
        classes=_classes(module, loaded.label, preprocessing.crop, place),
        sha256=loaded.sha256,
        device=place,
    )


def architecture_names(family: str) -> list[str]:
    """Names of all architectures of a family of `ARCHITECTURES`."""
    if family not in ARCHITECTURES:
        raise CheckpointError(unknown_name("architecture family", family, ARCHITECTURES))
    return ARCHITECTURES[family].names()


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


@dataclass(frozen=True)
class _Loaded:
    label: str
    arch: str
    module: nn.Module
    preprocessing: Preprocessing
    sha256: str


def _load(model: str | Path, arch: str | None) -> _Loaded:
    family, colon, name = str(model).partition(":")
    is_name = isinstance(model, str) and (model == "demo" or (bool(colon) and family in ARCHITECTURES))
    if not is_name:
        return _load_file(Path(model), arch)
    if arch is not None:
        raise CheckpointError(f"--arch goes with a weights file; {model} already names its architecture")
    return _load_demo() if model == "demo" else _load_published(family, name)


def _load_file(path: Path, arch: str | None) -> _Loaded:
    if not path.exists() and path.suffix.lower() not in checkpoint.EXTENSIONS:
        known = ", ".join(f"{family}:NAME" for family in ARCHITECTURES)
        raise CheckpointError(f"model {str(path)!r} is neither a weights file, nor {known}, nor demo")
    state = checkpoint.read_state_dict(path)
    if arch is None:
        raise CheckpointError(f"{path} holds weights only: name the architecture, such as {_EXAMPLES}")
    module, preprocessing = _built(path, arch, state)
    return _Loaded(path.stem, arch, module, preprocessing, checkpoint.file_sha256(path))


def _load_demo() -> _Loaded:
    resource = resources.files("robench").joinpath("demo", "digits.safetensors")
    if not resource.is_file():
        raise CheckpointError("the demo's weights, demo/digits.safetensors, are missing: install robench again")
    with resources.as_file(resource) as path:
        state = checkpoint.read_state_dict(path)
        sha256 = checkpoint.file_sha256(path)
        module, preprocessing = _built(path, _DEMO_ARCH, state)
    return _Loaded("demo", _DEMO_ARCH, module, preprocessing, sha256)


def _load_published(family: str, name: str) -> _Loaded:
    module, preprocessing = ARCHITECTURES[family].pretrained(name)
    arch = f"{family}:{name.partition('@')[0]}"
    return _Loaded(name, arch, module, preprocessing, _state_sha256(module.state_dict()))


def _state_sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _built(path: Path, arch: str, state: dict[str, Tensor]) -> tuple[nn.Module, Preprocessing]:
    family, colon, name = arch.partition(":")
    if not colon or family not in ARCHITECTURES:
        raise CheckpointError(f"architecture {arch!r} is none of {', '.join(f'{f}:NAME' for f in ARCHITECTURES)}")
    build = ARCHITECTURES[family].build
    module, preprocessing = build(name, None)
    expected = module.state_dict()
    classes = _other_classes(state, expected)
    if classes is not None:
        other, preprocessing_of_other = build(name, classes)
        # Tensors that are no head can differ in the leading dimension too; then the default is the better report.
        if not _wrong_shapes(state, other.state_dict()):
            module, preprocessing, expected = other, preprocessing_of_other, other.state_dict()
    counters = {key: value for key, value in expected.items() if key.rpartition(".")[2] == "num_batches_tracked"}
    state = counters | state  # old files have none, and they play no role in evaluation
    _check_fit(path, arch, state, expected)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not load into {arch}: {one_line(error)}") from error
    return module, preprocessing


def _other_classes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """Number of classes of the file where the head is all that differs from the default architecture."""
    wrong = _wrong_shapes(state, expected)
    sizes = {state[key].shape[0] if state[key].ndim else 0 for key in wrong}
    only_leading = all(state[key].ndim and state[key].shape[1:] == expected[key].shape[1:] for key in wrong)
    return sizes.pop() if only_leading and len(sizes) == 1 else None


def _wrong_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    return [key for key, value in expected.items() if key in state and state[key].shape != value.shape]


def _check_fit(path: Path, arch: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    shapes = [f"{key} {_size(state[key])} instead of {_size(expected[key])}" for key in _wrong_shapes(state, expected)]
    kinds = [
        f"{key} {state[key].dtype} instead of {value.dtype}"
        for key, value in expected.items()
        if key in state and state[key].is_floating_point() != value.is_floating_point()
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "of another kind": kinds}
    found = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in groups.items() if keys]
    if found:
        raise CheckpointError(
            f"{path} does not fit {arch} ({'; '.join(found)}): is it another architecture? See `robench list models`"
        )


def _first(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    try:
        return module.to(device).to(memory_format=torch.channels_last)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"the model does not fit on {device}: free its memory or use another --device") from error


def _classes(module: nn.Module, label: str, side: int, device: torch.device) -> int:
    """Columns of the module's output for one image; also shows that the module runs at this size at all."""
    try:
        with torch.inference_mode():
            out: object = module(torch.zeros(1, 3, side, side, device=device))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"one image of {label} does not fit on {device}: use another --device") from error
    except Exception as error:
        # A module may assert its input size or trip over it with any error.
        raise CheckpointError(f"{label} does not run on {side}x{side} images: {one_line(error)}") from error
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[1] < 2:
        found = f"a {_size(out)} tensor" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise CheckpointError(f"{label} gives {found}: a classifier gives (images, classes) with at least two classes")
    if not bool(torch.isfinite(out).all()):
        raise CheckpointError(f"{label} gives logits that are not finite: its weights are damaged")
    return out.shape[1]
