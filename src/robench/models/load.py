"""Load a classifier from whatever the user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robench.models.classifier import Classifier
from robench.models.device import choose_device
from robench.models.formats.base import LoadRequest
from robench.models.loader import is_program_file, load_model
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
    request = LoadRequest(Path(model), arch, choose_device(device), trust_pickle, weights_key)
    given: dict[str, Any] = {
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "resize": resize,
        "crop": crop,
        "interpolation": interpolation,
    }
    if not trust_pickle and is_program_file(model):
        run_in_sandbox(request, given)
    origin = {"model": model, "arch": arch, "trust_pickle": trust_pickle, "weights_key": weights_key, **given}
    return replace(load_model(model, request, given), origin=origin)
