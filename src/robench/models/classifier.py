"""A trained model as the loop sees it: uint8 images in, logits out, with the preprocessing it was trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robench.errors import OptionError
from robench.models.outputs import Head, Output, SelectOutput, as_logits
from robench.models.preprocessing import Preprocessing
from robench.transforms import resize as pixels
from robench.transforms.device import to_device
from robench.types import Images, Logits

__all__ = ["Classifier"]


@dataclass(frozen=True)
class Classifier:
    """A model ready to be measured.

    label: its name in tables. arch: where its code comes from, as `family:name`.
    module: in eval mode, on `device`, without gradients.
    classes: outputs of its head, two where it has one output alone.
    sha256: of the weights file's bytes; of the state dict where the weights come by name.
    head: what its outputs are.  batch: the only batch size it takes, None for any.  dtype: of its input.
    torch_runs: whether torch computes it, so that its precision can be chosen.
    outputs: those of a tuple that differ in their number of classes: which of them holds the logits, `taking` has yet to say,
        and until then it is the first. None in all other models.
    groups: which outputs each class of the dataset stands for, None where they are the classes themselves.
    notes: what a user should know about how it was loaded, one line each.
    origin: arguments of `load_classifier`, but for the device, that load it again elsewhere; None where a caller made it.
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
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None

    def logits(self, images: Images, native: bool = False) -> Logits:
        """(b, 3, h, w) uint8 on any device -> (b, classes) float32 on `device`; (b, groups) where there are groups.

        Images of another side than the model's are resized, never cropped: the condition chose what is to be seen.
        native: run the network at the images' own side instead.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, not {images.dtype}")
        images = to_device(images, self.device) if images.device.type == "cpu" else images.to(self.device)
        side = self.preprocessing.crop
        if not native and tuple(images.shape[2:]) != (side, side):
            images = pixels.resize(images, (side, side), self.preprocessing.interpolation)
        with torch.inference_mode():
            # Channels last: the layout in which convolutions run fastest, on CPUs about twice as fast.
            values = self._normalised(images).to(self.dtype).contiguous(memory_format=torch.channels_last)
            logits = self._run(values)
            return logits if self.groups is None else _grouped(logits, self.groups)

    def with_classes(self, classes: int) -> Classifier:
        """Return the same model with the first of its `outputs` that has so many classes; itself where there is no choice."""
        chosen = next((one for one in self.outputs if one.classes == classes), None)
        if chosen is None:
            return self
        return replace(
            self,
            module=SelectOutput(self.module, chosen.place) if chosen.place else self.module,
            classes=classes,
            head=chosen.head,
            outputs=(),
            notes=(*self.notes, *chosen.notes),
        )

    def with_class_groups(self, groups: tuple[tuple[int, ...], ...]) -> Classifier:
        """Return the same model with a class for each group of outputs: its logit is the largest of theirs."""
        return replace(self, groups=groups)

    def gflops(self, side: int) -> float | None:
        """Floating-point operations of one image of `side` pixels, in 10^9, an addition and a multiplication counted as two.

        None where torch sees none, because another library runs the network. Raises OptionError where the network cannot run
        at that size.
        """
        image = torch.zeros((1, 3, side, side), dtype=torch.uint8, device=self.device)
        try:
            with FlopCounterMode(display=False) as counter:
                self.logits(image, native=True)
        except Exception as error:
            # A network has no error of its own for a size it cannot take: convolutions, views and assertions fail.
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise OptionError(f"{self.label} cannot run at {side} px ({reason})") from error
        return float(counter.get_total_flops()) / (1e9 * (self.batch or 1)) or None

    def _run(self, values: Tensor) -> Logits:
        if self.batch is None:
            return as_logits(self.module(values), self.head, len(values))
        parts = []
        for part in values.split(self.batch):
            # The last one is filled up with its own images.
            whole = part if len(part) == self.batch else part[torch.arange(self.batch, device=part.device) % len(part)]
            whole = whole.contiguous(memory_format=torch.channels_last)
            parts.append(as_logits(self.module(whole), self.head, self.batch)[: len(part)])
        return torch.cat(parts)

    def _normalised(self, images: Images) -> Tensor:
        values = pixels.to_float(images)
        mean = to_device(torch.tensor(self.preprocessing.mean), values.device).view(3, 1, 1)
        std = to_device(torch.tensor(self.preprocessing.std), values.device).view(3, 1, 1)
        return values.sub_(mean).div_(std)


def _grouped(logits: Logits, groups: tuple[tuple[int, ...], ...]) -> Logits:
    """(b, classes) -> (b, groups): the largest logit of each; NaN where any logit, of a group or not, is not finite."""
    longest = max(map(len, groups))
    filled = [[*group, *group[:1] * (longest - len(group))] for group in groups]
    best = logits[:, to_device(torch.tensor(filled), logits.device)].amax(dim=2)
    return torch.where(logits.isfinite().all(dim=1, keepdim=True), best, torch.nan)
