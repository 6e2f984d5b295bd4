"""BlurPool on a trained network: a strided layer becomes a dense one, a blur, and the subsampling.

Source: Zhang 2019, arXiv:1904.11486. Where the blur goes is found in the tree of modules: before a strided 1x1 convolution; after
the activation that follows any other, which is where the next convolution begins if the activation is no module; after a
max-pool; in place of an average pool. The convolution that takes the image stays as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
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
"""One axis of each filter, not yet divided by its sum. `delta1` blurs nothing, and leaves a network what it is."""


def blur(x: Tensor, taps: Sequence[int], stride: int = 2) -> Tensor:
    """(b, c, h, w) -> every `stride`-th value of the blurred, (b, c, ceil(h/stride), ceil(w/stride)); reflected at the edges.

    A filter of even length has one more tap after the middle than before it: the result is shifted by half a pixel.
    """
    if len(taps) == 1:
        # Dense: kernels sum a view with gaps in another order.
        return x[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last)
    before = (len(taps) - 1) // 2
    after = len(taps) - 1 - before
    for axis in (2, 3):
        # By hand, because torch's own padding refuses maps that are smaller than the filter.
        place = np.pad(np.arange(x.shape[axis]), (before, after), mode="reflect")
        x = x.index_select(axis, to_device(torch.from_numpy(place), x.device))
    one = torch.tensor(taps, dtype=torch.float64)
    kernel = to_device((one[:, None] * one / one.sum() ** 2).to(x.dtype), x.device)
    return functional.conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), stride=stride, groups=x.shape[1])


@dataclass(frozen=True)
class _Site:
    """A strided layer, and the module before or after which the blur comes.

    picks: whether the layer looks at single pixels, and so can go on to subsample what is blurred before it.
    """

    layer: Any
    place: nn.Module
    before: bool = False
    picks: bool = False


_KINDS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, PaddedShortcut)
"""Layers that may subsample, and that are found in the tree."""


def _sites(module: nn.Module, taps: Sequence[int]) -> list[_Site]:
    found, seen = [], [id(one) for one in _stem(module)]
    for name, parent in module.named_modules():
        children = list(parent.named_children())
        for number, (own, layer) in enumerate(children):
            whole = f"{name}.{own}" if name else own
            if id(layer) not in seen and _is_strided(whole, layer, taps):
                seen.append(id(layer))  # What has several parents is one layer.
                found.append(_site(whole, parent, layer, [one for _, one in children[number + 1 :]]))
    if not found:
        raise CheckpointError(
            "the network has no layer of stride 2 that blurpool could change, beside its first: leave it out"
        )
    return found


def _stem(module: nn.Module) -> list[nn.Module]:
    """The convolutions that take the image: the first of the tree, and those after it that take as many channels."""
    convolutions = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
    return list(takewhile(lambda one: one.in_channels == convolutions[0].in_channels, convolutions))


def _is_strided(name: str, layer: nn.Module, taps: Sequence[int]) -> bool:
    """Whether a layer subsamples by two, and is to be changed; CheckpointError where it does so in a way of its own."""
    kind = next((kind for kind in _KINDS if isinstance(layer, kind)), None)
    if kind is None or _pair(getattr(layer, "stride", 1)) != (2, 2):
        return False
    if isinstance(layer, nn.AvgPool2d) and len(taps) == 1:
        return False  # It has a filter already, which a blur takes the place of.
    if type(layer).forward is not kind.forward or getattr(layer, "return_indices", False):
        raise CheckpointError(
            f"blurpool cannot change {name}, a {type(layer).__name__}, whose padding depends on its stride"
        )
    return True


def _pair(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _site(name: str, parent: nn.Module, layer: nn.Module, rest: Sequence[nn.Module]) -> _Site:
    if isinstance(layer, PaddedShortcut) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        return _Site(layer, layer, before=True, picks=True)
    if not isinstance(layer, nn.Conv2d):
        return _Site(layer, layer)
    following = list(_pointwise(rest))
    if isinstance(parent, nn.Sequential) or (following and hasattr(following[0], "act")):
        # timm's BatchNorm holds the activation.
        return _Site(
            layer, following[-1] if isinstance(parent, nn.Sequential) and following else (following or [layer])[0]
        )
    if len(following) == len(rest):
        return _Site(layer, parent)
    convolution = next((one for one in rest if isinstance(one, nn.Conv2d)), None)
    if convolution is None or convolution.in_channels != layer.out_channels:
        raise CheckpointError(
            f"blurpool cannot tell where the activation after {name} is: it knows ResNets, MobileNets, VGG, DenseNets and the like"
        )
    return _Site(layer, convolution, before=True)


def _pointwise(rest: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """The normalisation and activation that follow a convolution."""
    for one in rest:
        if not isinstance(one, _BatchNorm | nn.Identity | nn.Dropout) and type(one).__module__ != activation.__name__:
            return
        yield one


def _change(site: _Site, taps: Sequence[int]) -> None:
    layer = site.layer
    if isinstance(layer, nn.AvgPool2d):
        _replace_average(layer, taps)
        return
    if not site.picks:
        layer.stride = (1, 1)
    if isinstance(layer, nn.MaxPool2d) and layer.ceil_mode:
        layer.ceil_mode = False
        layer.register_forward_pre_hook(lambda one, inputs: _filled_up(one, *inputs))
    stride = 1 if site.picks else 2
    if site.before:
        site.place.register_forward_pre_hook(lambda _, inputs: (blur(inputs[0], taps, stride), *inputs[1:]))
    else:
        site.place.register_forward_hook(lambda _, __, output: blur(output, taps, stride))


def _filled_up(pool: Any, x: Tensor) -> Tensor:
    """Add the rows and columns below and to the right that a max-pool of stride 2 looks at where it rounds its size up."""
    kernel, padding, dilation = (_pair(getattr(pool, name)) for name in ("kernel_size", "padding", "dilation"))
    more = []
    for axis, size in enumerate(x.shape[2:]):
        dense = size + 2 * int(str(padding[axis])) - int(str(dilation[axis])) * (int(str(kernel[axis])) - 1)
        last = 2 * math.ceil((dense - 1) / 2)
        # The last window must begin within the image.
        more.append(last + 1 - dense if last < size + int(str(padding[axis])) else 0)
    return functional.pad(x, (0, max(0, more[1]), 0, max(0, more[0])), value=-math.inf)


def _replace_average(pool: nn.AvgPool2d, taps: Sequence[int]) -> None:
    """Blur in its place, to a map of the same size."""
    average = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)

    def blurred(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        height, width = average(inputs[0][:1, :1]).shape[2:]
        return blur(output, taps)[:, :, :height, :width]

    pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode = 1, 1, 0, False
    pool.register_forward_hook(blurred)


def _taps(values: Values) -> tuple[int, ...]:
    return FILTERS[str(values["filter"])]


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    taps = _taps(values)
    sites = _sites(classifier.module, taps)
    before = _watched(classifier, sites)
    for site in sites:
        _change(site, taps)
    if before is None and (error := _failure(classifier)) is not None:
        raise CheckpointError(
            f"{classifier.label} does not run with blurpool ({one_line(error)}): its strided layers are not where a blur can be"
        ) from error
    return classifier, None


class _Subsampling(TorchDispatchMode):
    """Counts the operators that halve both axes of a map outside of the layers that are found in the tree.

    Those of a backward pass, and transposed convolutions called as such, have other names.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()
        self.layers = 0
        self._halved: tuple[object, object] = None, None

    def enter(self, *_: object) -> None:
        """Begin a layer that is known."""
        self.layers += 1

    def leave(self, *_: object) -> None:
        """End it."""
        self.layers -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if not self.layers:
            names = (one.name for one in func._schema.arguments)
            self._look(func.overloadpacket.__name__, dict(zip(names, args, strict=False)) | (kwargs or {}), output)
        return output

    def _look(self, operator: str, given: dict[str, Any], output: object) -> None:
        if operator == "slice" and given.get("step") == 2:
            # x[:, :, ::2, ::2] is two slices, the second of what the first gives; one alone leaves an axis as it is.
            halved, axis = self._halved
            if halved is given["self"] and axis != given["dim"]:
                self.found["slice ::2"] += 1
            self._halved = output, given["dim"]
        elif operator in _OPERATORS and not given.get("transposed"):
            # A pool without a stride has its kernel's.
            stride = given.get("stride") or given.get("kernel_size") or (1,)
            if set(stride) == {2}:
                self.found[_OPERATORS[operator]] += 1


