"""Estimate the time of each corruption on a GPU, without a GPU, with eager and with fused kernels.

    python benchmarks/traffic.py [--side 224] [--batch 256] [--severity 3] [--forward 62]

Every operator runs on tensors that have a CUDA device and no memory (torch's FakeTensorMode). The bytes that it reads and writes
count once each; caches are ignored. A fused kernel is counted, not run: it reads and writes each of its tensors once, and executes
the instructions of its machine code for sm_90 (benchmarks/kernels.py).

The microseconds are ESTIMATES, not measurements. They assume 3.7 TB/s and 29.6 T thread-instructions/s, float64 at half of that. The
share of the bare forward pass assumes `--forward` microseconds an image for the model, that nothing runs at the same time as it, and
0.2 µs for the columns of records. It includes the JPEG pass of released files and the normalisation. Eager: also 3.3 µs for the pause
between shards if their storage does not overlap, fused: 0.5 µs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
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
from robench.transforms.corruptions.base import Corruption, Params
from robench.transforms.corruptions.jpeg import jpeg_round_trip
from robench.transforms.corruptions.weather import textures_on
from robench.transforms.device import constant
from robench.transforms.draws import KeyedDraws
from robench.transforms.kernels import draws, filters, glass, jpeg, kernel_scope, motion
from robench.transforms.kernels import normalise as normalisation
from robench.transforms.resize import normalise
from robench.types import Images

CHOICES = ("eager", "fused")
BANDWIDTH = 3.7
"""Assumed bandwidth of the device's memory in MB a microsecond."""
ISSUE = 29.6
"""Assumed thread-instructions of the device in millions a microsecond."""
REST = {"eager": 0.2 + 3.3, "fused": 0.2 + 0.5}
"""Assumed microseconds an image for columns of records and between shards."""
INSTRUCTIONS: dict[str, Callable[[dict[str, int]], float]] = {
    "words_kernel": lambda _: 104,
    "normal_kernel": lambda _: 402,
    "encode_kernel": lambda _: 11_000,
    "decode_kernel": lambda _: 138,
    "motion_kernel": lambda given: 40 + 2 * 14 * given["TAPS"],
    "shuffle_kernel": lambda given: 60 + 60 * given["ITERATIONS"],
    "correlate_kernel": lambda given: 30 + 14 * given["RADIUS"],
    "normalise_kernel": lambda _: 158,
}
"""Instructions for an element of a program by kernel and its constants: a counter, a pair, an 8x8 block, a pixel or a value."""
GATHERS = ("gather", "index_select", "index")
"""Operators that read as much of their first argument as they write."""
NO_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "device", "_unsafe_view", "detach", "lift_fresh")


class Traffic(TorchDispatchMode):
    """Counts what operators read and write, how many there are and about how long they take; views are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clear()

    def clear(self) -> None:
        """Begin at zero."""
        self.bytes, self.kernels, self.microseconds = 0, 0, 0.0

    def launch(self, kernel: Any, grid: tuple[int, ...], device: object, *arguments: object, **constants: int) -> None:
        """Count a fused kernel; takes the place of `kernels.launch.launch`."""
        moved = sum(map(size, arguments))
        elements = math.prod(grid[:2]) * constants.get("SIZE", 0) + 1.5 * math.prod(grid[:2]) * constants.get(
            "COUNT", 0
        )
        double = any(isinstance(one, Tensor) and one.dtype == torch.float64 for one in arguments[:1])
        work = elements * INSTRUCTIONS[kernel.fn.__name__](constants) * (2 if double else 1)
        self._add(moved, max(moved / BANDWIDTH, work / ISSUE) / 1e6)

    def _add(self, moved: int, microseconds: float) -> None:
        self.bytes, self.kernels, self.microseconds = (
            self.bytes + moved,
            self.kernels + 1,
            self.microseconds + microseconds,
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it."""
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func).split(".")[1]
        if name not in NO_KERNEL and not getattr(func, "is_view", False):
            written = sum(map(size, tree_leaves(output)))
            read = sum(map(size, tree_leaves((args[1:] if name in GATHERS else args, kwargs))))
            moved = read + written * (2 if name in GATHERS else 1)
            self._add(moved, moved / BANDWIDTH / 1e6)
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
        traffic.clear()
        with traffic:
            corrupt(images, index)
    return traffic


def main() -> None:
    """Parse the arguments, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224, help="of the images, px")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--forward", type=float, default=62.0, help="assumed microseconds an image of the model")
    options = parser.parse_args()
    kernels.why_eager = lambda device: ""  # There is no device to ask.
    table = Table(
        title=f"{options.side} px, batches of {options.batch}, severity {options.severity}, torch {torch.__version__}; estimates",
        title_justify="left",
    )
    for column in ("", *(f"{choice}: {one}" for choice in CHOICES for one in ("MB", "µs", "kernels", "of bare"))):
        table.add_column(column, justify="right" if column else "left")

    def measured(corrupt: Callable[[Images, Tensor], object], choice: str) -> tuple[float, float, int]:
        traffic = counted(corrupt, options.side, options.batch, choice)
        return traffic.bytes / options.batch / 1e6, traffic.microseconds / options.batch, traffic.kernels

    mean = std = (0.5, 0.5, 0.5)
    common: dict[str, Callable[[Images, Tensor], object]] = {
        "the JPEG pass of released files": lambda images, _: jpeg_round_trip(images, 85),
        "normalisation": lambda images, _: normalise(images, mean, std, reverse=False, dtype=torch.float32),
    }
    of_common = {(name, choice): measured(work, choice) for name, work in common.items() for choice in CHOICES}
    for name, corruption in CORRUPTIONS.items():
        level = corruption.params("224", options.severity)
        work = partial(corrupted, corruption, level)
        cells = []
        for choice in CHOICES:
            megabytes, microseconds, count = measured(work, choice)
            extra = microseconds + REST[choice] + sum(of_common[one, choice][1] for one in common)
            share = options.forward / (options.forward + extra)
            cells += [f"{megabytes:.1f}", f"{microseconds:.1f}", f"{count:,}", f"{share:.0%}"]
        table.add_row(name, *cells)
    table.add_section()
    for name in common:
        cells = []
        for choice in CHOICES:
            megabytes, microseconds, count = of_common[name, choice]
            cells += [f"{megabytes:.1f}", f"{microseconds:.1f}", f"{count:,}", ""]
        table.add_row(name, *cells)
    Console(width=130).print(table)


def corrupted(corruption: Corruption, params: Params, images: Images, index: Tensor) -> Images:
    """Corrupt a batch."""
    return corruption(images, KeyedDraws(0, index, corruption.name), params)


if __name__ == "__main__":
    main()
