"""Load a classifier from a file, a folder, a library, or the user's code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robench.arguments import ArgumentError, check_type, one_or_more, path_of, size_of
from robench.errors import OptionError
from robench.models import hub
from robench.models.classifier import Classifier
from robench.models.device import choose_device
from robench.models.formats.base import LoadRequest
from robench.models.heads.choice import HeadChoice
from robench.models.in_memory import device_of, in_memory
from robench.models.loader import check_head, is_sandboxed, load_model
from robench.models.sandbox import run_in_sandbox
from robench.models.zero_shot.choice import ZeroShotChoice
from robench.types import Size

__all__ = ["load_classifier"]

_EXPECTED = "a path or a name (`robench list models`), a torch.nn.Module, or a function on batches of images"


def load_classifier(
    model: str | Path | nn.Module | Callable[[Tensor], Any],
    arch: str | None = None,
    device: str = "auto",
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: Size | str | None = None,
    crop: Size | str | None = None,
    size: Size | str | None = None,
    interpolation: str | None = None,
    input_range: int | None = None,
    channels: str | None = None,
    data_range: Sequence[float] | None = None,
    default_crop: int | None = None,
    trust_pickle: bool = False,
    weights_key: str | None = None,
    ignore_key: str | Sequence[str] | None = None,
    head: str | Path | None = None,
    reference: str | Path | None = None,
    features: str | None = None,
    prompts: str | Path | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    default_class_names: Sequence[str] | None = None,
    label: str | None = None,
) -> Classifier:
    """Load a trained model with its preprocessing.

    The number of classes follows the weights. The caller's random generators keep their state.

    Args:
        model: A file or folder of a supported format; `torchvision:NAME[@WEIGHTS]` or `timm:NAME`; `hf:OWNER/NAME[@REVISION]` of
            the Hugging Face hub; `demo`; or a factory.
            A factory is `package.module:function` or `file.py:function`, optionally with `?name=value&...`.
            Or a module, or a function on normalised float32 images (b, 3, size, size). The classifier takes the module itself,
            without a copy: in eval mode, on the device, without gradients.
        arch: `family:name` or a factory, for files that hold weights alone; None for the only known architecture that fits.
            For other files, the architecture that the preprocessing comes from.
        device: auto, cpu, cuda, cuda:N or mps; auto keeps a module on its accelerator, and runs a function on the CPU.
        mean: Mean of each channel, usually red, green and blue, in 0 to `input_range`; None for the model's own, like the
            next eight arguments. The number of values is that of the model's channels.
        std: Standard deviation of each channel, in 0 to `input_range`.
        resize: Size before the crop in pixels: the short side, or (height, width).
        crop: Input size in pixels: the side of a square, or (height, width), or a text such as "224x320".
        size: Input size in pixels, like `crop`, of a model that takes whole images: resize and crop in one.
        interpolation: Filter of the resize.
        input_range: Value of white for the model, 1 or 255. A model for 0 to 255 gets pixels as they are unless `mean` and `std`
            are given.
        channels: Order in which the model takes the channels, "rgb" or "bgr". It changes neither `mean` nor `std`.
        data_range: Stored values that become 0 and full scale, for images of more than 8 bits, such as (0, 10000).
        default_crop: Input size in pixels of a model that states none; None for ImageNet's 224.
        trust_pickle: Whether a file may run code when it is read. If not, another process first tries programs and Hugging Face
            folders, which takes some seconds unless the same file has passed before.
        weights_key: Key of the weights in a file with several sets of them, for example `state_dict_ema`.
        ignore_key: Names of tensors in a weights file that the network lacks, with the wildcards * and ?.
        head: Head to put on the model: `knn:k=20,T=0.07`, `linear:C=1`, or a file with a weight and a bias; None for its own.
        reference: Labelled images that `knn` and `linear` are made from, in any layout of datasets.
        features: Module whose output the head takes, or a layout of tokens: `cls+patches`, `cls4` or `cls4+patches`. None for
            the input of the last linear layer, or timm's `pre_logits`.
        prompts: Templates of a zero-shot classifier: "imagenet" (the 80 of OpenAI), "simple" (7 of them) or "plain" (one). Or a
            file with one a line, with `{}` for the name; None for "imagenet".
        class_names: Names of its classes, a file with a name a line, or "imagenet"; None for `default_class_names`.
        default_class_names: Names of the classes of the images. WordNet ids become OpenAI's names of ImageNet's classes.
        label: Name of the model in tables; None for that of the file, class or function.

    Returns:
        The network in eval mode on its device, with its preprocessing.

    Raises:
        ArgumentError: An argument has a wrong type.
        CheckpointError: The model cannot be loaded or is no image classifier, or `ignore_key` names no tensor of the file or
            one that the network needs.
        DeviceError: The device is absent or too small.
        OptionError: An argument has a value that no model can have.
    """
    if size is not None:
        if (resize, crop) != (None, None):
            raise OptionError("--size already sets --resize and --crop", "omit them")
        resize = crop = size
    sides = {
        name: None if value is None else size_of(f"--{name}", value)
        for name, value in (("resize", resize), ("crop", crop))
    }
    for name, text in (
        ("--arch", arch),
        ("--weights-key", weights_key),
        ("--interpolation", interpolation),
        ("--channels", channels),
        ("--features", features),
        ("label", label),
    ):
        if text is not None:
            check_type(name, text, str, "a text")
    if input_range is not None:
        check_type("--input-range", input_range, int, "1 or 255")
    ignored = [] if ignore_key is None else one_or_more("--ignore-key", ignore_key, str, "a name or a list of names")
    choice = HeadChoice.parse(
        None if head is None else str(path_of("--head", head)),
        reference if reference is None or isinstance(reference, str) else path_of("--reference", reference),
        features,
    )
    if class_names is not None and not isinstance(class_names, str):
        if isinstance(class_names, PathLike):
            class_names = str(class_names)
        else:
            class_names = one_or_more("--class-names", class_names, str, "a file or a list of names")
    zero_shot = ZeroShotChoice(
        None if prompts is None else str(path_of("--prompts", prompts)), class_names, default_class_names
    )
    zero_shot.check()
    overrides: dict[str, Any] = {
        "mean": None if mean is None else one_or_more("--mean", mean, Real, "a list of numbers"),
        "std": None if std is None else one_or_more("--std", std, Real, "a list of numbers"),
        **sides,
        "interpolation": interpolation,
        "input_range": input_range,
        "channels": channels,
        "data_range": None if data_range is None else one_or_more("--data-range", data_range, Real, "two numbers"),
        "default_crop": default_crop,
    }
    if not isinstance(model, str | PathLike):
        if not callable(model) or isinstance(model, type):
            raise ArgumentError(f"the model must be {_EXPECTED}, not {_described(model)}")
        if arch is not None or weights_key is not None:
            raise OptionError("--arch and --weights-key apply only to files", "omit them")
        loaded = in_memory(model, label)
        request = LoadRequest(Path(loaded.label), None, device_of(model, device), is_backbone=choice is not None)
        return load_model(loaded, request, overrides, choice, zero_shot)
    model = source = model if isinstance(model, str) else Path(model)
    if isinstance(model, str) and model.startswith(hub.PREFIX) and not Path(model).exists():
        source, label = hub.provide_folder(model), label or model.rpartition("/")[2]
    request = LoadRequest(Path(source), arch, choose_device(device), trust_pickle, weights_key, tuple(ignored), label)
    request = replace(request, is_backbone=choice is not None)
    check_head(source, choice)
    if not trust_pickle and is_sandboxed(source):
        request = replace(request, content=request.read())
        run_in_sandbox(request, overrides)
    origin = {
        "model": model,
        "arch": arch,
        "trust_pickle": trust_pickle,
        "weights_key": weights_key,
        "ignore_key": ignored or None,
        "head": None if head is None else str(head),
        "reference": reference,
        "features": features,
        "prompts": zero_shot.prompts,
        "class_names": class_names,
        "default_class_names": default_class_names,
        **overrides,
    }
    classifier = load_model(source, request, overrides, choice, zero_shot)
    return replace(classifier, label=label or classifier.label, origin={**origin, "label": label})


def _described(model: object) -> str:
    if isinstance(model, type):
        return f"the class {model.__name__} (give an instance)"
    return "None" if model is None else f"a {type(model).__name__}"
