"""Detection of a normalisation that a network applies to its own input, as robust and deployed models do.

The network runs on images of a single colour, until its first layer with weights. A result before that layer that is
(x - mean) / std in each channel shows the mean and the std, whatever operators compute it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robench.errors import ran_out_of_memory

__all__ = [
    "Normalisation",
    "Triple",
    "channel_values",
    "find_normalisation",
    "first_values",
    "is_layer",
    "standardised",
]

_COLOURS = ((0.2, 0.4, 0.6), (0.6, 0.2, 0.4), (0.4, 0.8, 0.2))
"""Colours of three images. No channel is an affine function of another one, and every value is a multiple of 1/255."""
_ORDERS = ((0, 1, 2), (2, 1, 0))
_TOLERANCE = 0.02
"""Largest deviation from an affine function as a fraction of its range; bfloat16 has a precision of 0.008."""
_LAYERS = (
    "conv",
    "mm",
    "matmul",
    "::linear",
    "_linear",
    "einsum",
    "attention",
    "_norm",
    "normalization",
    "loop",
    "scan",
)
"""Parts of the names of operators at which the search ends, in torch and in ONNX."""
_MOST = 500
"""Largest number of operators before the first layer."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """The function (x - mean) / std of a network's first operators.

    Attributes:
        mean: Of red, green and blue, in the units of the network's input.
        std: Of red, green and blue, in the same units.
        full_scale: Value of white in the network's input, 1 or 255; None if mean and std are no statistics of images.
    """

    mean: Triple
    std: Triple
    full_scale: int | None


def find_normalisation(first: Callable[[Tensor], Sequence[Triple | None]], images: Tensor) -> Normalisation | None:
    """Return the normalisation that a network applies to its input, or None.

    Args:
        first: Function from images to the channels of the first results, as `first_values`.
        images: A batch that the network takes, (b, 3, h, w); only its shape, dtype and layout count.

    Raises:
        RuntimeError: The network ran out of memory.
    """
    runs = []
    for colour in _COLOURS:
        values = torch.tensor(colour, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
        runs.append(first(torch.empty_like(images).copy_(values)))
        if not runs[-1]:
            return None
    unknown = None
    for outputs in reversed(list(zip(*runs, strict=False))):
        affine = _affine([output for output in outputs if output is not None])
        if affine is None:
            continue
        mean, std = affine
        if (full_scale := _full_scale(mean, std)) is not None:
            return Normalisation(mean, std, full_scale)
        # A learned layer hardly changes images that are normalised before the network.
        is_slight = max(map(abs, mean)) < 0.3 and 0.7 < min(std) <= max(std) < 1.4
        unknown = unknown or (None if is_slight else Normalisation(mean, std, None))
    return unknown


def first_values(module: nn.Module, images: Tensor) -> list[Triple | None]:
    """Return the `channel_values` of each result of a module before its first layer; none if it fails before."""
    watch = _Watch()
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(0)  # Noise that the network adds is then the same for each colour.
    try:
        # Optimised TorchScript fuses operators on some devices.
        with torch.jit.optimized_execution(False), watch:  # type: ignore[attr-defined]
            module(images)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        if not watch.is_over:  # TorchScript turns _Enough into an error of its own.
            return []
    finally:
        generator.set_state(state)
    return watch.values


def channel_values(value: Tensor) -> Triple | None:
    """Return red, green and blue at the centre of an image; None for a tensor that is no image of three channels."""
    if value.ndim < 3 or value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
        return None
    axes = [axis for axis in (1, value.ndim - 1) if value.shape[axis] == 3] if value.ndim > 3 else [0, 1, 2]
    axis = next((axis for axis in axes if value.shape[axis] == 3), None)
    if axis is None or not value.numel():
        return None
    batch = 0 if value.ndim > 3 or axis != 0 else None
    centre = tuple(
        slice(None) if number == axis else 0 if number == batch else size // 2
        for number, size in enumerate(value.shape)
    )
    red, green, blue = value[centre].double().tolist()
    return red, green, blue


def is_layer(name: str) -> bool:
    """Return whether an operator ends the search for a normalisation."""
    return any(part in name.lower() for part in _LAYERS)


def standardised(value: Triple, mean: Sequence[float], variance: Sequence[float], epsilon: float) -> Triple:
    """Return the channels as a batch normalisation without weights leaves them."""
    red, green, blue = (
        (x - m) / math.sqrt(max(v, 0) + epsilon) if v + epsilon > 0 else math.nan
        for x, m, v in zip(value, mean, variance, strict=True)
    )
    return red, green, blue


class _Enough(Exception):  # noqa: N818 - It reports no error.
    """The first layer is reached."""


class _Watch(TorchDispatchMode):
    """Record the channels of every result, and end the run at the first layer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[Triple | None] = []
        self.is_over = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, because the alternative imports torch's compiler, which takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator unless it is a layer."""
        if self.is_over:
            raise _Enough
        name = func.name()
        if is_layer(name) or len(self.values) == _MOST:
            self.is_over = True
            if "batch_norm" in name:
                self._add_batch_norm(dict(_arguments(func, args, kwargs or {})))
            raise _Enough
        result = func(*args, **(kwargs or {}))
        self.values.append(channel_values(result) if isinstance(result, Tensor) else None)
        return result

    def _add_batch_norm(self, arguments: dict[str, Any]) -> None:
        mean, variance = arguments.get("running_mean"), arguments.get("running_var")
        channels = channel_values(arguments["input"])
        if channels is not None and mean is not None and variance is not None and mean.numel() == 3:
            epsilon = float(arguments.get("eps", arguments.get("epsilon", 0)))
            self.values.append(standardised(channels, mean.double().tolist(), variance.double().tolist(), epsilon))


