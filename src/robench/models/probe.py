"""Run a loaded module once to learn its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, one_line, ran_out_of_memory
from robench.models.failures import find_hint
from robench.models.formats.base import LoadedModel
from robench.models.memory import OUT_OF_MEMORY
from robench.models.outputs import (
    Output,
    SelectOutput,
    as_logits,
    ends_in_sigmoid,
    has_row_per_image,
    head_of,
    logit_indices,
    output_tensor,
    shape_text,
)
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.in_network import Normalisation, find_normalisation, first_values
from robench.types import Shape

__all__ = ["ProbeResult", "input_channels", "probe", "probe_normalisation", "probe_notes"]

_MAX_BATCH = 4096
"""Largest fixed batch that a module may require."""
_ALLOCATORS = ("Failed to allocate memory", "bad_alloc", "bad allocation")
"""Texts of onnxruntime and C++, which have no error class for a lack of memory on the CPU."""
_ONE_IMAGE = "its code is fixed to one image at a time; export it for any batch size"
_CLASSIFIER = "a classifier gives logits of shape (images, classes)"


@dataclass(frozen=True)
class ProbeResult:
    """Outputs of a module for a blank image and an image of noise.

    Attributes:
        count: Number of images.
        dtype: Dtype of the input.
        shapes: Shapes, or types, of the elements of a tuple; empty if the module has only one output.
        outputs: Candidates for the logits.
    """

    count: int
    dtype: torch.dtype
    shapes: tuple[str, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class _Batch:
    """The images of a probe.

    Attributes:
        loaded: The module that runs on them.
        count: Number of images.
        bands: Number of channels.
        size: Height and width of the images in pixels.
        dtype: Dtype of the module's input.
        device: Device of the module.
    """

    loaded: LoadedModel
    count: int
    bands: int
    size: Shape
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, loaded: LoadedModel, bands: int, input_size: Shape, device: torch.device) -> _Batch:
        """Return the batch for a module; raise CheckpointError if it requires an impossible one."""
        count = 2 if loaded.batch is None else loaded.batch
        if not 1 <= count <= _MAX_BATCH:
            raise CheckpointError(f"{loaded.label} requires batches of {count} images", "export it for any batch size")
        parameters = loaded.module.parameters()
        dtype = next((value.dtype for value in parameters if value.is_floating_point()), torch.float32)
        return cls(loaded, count, bands, input_size, dtype, device)

    def laid_out(self, images: Tensor) -> Tensor:
        """Return images as the module takes them."""
        return images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def runs_alone(self) -> bool:
        """Return whether the module runs on a single image."""
        with suppress(Exception), torch.inference_mode():
            noise = torch.randn((1, self.bands, *self.size), generator=torch.Generator().manual_seed(0))
            self.loaded.module(self.laid_out(noise))
            return True
        return False


def probe(loaded: LoadedModel, preprocessing: Preprocessing, device: torch.device) -> ProbeResult:
    """Run a module that is on `device` on a batch of images.

    Args:
        loaded: The module, its batch size, and its last operation if that is known.
        preprocessing: The preprocessing that the run uses.
        device: Device of the images.

    Raises:
        CheckpointError: The module does not run at this size, or does not give at least two classes.
        DeviceError: The images do not fit on the device.
    """
    batch = _Batch.of(loaded, preprocessing.bands, preprocessing.shape, device)
    with _translated_errors(batch), torch.inference_mode():
        noise = torch.rand((1, batch.bands, *batch.size), generator=torch.Generator().manual_seed(0))
        images = torch.cat([torch.zeros_like(noise), noise]).repeat((batch.count + 1) // 2, 1, 1, 1)[: batch.count]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        images = batch.laid_out((images - mean) / std)
        returned = loaded.module(images)
        indices: list[int | None] = [*logit_indices(returned, batch.count)] or [None]
        outputs = tuple(_output(loaded, images, returned, index) for index in indices)
    shapes = () if indices == [None] else tuple(map(_shape_or_type, returned))
    return ProbeResult(batch.count, batch.dtype, shapes, outputs)


def input_channels(module: nn.Module) -> int | None:
    """Return the number of channels that the first convolution of a module takes; None without one."""
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def probe_normalisation(loaded: LoadedModel, input_size: Shape, device: torch.device) -> Normalisation | None:
    """Return the normalisation that a module on `device` applies to its input itself, or None.

    Args:
        loaded: The module, and its batch size.
        input_size: Height and width of the images in pixels.
        device: Device of the images.

    Raises:
        DeviceError: The images do not fit on the device.
    """
    batch = _Batch.of(loaded, 3, input_size, device)
    first = loaded.first_values or partial(first_values, loaded.module)
    with _translated_errors(batch), torch.inference_mode():
        return find_normalisation(first, batch.laid_out(torch.zeros(batch.count, 3, *input_size)))


def probe_notes(label: str, result: ProbeResult, output: Output) -> tuple[str, ...]:
    """Return the warnings for a user whose run takes one of the outputs."""
    notes = []
    if result.dtype not in (torch.float32, torch.float64):
        notes.append(f"{label} computes in {str(result.dtype).removeprefix('torch.')}, the precision of its weights")
    if output.index is not None:
        shapes = f"{label} gives {len(result.shapes)} outputs for {result.count} images, {' and '.join(result.shapes)}"
        notes.append(f"{shapes}: number {output.index + 1} is used as its logits")
    if output.head in ("probabilities", "probability"):
        ending = "softmax" if output.head == "probabilities" else "sigmoid"
        notes.append(f"{label} ends in a {ending}: its outputs are used as probabilities")
    elif output.head == "logit":
        notes.append(f"{label} has one output: it is used as the logit of the second of two classes")
    if not output.is_finite:
        notes.append(f"{label} gives non-finite logits even for a blank image: its weights may be damaged")
    return tuple(notes)


def _output(loaded: LoadedModel, images: Tensor, returned: object, index: int | None) -> Output:
    """Describe an output; raise CheckpointError if its columns are no classes."""
    label, count = loaded.label, len(images)
    try:
        values = output_tensor(returned if index is None else returned[index])  # type: ignore[index]
    except TypeError as error:
        raise CheckpointError(f"{label} gives {error}", _CLASSIFIER) from error
    is_table = all(size == 1 for size in values.shape[2:]) and has_row_per_image(values, count)
    if not values.is_floating_point() or not is_table:
        raise CheckpointError(
            f"{label} gives a {shape_text(values)} tensor of {values.dtype} for {count} images", _CLASSIFIER
        )
    softmax = loaded.softmax
    if softmax is None and values.numel() == count:
        module: nn.Module = loaded.module if index is None else SelectOutput(loaded.module, index)
        softmax = ends_in_sigmoid(partial(module, images))
    values = values.reshape(count, -1)
    if not values.shape[1]:
        raise CheckpointError(f"{label} gives no classes", _CLASSIFIER)
    head = head_of(values, softmax)
    return Output(index, as_logits(values, head, count).shape[1], head, bool(torch.isfinite(values).all()))


@contextmanager
def _translated_errors(batch: _Batch) -> Iterator[None]:
    """Turn any error of a module into a CheckpointError, and a lack of memory on a GPU into a DeviceError."""
    label, (height, width) = batch.loaded.label, batch.size
    kind = "" if batch.bands == 3 else f" of {batch.bands} channel{'s' if batch.bands > 1 else ''}"
    problem = f"{label} does not run on {height}x{width} images{kind}"
    try:
        yield
    except CheckpointError:
        raise
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{problem}: they do not fit on {batch.device}", "use another --device") from error
    except Exception as error:
        # A module may check its input, or fail at it with any error.
        if ran_out_of_memory(error) or any(text in str(error) for text in _ALLOCATORS):
            raise CheckpointError(
                f"{problem}: it {OUT_OF_MEMORY}", "use a machine with more memory, or a smaller model"
            ) from error
        hint = _ONE_IMAGE if batch.count == 2 and batch.runs_alone() else find_hint(error)
        if not hint and isinstance(error, AttributeError) and batch.loaded.arch.startswith("pickle:"):
            hint = "other versions of its libraries may have written it; load its state dict with --arch"
        raise CheckpointError(f"{problem} ({_reason(error)})", hint) from error


def _reason(error: Exception) -> str:
    """Return the text of an error, with its class if the text says little without it."""
    name = type(error).__name__
    text = one_line(error)
    return (
        f"{name}: {text}"
        if isinstance(error, LookupError | TypeError | NameError | ArithmeticError) and text != name
        else text
    )


def _shape_or_type(value: object) -> str:
    return shape_text(value) if isinstance(value, Tensor) else type(value).__name__
