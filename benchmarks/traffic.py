"""Count the bytes an image and the kernels a batch that each corruption needs on a GPU, without a GPU.

    python benchmarks/traffic.py [--side 224] [--batch 64] [--severity 3]

Every operator runs on tensors that have a CUDA device and no memory (torch's FakeTensorMode). The bytes that it reads and writes
count once each; caches are ignored. Divided by the memory's bandwidth (4.8 TB/s, NVIDIA's value for an H200), they give about the
least time. The columns compare `--kernels eager` with `--kernels fused`. A fused kernel is counted, not run: it reads and writes
each of its tensors once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robench.transforms import kernels
from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.corruptions.jpeg import jpeg_round_trip
from robench.transforms.corruptions.weather import textures_on
from robench.transforms.device import constant
from robench.transforms.draws import KeyedDraws
from robench.transforms.kernels import draws, filters, glass, jpeg, kernel_scope, motion
from robench.transforms.kernels import normalise as normalisation
from robench.transforms.resize import normalise
from robench.types import Images

CHOICES = ("eager", "fused")
BANDWIDTH = 4.8
"""Bandwidth of the device's memory in MB a microsecond."""
GATHERS = ("gather", "index_select", "index")
"""Operators that read as much of their first argument as they write."""
NO_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "device", "_unsafe_view", "detach", "lift_fresh")


class Traffic(TorchDispatchMode):
    """Counts what operators read and write, and how many there are; views are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.kernels = 0

    def launch(self, kernel: object, grid: object, device: object, *arguments: object, **constants: object) -> None:
        """Count a fused kernel; takes the place of `kernels.launch.launch`."""
        self.bytes += sum(map(size, arguments))
        self.kernels += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it."""
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func).split(".")[1]
        if name not in NO_KERNEL and not getattr(func, "is_view", False):
            written = sum(map(size, tree_leaves(output)))
            read = sum(map(size, tree_leaves((args[1:] if name in GATHERS else args, kwargs))))
            moved = read + written * (2 if name in GATHERS else 1)
            self.bytes += moved
            self.kernels += 1
        return output


def size(value: object) -> int:
    """Bytes of a tensor on the device; what is expanded is read once."""
    if not isinstance(value, Tensor) or value.device.type != "cuda":
        return 0
    held = 1
    for length, stride in zip(value.shape, value.stride(), strict=True):
        held *= length if stride else 1
    return held * value.element_size()


def counted(corrupt: Callable[[Images, Tensor], object], side: int, batch: int, choice: str) -> Traffic:
    """Count what a function of a batch and its positions does on a CUDA device with some kernels."""
    constant.cache_clear()
    textures_on.cache_clear()
    with FakeTensorMode(), kernel_scope(choice):
        images = torch.empty((batch, 3, side, side), dtype=torch.uint8, device="cuda")
        index = torch.zeros(batch, dtype=torch.int64, device="cuda")
        traffic = Traffic()
        for module in (draws, filters, glass, jpeg, motion, normalisation):
            module.launch = traffic.launch  # type: ignore[attr-defined]
        corrupt(images, index)  # Constants are on the device from now on.
        traffic.bytes = traffic.kernels = 0
        with traffic:
            corrupt(images, index)
    return traffic


def main() -> None:
    """Parse the arguments, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224, help="of the images, px")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--severity", type=int, default=3)
    options = parser.parse_args()
    kernels.why_eager = lambda _: ""  # There is no device to ask.
    table = Table(
        title=f"{options.side} px, batches of {options.batch}, severity {options.severity}, torch {torch.__version__}"
    )
    measured = ("MB an image", f"µs at {BANDWIDTH} TB/s", "kernels a batch")
    for column in ("", *(f"{choice}: {one}" for choice in CHOICES for one in measured)):
        table.add_column(column, justify="right" if column else "left")

    def add(name: str, corrupt: Callable[[Images, Tensor], object]) -> None:
        cells = []
        for choice in CHOICES:
            traffic = counted(corrupt, options.side, options.batch, choice)
            megabytes = traffic.bytes / options.batch / 1e6
            cells += [f"{megabytes:.1f}", f"{megabytes / BANDWIDTH:.1f}", f"{traffic.kernels:,}"]
        table.add_row(name, *cells)

    for name, corruption in CORRUPTIONS.items():
        level = corruption.params("224", options.severity)
        add(name, lambda images, index: corruption(images, KeyedDraws(0, index, name), level))  # noqa: B023
    table.add_section()
    add("the JPEG pass of released files", lambda images, _: jpeg_round_trip(images, 85))
    mean = std = (0.5, 0.5, 0.5)
    add("normalisation", lambda images, _: normalise(images, mean, std, reverse=False, dtype=torch.float32))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
