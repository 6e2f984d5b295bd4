"""Hardware in words, images and interleaved timing for the benchmarks."""

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
    """Set the number of threads of torch and OpenCV."""
    torch.set_num_threads(count)
    retain_freed_pages()  # A run does the same.
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(count)


def hardware(threads: int) -> str:
    """Return one line of hardware and one of versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(": ")[1] for line in info.read_text().splitlines() if line.startswith("model name")), cpu
        )
    packages = ("torch", "torchvision", "numpy", "pillow", "imagecorruptions", "scikit-image", "opencv-python")
    installed = {name.lower() for distribution in distributions() if (name := distribution.metadata["Name"])}
    versions = ", ".join(f"{name} {version(name)}" for name in packages if name in installed)
    return f"{cpu}, {os.cpu_count()} cores, {threads} thread(s)\npython {platform.python_version()}, {versions}"


def load(folder: Path | None, size: int, count: int) -> Images:
    """Return images (count, 3, size, size) uint8 from a folder, or smooth synthetic ones."""
    if folder is None:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
        large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in small]
        return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).contiguous()
    images = open_dataset(folder)
    geometry = Geometry(resize=max(size, round(size / 0.875)), crop=size)
    positions = select(images, limit=count).tolist()
    return torch.from_numpy(np.ascontiguousarray([decode_one(images.read(p), geometry) for p in positions]))


def interleaved(functions: list[Callable[[], object]], repeats: int, images: int) -> list[float]:
    """Return the best time of each function in ms per image; the functions take turns."""
    best = [math.inf] * len(functions)
    for repeat in range(repeats + 1):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if repeat:  # The first turn warms up.
                best[number] = min(best[number], (time.perf_counter() - start) / images * 1000)
    return best


def geometric(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))
