"""The CIFAR ResNets of He et al. 2015, which no library ships."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from robench.errors import CheckpointError
from robench.models.architectures.base import unknown_architecture
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

__all__ = ["ZOO", "CifarResNet", "PaddedShortcut", "build", "names", "pretrained"]


class PaddedShortcut(nn.Module):
    """Shortcut without parameters (option A): it subsamples pixels and pads channels with zeros on both sides."""

    def __init__(self, stride: int, pad: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, pad

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, c + 2 pad, ceil(h / stride), ceil(w / stride)) for x of shape (b, c, h, w)."""
        if self.stride == 1 and not self.pad:
            return x
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = PaddedShortcut(stride, (outputs - inputs) // 2)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """CIFAR ResNet of depth 6n + 2 with shortcuts without parameters (option A), for 32x32 images.

    Parameter names are those of the widely used public checkpoints. Source: arXiv:1512.03385, section 4.2.
    """

    def __init__(self, classes: int = 10, *, depth: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6n + 2")
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, blocks)
        self.layer2 = _stage(16, 32, 2, blocks)
        self.layer3 = _stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, classes) for normalised images (b, 3, h, w)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    rest = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_Block(inputs, outputs, stride), *rest)


# The public checkpoints were trained with ImageNet's constants, not with CIFAR's own.
_PREPROCESSING = Preprocessing(resize=32, crop=32, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)

ZOO = {f"cifar_resnet{depth}": depth for depth in (8, 20, 32, 44, 56)}
"""Depth by the name of the architecture, shallow to deep."""


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name`, with 10 classes by default, and its preprocessing."""
    if name not in ZOO:
        raise unknown_architecture("zoo", name, ZOO)
    return CifarResNet(10 if classes is None else classes, depth=ZOO[name]), _PREPROCESSING


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Raise CheckpointError, because nobody publishes weights of the zoo under a name."""
    if name not in ZOO:
        raise unknown_architecture("zoo", name, ZOO)
    raise CheckpointError(f"zoo:{name} has no published weights", f"give a weights file with --arch zoo:{name}")


def names() -> list[str]:
    """Return the names of all zoo architectures, shallow to deep."""
    return list(ZOO)
