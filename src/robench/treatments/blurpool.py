"""BlurPool on a trained network: a strided layer becomes a dense layer, a blur and subsampling.

The tree of modules determines the position of the blur:

- before a strided 1x1 convolution;
- after the activation that follows any other strided convolution, or before the next convolution if no module is the activation;
- after a max-pool;
- in place of an average pool.

The convolutions that take the image stay unchanged. One run with hooks checks the positions. (torch.fx cannot trace
networks with control flow, such as those of transformers.)

Source: Zhang 2019, "Making Convolutional Networks Shift-Invariant Again", arXiv:1904.11486.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import CheckpointError, one_line
from robench.models import Classifier
from robench.models.architectures.cifar_resnet import PaddedShortcut
from robench.transforms.device import to_device
from robench.treatments.base import Method, Parameter, PreparedModel, Values, one_of

__all__ = ["BLURPOOL", "FILTERS", "blur"]

FILTERS: dict[str, tuple[int, ...]] = {
    "delta1": (1,),
    "rect2": (1, 1),
    "tri3": (1, 2, 1),
    "tri4": (1, 3, 3, 1),
    "bin5": (1, 4, 6, 4, 1),
}
"""One axis of each filter, before division by its sum; `delta1` blurs nothing and leaves a network unchanged."""


def blur(x: Tensor, taps: Sequence[int], stride: int = 2) -> Tensor:
    """Blur (b, c, h, w), reflected at the edges, and take every `stride`-th value: (b, c, ceil(h/stride), ceil(w/stride)).

    A filter of even length has one more tap after the middle than before it, which shifts the result by half a pixel.
    """
    if len(taps) == 1:
        # Kernels sum a view with gaps in another order, so the result is a dense copy.
        return x[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last)
    before = (len(taps) - 1) // 2
    after = len(taps) - 1 - before
    for axis in (2, 3):
        # torch's own padding refuses maps that are smaller than the filter.
        index = np.pad(np.arange(x.shape[axis]), (before, after), mode="reflect")
        x = x.index_select(axis, to_device(torch.from_numpy(index), x.device))
    weights = torch.tensor(taps, dtype=torch.float64)
    kernel = to_device((weights[:, None] * weights / weights.sum() ** 2).to(x.dtype), x.device)
    return functional.conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), stride=stride, groups=x.shape[1])


@dataclass(frozen=True)
class _Site:
    """A strided layer and the position of its blur.

    Attributes:
        layer: The strided layer.
        anchor: The module before or after which the blur runs.
        before: Whether the blur runs before `anchor`.
        keeps_stride: Whether the layer reads single pixels, and so subsamples the blurred map itself.
    """

    layer: Any
    anchor: nn.Module
    before: bool = False
    keeps_stride: bool = False


_KINDS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, PaddedShortcut)
"""Layers that may subsample, and that the tree of modules shows."""


def _sites(module: nn.Module, taps: Sequence[int]) -> list[_Site]:
    sites, seen = [], {id(layer) for layer in _stem(module)}
    for prefix, parent in module.named_modules():
        children = list(parent.named_children())
        for position, (child, layer) in enumerate(children, start=1):
            name = f"{prefix}.{child}" if prefix else child
            if id(layer) not in seen and _is_strided(name, layer, taps):
                seen.add(id(layer))  # A layer may have several parents.
                sites.append(_site(name, parent, layer, [following for _, following in children[position:]]))
    if not sites:
        raise CheckpointError(
            "the network has no layer of stride 2 that blurpool could change, except its first", "leave blurpool out"
        )
    return sites


def _stem(module: nn.Module) -> list[nn.Module]:
    """Return the convolutions that take the image: the first ones of the tree, with equal numbers of input channels."""
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return list(takewhile(lambda layer: layer.in_channels == convolutions[0].in_channels, convolutions))


def _is_strided(name: str, layer: nn.Module, taps: Sequence[int]) -> bool:
    """Return whether blurpool changes a layer; CheckpointError if the layer subsamples in a way of its own."""
    kind = next((kind for kind in _KINDS if isinstance(layer, kind)), None)
    if kind is None or _pair(getattr(layer, "stride", 1)) != (2, 2):
        return False
    if isinstance(layer, nn.AvgPool2d) and len(taps) == 1:
        return False  # A blur would replace its filter.
    if type(layer).forward is not kind.forward or getattr(layer, "return_indices", False):
        raise CheckpointError(
            f"blurpool cannot change {name}, a {type(layer).__name__}, whose padding depends on its stride",
            "leave blurpool out",
        )
    return True


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _site(name: str, parent: nn.Module, layer: nn.Module, rest: Sequence[nn.Module]) -> _Site:
    """Return the position of the blur of a layer; `rest` are the children of its parent after it."""
    if isinstance(layer, PaddedShortcut) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        return _Site(layer, layer, before=True, keeps_stride=True)
    if not isinstance(layer, nn.Conv2d):
        return _Site(layer, layer)
    pointwise = list(takewhile(_is_pointwise, rest))
    if isinstance(parent, nn.Sequential):
        return _Site(layer, [layer, *pointwise][-1])
    if pointwise and hasattr(pointwise[0], "act"):
        return _Site(layer, pointwise[0])  # timm's BatchNorm contains the activation.
    if len(pointwise) == len(rest):
        return _Site(layer, parent)
    convolution = next((module for module in rest if isinstance(module, nn.Conv2d)), None)
    if convolution is None or convolution.in_channels != layer.out_channels:
        raise CheckpointError(
            f"blurpool cannot tell where the activation after {name} is, because it knows only ResNets, MobileNets, VGG, DenseNets "
            "and similar networks",
            "leave blurpool out",
        )
    return _Site(layer, convolution, before=True)


def _is_pointwise(module: nn.Module) -> bool:
    """Return whether a module is a normalisation or an activation."""
    return isinstance(module, _BatchNorm | nn.Identity | nn.Dropout) or type(module).__module__ == activation.__name__


def _change(site: _Site, taps: Sequence[int]) -> None:
    layer = site.layer
    if isinstance(layer, nn.AvgPool2d):
        _replace_average(layer, taps)
        return
    if not site.keeps_stride:
        layer.stride = (1, 1)
    if isinstance(layer, nn.MaxPool2d) and layer.ceil_mode:
        layer.ceil_mode = False
        layer.register_forward_pre_hook(_pad_to_ceil)
    stride = 1 if site.keeps_stride else 2
    if site.before:
        site.anchor.register_forward_pre_hook(lambda _, inputs: (blur(inputs[0], taps, stride), *inputs[1:]))
    else:
        site.anchor.register_forward_hook(lambda _, __, output: blur(output, taps, stride))


def _pad_to_ceil(pool: Any, inputs: Any) -> Tensor:
    """Add the rows and columns that a max-pool of stride 2 reads if it rounds its output size up."""
    (x,) = inputs
    kernel, padding, dilation = (_pair(getattr(pool, name)) for name in ("kernel_size", "padding", "dilation"))
    margins = []
    for axis, size in enumerate(x.shape[2:]):
        dense = size + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1)
        last = 2 * math.ceil((dense - 1) / 2)
        # The last window must begin within the image.
        margins.append(max(0, last + 1 - dense) if last < size + padding[axis] else 0)
    return functional.pad(x, (0, margins[1], 0, margins[0]), value=-math.inf)


def _replace_average(pool: nn.AvgPool2d, taps: Sequence[int]) -> None:
    """Replace an average by a blur of the same output size."""
    average = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)

    def blurred(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        height, width = average(inputs[0][:1, :1]).shape[2:]
        return blur(output, taps)[:, :, :height, :width]

    pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode = 1, 1, 0, False
    pool.register_forward_hook(blurred)


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    taps = FILTERS[str(values["filter"])]
    sites = _sites(classifier.module, taps)
    runs = _check(classifier, sites)
    for site in sites:
        _change(site, taps)
    if runs and (error := _failure(classifier)) is not None:
        raise CheckpointError(
            f"{classifier.label} does not run with blurpool ({one_line(error)})", "leave blurpool out"
        ) from error
    return classifier, None


def _check(classifier: Classifier, sites: Sequence[_Site]) -> bool:
    """Run the network, compare its calls with the sites, and return whether it runs.

    Raises:
        CheckpointError: If an anchor does not run once for each call of its layer, or if operators outside of `_KINDS` subsample.
    """
    calls: Counter[nn.Module] = Counter()
    operators = _Subsampling()
    with ExitStack() as stack:
        for module in classifier.module.modules():
            stack.enter_context(module.register_forward_hook(lambda module, *_: calls.update([module])))
            if isinstance(module, _KINDS):
                stack.enter_context(module.register_forward_pre_hook(operators.enter))
                stack.enter_context(module.register_forward_hook(operators.leave))
        stack.enter_context(operators)
        if _failure(classifier) is not None:
            return False
    if any(calls[site.layer] != calls[site.anchor] for site in sites):
        raise CheckpointError(
            f"{classifier.label} uses one activation for several layers, and blurpool would blur after each of them",
            "give each layer an activation of its own",
        )
    if operators.counts:
        names = ", ".join(f"{count} {name}" for name, count in operators.counts.items())
        raise CheckpointError(
            f"{classifier.label} subsamples by two outside of the layers that blurpool can change ({names})",
            "leave blurpool out",
        )
    return True


class _Subsampling(TorchDispatchMode):
    """Counts the operators that halve both axes of a map outside of the layers in `_KINDS`.

    Operators of a backward pass and transposed convolutions have other names.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self._depth = 0
        self._halved: tuple[object, object] = None, None

    def enter(self, *_: object) -> None:
        """Enter a layer of `_KINDS`."""
        self._depth += 1

    def leave(self, *_: object) -> None:
        """Leave a layer of `_KINDS`."""
        self._depth -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._depth:
            return output
        operator = func.overloadpacket.__name__
        names = (argument.name for argument in func._schema.arguments)
        arguments = dict(zip(names, args, strict=False)) | (kwargs or {})
        if operator == "slice" and arguments.get("step") == 2:
            # x[:, :, ::2, ::2] is a slice of a slice; a single slice keeps one axis.
            source, axis = self._halved
            if source is arguments["self"] and axis != arguments["dim"]:
                self.counts["slice ::2"] += 1
            self._halved = output, arguments["dim"]
        # The default stride of a pool is its kernel size.
        stride = arguments.get("stride") or arguments.get("kernel_size") or ()
        if operator in _OPERATORS and not arguments.get("transposed") and set(stride) == {2}:
            self.counts[_OPERATORS[operator]] += 1
        return output