def _arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from zip((argument.name for argument in func._schema.arguments), args, strict=False)
    yield from kwargs.items()


def _affine(outputs: Sequence[Triple]) -> tuple[Triple, Triple] | None:
    """Return mean and std if the channels are (x - mean) / std of the colours', perhaps as blue, green and red."""
    if len(outputs) < len(_COLOURS):
        return None
    for order in _ORDERS:
        lines = [
            _line([colour[order[channel]] for colour in _COLOURS], [output[channel] for output in outputs])
            for channel in range(3)
        ]
        if None not in lines:
            means, stds = zip(*(lines[order.index(channel)] for channel in range(3)), strict=True)
            return means, stds
    return None


def _line(inputs: Sequence[float], outputs: Sequence[float]) -> tuple[float, float] | None:
    """Return the mean and the std of outputs = (inputs - mean) / std, or None."""
    if not all(map(math.isfinite, outputs)):
        return None
    low, high = min(range(len(inputs)), key=inputs.__getitem__), max(range(len(inputs)), key=inputs.__getitem__)
    span = outputs[high] - outputs[low]
    slope = span / (inputs[high] - inputs[low])
    offset = outputs[low] - slope * inputs[low]
    deviation = max(abs(slope * x + offset - y) for x, y in zip(inputs, outputs, strict=True))
    if abs(slope) < 1e-6 or deviation > _TOLERANCE * abs(span):
        return None
    return round(-offset / slope, 6) + 0.0, 1 / slope  # + 0.0 removes the sign of zero


def _full_scale(mean: Triple, std: Triple) -> int | None:
    """Return the value of white in images with such statistics: 1, 255, or None if no images have them."""

    def near(value: float) -> bool:
        return all(abs(other / value - 1) < _TOLERANCE for other in std)

    if max(map(abs, mean)) < 1e-3:  # Only a scale.
        return 255 if near(255) or near(256) else 1 if near(1 / 255) or near(1 / 256) else None
    for scale in (1, 255):
        is_centre = all(0.1 <= value / scale <= 0.9 for value in mean)
        is_spread = all(0.04 <= value / scale <= 0.7 for value in std)
        if is_centre and (is_spread or near(1) or near(scale / 255)):
            return scale
    return None
