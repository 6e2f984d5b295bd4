"""A trained model that takes uint8 images and returns logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robench.errors import OptionError
from robench.models.outputs import Head, Output, SelectOutput, as_logits
from robench.models.preprocessing import Preprocessing
from robench.suites.geometry import height_width, size_text
from robench.transforms import resize as pixels
from robench.transforms.device import constant, to_device
from robench.types import FloatImages, Images, Logits, Size

__all__ = ["Classifier"]


@dataclass(frozen=True)
class Classifier:
    """A network with its preprocessing.

    Attributes:
        label: Name in tables.
        arch: Source of the network's code, such as `family:name`.
        module: The network, in eval mode, on `device`, without gradients.
        preprocessing: The preprocessing that the network was trained with.
        classes: Number of classes; two for a network with a single output.
        sha256: Of the bytes of the weights file; of the state dict if the weights are published under a name.
        device: Device of the network.
        head: Meaning of the network's outputs.
        batch: The only batch size that the network takes; None for any.
        dtype: Dtype of the network's input.
        torch_runs: Whether torch computes the network, so that its precision can be chosen.
        outputs: Candidates for the logits, if they differ in their number of classes and `with_classes` has not chosen yet.
            Until then the network's first output is used. Empty for all other networks.
        groups: Network outputs of each class of the dataset; None if each output is a class.
        group_rule: The logit of a group: the largest one of its outputs, or the logarithm of the mean of their probabilities.
        assumes_size: Whether the input size is ImageNet's because neither the model nor the caller states one.
        class_names: Names of the outputs that the file states, in their order; empty if it states none.
        head_facts: Facts of a head that robench made, for the manifest; empty for a head of the file.
        reference_sha: SHA-256 of the images that such a head is made from.
        notes: Messages for the user about loading, one line each.
        warnings: Messages about likely mistakes, such as options that contradict the model, one line each.
        origin: Arguments of `load_classifier`, without the device, that load it in another process; None if a caller built it.
    """

    label: str
    arch: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: int
    sha256: str
    device: torch.device
    head: Head = "logits"
    batch: int | None = None
    dtype: torch.dtype = torch.float32
    torch_runs: bool = True
    outputs: tuple[Output, ...] = ()
    groups: tuple[tuple[int, ...], ...] | None = None
    group_rule: Literal["max", "mean"] = "max"
    assumes_size: bool = False
    class_names: tuple[str, ...] = ()
    head_facts: Mapping[str, Any] = field(default_factory=dict)
    reference_sha: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None

    def logits(self, images: Images, native: bool = False) -> Logits:
        """Return the logits of images, as float32 on `device`.

        Images of another size than the network's input are resized, not cropped: the condition has chosen the region.

        Args:
            images: (b, channels, h, w) uint8 on any device.
            native: Whether to run the network at the images' own size instead.

        Returns:
            (b, classes), or (b, groups) if there are groups; NaN if any logit of the image is not finite.
        """
        with torch.no_grad():  # Tensors of inference mode that a module keeps could not be trained later.
            return self._grouped(self._run(self.network_input(images, native)))

    def exit_logits(self, images: Images, count: int) -> list[Logits]:
        """Return the logits of the first `count` outputs of a network with several exits, each as `logits` returns them.

        Args:
            images: (b, channels, h, w) uint8 on any device.
            count: Number of exits.
        """
        with torch.no_grad():
            returned = self.module(self.network_input(images))
            return [self._grouped(as_logits(one, self.head, len(images))) for one in returned[:count]]

    def network_input(self, images: Images, native: bool = False) -> Tensor:
        """Return uint8 images (b, channels, h, w) as the network takes them; at their own size if `native`."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, not {images.dtype}")
        images = to_device(images, self.device) if images.device.type == "cpu" else images.to(self.device)
        size = self.preprocessing.shape
        if not native and tuple(images.shape[2:]) != size:
            images = pixels.resize(images, size, self.preprocessing.interpolation)
        own = self.preprocessing
        return pixels.normalise(images, own.mean, own.std, reverse=own.channels == "bgr", dtype=self.dtype)

    def differentiable_logits(self, images: FloatImages) -> Logits:
        """Return the logits of images, with the gradients that they have.

        Args:
            images: (b, c, h, w) float32 in [0, 1] on `device`, of the network's input size.

        Returns:
            (b, classes) float32, or (b, groups) if there are groups; NaN if any logit of the image is not finite.
        """
        own = self.preprocessing
        mean, std = (
            constant(images.device, tuple, tuple(map(float, one))).view(-1, 1, 1) for one in (own.mean, own.std)
        )
        values = (images - mean) / std
        values = values.flip(1) if own.channels == "bgr" else values
        return self._grouped(self._run(values.to(self.dtype).contiguous(memory_format=torch.channels_last)))

    def _grouped(self, logits: Logits) -> Logits:
        if self.groups is None:
            return logits
        grouped = _GROUP_RULES[self.group_rule](logits, self.groups)
        return torch.where(logits.isfinite().all(dim=1, keepdim=True), grouped, torch.nan)

    def with_classes(self, classes: int) -> Classifier:
        """Return the same classifier with the first of `outputs` that has `classes` classes; itself if there is none."""
        output = next((output for output in self.outputs if output.classes == classes), None)
        if output is None:
            return self
        return replace(
            self,
            module=SelectOutput(self.module, output.index) if output.index else self.module,
            classes=classes,
            head=output.head,
            outputs=(),
            notes=(*self.notes, *output.notes),
        )

    def with_class_groups(
        self, groups: tuple[tuple[int, ...], ...], rule: Literal["max", "mean"] = "max"
    ) -> Classifier:
        """Return the same classifier with a class for each group of outputs; see `group_rule`."""
        return replace(self, groups=groups, group_rule=rule)

    def gflops(self, input_size: Size) -> float | None:
        """Return the floating-point operations for one image in 10^9; a multiplication and an addition count as two.

        Args:
            input_size: Side of a square image in pixels, or its height and width.

        Returns:
            The count, or None if another library than torch runs the network.

        Raises:
            OptionError: The network cannot run at this size.
        """
        image = torch.zeros(
            (1, self.preprocessing.bands, *height_width(input_size)), dtype=torch.uint8, device=self.device
        )
        try:
            with FlopCounterMode(display=False) as counter:
                self.logits(image, native=True)
        except Exception as error:
            # Networks have no common error for a size that they cannot take: convolutions, views and assertions fail.
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise OptionError(
                f"{self.label} cannot run at {size_text(input_size)} px ({reason})",
                "give the model's own size as --size, or other sizes as --resolution",
            ) from error
        return float(counter.get_total_flops()) / (1e9 * (self.batch or 1)) or None

    def _run(self, values: Tensor) -> Logits:
        if self.batch is None:
            return as_logits(self.module(values), self.head, len(values))
        logits = []
        for part in values.split(self.batch):
            # The images of the last batch are repeated until it is full.
            batch = part if len(part) == self.batch else part[torch.arange(self.batch, device=part.device) % len(part)]
            batch = batch.contiguous(memory_format=torch.channels_last)
            logits.append(as_logits(self.module(batch), self.head, self.batch)[: len(part)])
        return torch.cat(logits)


def _largest(logits: Logits, groups: tuple[tuple[int, ...], ...]) -> Logits:
    """(b, classes) -> (b, groups): the largest logit of each group."""
    return logits[:, constant(logits.device, _padded, groups)].amax(dim=2)


def _mean_probability(logits: Logits, groups: tuple[tuple[int, ...], ...]) -> Logits:
    """(b, classes) -> (b, groups): the logarithm of the mean of the probabilities of each group."""
    weights = constant(logits.device, _log_weights, groups)
    members = logits.log_softmax(dim=1)[:, constant(logits.device, _padded, groups)]
    return (members + weights).logsumexp(dim=2)


_GROUP_RULES = {"max": _largest, "mean": _mean_probability}


def _log_weights(groups: tuple[tuple[int, ...], ...]) -> list[list[float]]:
    """Return the logarithm of the weight of each output in the mean of its group; minus infinity for padding."""
    longest = max(map(len, groups))
    return [[-math.log(len(group))] * len(group) + [-math.inf] * (longest - len(group)) for group in groups]


def _padded(groups: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return groups of one length; a shorter one repeats its first output."""
    longest = max(map(len, groups))
    return [[*group, *group[:1] * (longest - len(group))] for group in groups]