_OPERATORS = {
    "conv2d": "conv2d",
    "convolution": "conv2d",
    "max_pool2d": "max_pool2d",
    "max_pool2d_with_indices": "max_pool2d",
    "avg_pool2d": "avg_pool2d",
}
"""Those that may subsample, as torch dispatches them, by the name under which they are called."""


def _watched(classifier: Classifier, sites: Sequence[_Site]) -> Exception | None:
    """`_failure`; CheckpointError where it passes a site not once a layer, or subsamples where no site is."""
    calls: Counter[int] = Counter()
    others = _Subsampling()
    layers = [one for one in classifier.module.modules() if isinstance(one, _KINDS)]
    watched = {id(one): one for site in sites for one in (site.layer, site.place)}.values()
    handles = [one.register_forward_hook(lambda module, *_: calls.update([id(module)])) for one in watched]
    handles += [one.register_forward_pre_hook(others.enter) for one in layers]
    handles += [one.register_forward_hook(others.leave) for one in layers]
    try:
        with others:
            failure = _failure(classifier)
    finally:
        for handle in handles:
            handle.remove()
    if failure is not None:
        return failure
    if any(calls[id(site.layer)] != calls[id(site.place)] for site in sites):
        raise CheckpointError(
            f"{classifier.label} uses one activation for several layers, and blurpool would blur after each: give each its own"
        )
    if others.found:
        places = ", ".join(f"{count} {name}" for name, count in others.found.items())
        raise CheckpointError(
            f"{classifier.label} subsamples by two outside of the layers that blurpool can change ({places}), and would be changed in "
            "part: leave it out"
        )
    return None


def _failure(classifier: Classifier) -> Exception | None:
    """What a network raises for an image of its own size, if anything."""
    side = classifier.preprocessing.crop
    image = torch.zeros((classifier.batch or 1, 3, side, side), dtype=torch.uint8, device=classifier.device)
    try:
        classifier.logits(image)
    except Exception as error:  # noqa: BLE001 - maps that do not fit each other fail in convolutions, views and sums alike
        return error
    return None


def _remarks(values: Values) -> Iterator[str]:
    if len(_taps(values)) % 2 == 0:
        yield f"{values['filter']} has an even number of taps, and shifts the image by half a pixel at every layer"


BLURPOOL = Method(
    name="blurpool",
    summary="strided layers become a dense layer, a blur and subsampling, without fine-tuning",
    data="none",
    per_image="yes",
    source="Zhang 2019, arXiv:1904.11486",
    stage="network",
    parameters=(Parameter("filter", one_of(*FILTERS), " | ".join(FILTERS), ("tri3", "tri3")),),
    layers=lambda module, values: len(_sites(module, _taps(values))),
    start=_start,
    notes=_remarks,
)
