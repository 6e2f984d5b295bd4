"""Load a classifier from a file, a folder, a library, or the user's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robench.models.classifier import Classifier
from robench.models.device import choose_device
from robench.models.formats.base import LoadRequest
from robench.models.loader import is_sandboxed, load_model
from robench.models.sandbox import run_in_sandbox

__all__ = ["load_classifier"]


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
    ignore_keys: Sequence[str] = (),
) -> Classifier:
    """Load a trained model with its preprocessing.

    The number of classes follows the weights. The caller's random generators keep their state.

    Args:
        model: A file or folder of one of `FORMATS`; `torchvision:NAME[@WEIGHTS]` or `timm:NAME`; `demo`; or a factory.
            A factory is `package.module:function` or `file.py:function`, optionally with `?name=value&...`.
        arch: `family:name` or a factory, for files that hold weights alone; None for the only known architecture that fits.
            For other files, the architecture that the preprocessing comes from.
        device: auto, cpu, cuda, cuda:N or mps.
        mean: Of red, green and blue, as fractions of full scale; None for the model's own, like the four arguments below.
        std: Of red, green and blue, as fractions of full scale.
        resize: Size before the crop in pixels: the short side, or (height, width).
        crop: Input size in pixels.
        interpolation: Filter of the resize.
        trust_pickle: Whether a file may run code when it is read. If not, another process first tries programs and Hugging Face
            folders, which takes some seconds unless the same file has passed before.
        weights_key: Key of the weights in a file with several sets of them, for example `state_dict_ema`.
        ignore_keys: Names of tensors in a weights file that the network lacks, with the wildcards * and ?.

    Raises:
        CheckpointError: The model cannot be loaded or is no image classifier, or `ignore_keys` names no tensor of the file or
            one that the network needs.
        DeviceError: The device is absent or too small.
        OptionError: An argument has a value that no model can have.
    """
    request = LoadRequest(Path(model), arch, choose_device(device), trust_pickle, weights_key, tuple(ignore_keys))
    overrides: dict[str, Any] = {
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "resize": resize,
        "crop": crop,
        "interpolation": interpolation,
    }
    if not trust_pickle and is_sandboxed(model):
        request = replace(request, content=request.read())
        run_in_sandbox(request, overrides)
    origin = {
        "model": model,
        "arch": arch,
        "trust_pickle": trust_pickle,
        "weights_key": weights_key,
        "ignore_keys": list(ignore_keys),
        **overrides,
    }
    return replace(load_model(model, request, overrides), origin=origin)
