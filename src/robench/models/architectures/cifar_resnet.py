"""Small architectures that no library ships: the CIFAR ResNets of He et al. 2015."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from robench.errors import CheckpointError
from robench.models.architectures.base import unknown_architecture
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

__all__ = ["ZOO", "CifarResNet", "PaddedShortcut", "ZooEntry", "build", "names", "pretrained"]


class PaddedShortcut(nn.Module):
    """Option A: no parameters, every second pixel, zeros for the new channels on both sides."""

    def __init__(self, stride: int, pad: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, pad

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c + 2 pad, ceil(h / stride), ceil(w / stride))."""
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
    """The CIFAR ResNet of depth 6n + 2 with parameterless shortcuts (option A), for 32x32 images.

    Source: arXiv:1512.03385, section 4.2. Parameter names are those of the widely used public checkpoints.
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
        """(b, 3, h, w) normalised -> (b, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    rest = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_Block(inputs, outputs, stride), *rest)


@dataclass(frozen=True)
class ZooEntry:
    """One architecture: a constructor that takes the number of classes, that number's default, the preprocessing."""

    constructor: Callable[[int], nn.Module]
    classes: int
    preprocessing: Preprocessing


# ImageNet's constants, not CIFAR's own: what the public checkpoints of these networks were trained with.
_CIFAR = Preprocessing(resize=32, crop=32, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)

ZOO: dict[str, ZooEntry] = {
    "cifar_resnet8": ZooEntry(partial(CifarResNet, depth=8), 10, _CIFAR),
    "cifar_resnet20": ZooEntry(partial(CifarResNet, depth=20), 10, _CIFAR),
    "cifar_resnet32": ZooEntry(partial(CifarResNet, depth=32), 10, _CIFAR),
    "cifar_resnet44": ZooEntry(partial(CifarResNet, depth=44), 10, _CIFAR),
    "cifar_resnet56": ZooEntry(partial(CifarResNet, depth=56), 10, _CIFAR),
}


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and its preprocessing."""
    entry = _entry(name)
    return entry.constructor(entry.classes if classes is None else classes), entry.preprocessing


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Raise CheckpointError: nobody publishes weights of the zoo under a name."""
    _entry(name)
    raise CheckpointError(f"zoo:{name} has no published weights: give a weights file and --arch zoo:{name}")


def names() -> list[str]:
    """Names of all zoo architectures, shallow to deep."""
    return list(ZOO)


def _entry(name: str) -> ZooEntry:
    if name not in ZOO:
        raise CheckpointError(unknown_architecture("zoo", name, ZOO))
    return ZOO[name]