_OPERATORS = {
    "conv2d": "conv2d",
    "convolution": "conv2d",
    "max_pool2d": "max_pool2d",
    "max_pool2d_with_indices": "max_pool2d",
    "avg_pool2d": "avg_pool2d",
}
"""Names of operators that may subsample, as torch dispatches them, and as users call them."""


def _failure(classifier: Classifier) -> Exception | None:
    """Return the error of a network on an image of its input size, if it fails."""
    shape = classifier.batch or 1, classifier.preprocessing.bands, *classifier.preprocessing.shape
    try:
        classifier.logits(torch.zeros(shape, dtype=torch.uint8, device=classifier.device))
    except Exception as error:  # noqa: BLE001 - maps of wrong sizes fail in convolutions, views and sums alike
        return error
    return None


def _notes(values: Values) -> Iterator[str]:
    if len(FILTERS[str(values["filter"])]) % 2 == 0:
        yield f"{values['filter']} has an even number of taps, and shifts the image by half a pixel at every layer"


BLURPOOL = Method(
    name="blurpool",
    summary="strided layers become a dense layer, a blur and subsampling, without fine-tuning",
    data="none",
    per_image="yes",
    source="Zhang 2019, arXiv:1904.11486",
    stage="network",
    parameters=(Parameter("filter", one_of(*FILTERS), " | ".join(FILTERS), ("tri3", "tri3")),),
    layers=lambda module, values: len(_sites(module, FILTERS[str(values["filter"])])),
    start=_start,
    notes=_notes,
)
