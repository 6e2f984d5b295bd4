"""What the benchmarks share: the machine in words, images, and timing that takes turns."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import distributions, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from robench.datasets import decode_one, open_dataset, select
from robench.evaluation.allocator import retain_freed_pages
from robench.suites.geometry import Geometry
from robench.types import Images


def threads(count: int) -> None:
    """Let torch and OpenCV use so many threads."""
    torch.set_num_threads(count)
    retain_freed_pages()  # As in a run.
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(count)


def hardware(threads: int) -> str:
    """One line of hardware and one of versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(": ")[1] for line in info.read_text().splitlines() if line.startswith("model name")), cpu
        )
    packages = ("torch", "torchvision", "numpy", "pillow", "imagecorruptions", "scikit-image", "opencv-python")
    installed = {name.lower() for one in distributions() if (name := one.metadata["Name"])}
    versions = ", ".join(f"{name} {version(name)}" for name in packages if name in installed)
    return f"{cpu}, {os.cpu_count()} cores, {threads} thread(s)\npython {platform.python_version()}, {versions}"


def load(folder: Path | None, size: int, count: int) -> Images:
    """(count, 3, size, size) uint8: pictures from a folder, or smooth synthetic ones."""
    if folder is None:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
        pictures = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in small]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    images = open_dataset(folder)
    geometry = Geometry(resize=max(size, round(size / 0.875)), crop=size)
    positions = select(images, limit=count).tolist()
    return torch.from_numpy(np.ascontiguousarray([decode_one(images.read(p), geometry) for p in positions]))


def interleaved(sides: list[Callable[[], object]], repeats: int, images: int) -> list[float]:
    """Best time of each side in ms per image, the sides taking turns."""
    best = [math.inf] * len(sides)
    for repeat in range(repeats + 1):
        for number, side in enumerate(sides):
            start = time.perf_counter()
            side()
            if repeat:  # The first turn warms up.
                best[number] = min(best[number], (time.perf_counter() - start) / images * 1000)
    return best


def geometric(values: list[float]) -> float:
    """Geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))
