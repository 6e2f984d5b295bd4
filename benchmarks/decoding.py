"""Compare the decoding of a first and a second run with torchvision's ImageFolder and DataLoader, and compare decoders.

python benchmarks/decoding.py --images FOLDER [--resize 256 --crop 224] [--repeats N] [--decoders]
"""

from __future__ import annotations

import argparse
import io
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from common import hardware, threads
from numpy.typing import NDArray
from PIL import Image

from robench.datasets import ImageDataset, decode, hash_images, open_dataset, select
from robench.suites.geometry import Geometry

BATCH = 64
Pixels = NDArray[np.uint8]


def measure(sides: Sequence[Callable[[], None]], repeats: int, count: int) -> list[tuple[float, float]]:
    """Return the best ms per image of each loader, wall and processor time (workers included); the loaders take turns."""
    best = [(math.inf, math.inf)] * len(sides)
    for repeat in range(repeats + 1):
        for number, side in enumerate(sides):
            start, used = time.perf_counter(), sum(os.times()[:4])
            side()
            passed, took = time.perf_counter() - start, sum(os.times()[:4]) - used
            if repeat:  # The first turn warms up.
                wall, processor = best[number]
                best[number] = min(wall, passed / count * 1000), min(processor, took / count * 1000)
    return best


def loader(folder: Path, geometry: Geometry, workers: int) -> Callable[[], None]:
    """Read every batch of torchvision's folder under the geometry once."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    steps = Compose([Resize(geometry.resize), CenterCrop(geometry.crop), PILToTensor()])
    dataset = ImageFolder(str(folder), steps)

    def run() -> None:
        for _ in DataLoader(dataset, BATCH, num_workers=workers):
            pass

    return run


def run_of(images: ImageDataset, geometry: Geometry) -> None:
    """Read every batch of robench once: hash, decode or find in the cache, read."""
    positions = select(images)
    decoded = decode(images, hash_images(images, positions), geometry, skip=False)
    for start in range(0, len(positions), BATCH):
        torch.from_numpy(decoded.images.take(np.arange(start, min(start + BATCH, len(positions))))[0])


def compare_runs(folder: Path, geometry: Geometry, repeats: int) -> None:
    """Print the rates of the loaders and of two runs; all files are listed already."""
    images = open_dataset(folder)
    with tempfile.TemporaryDirectory() as place:
        turns = iter(range(10**6))

        def first() -> None:
            os.environ["ROBENCH_CACHE"] = f"{place}/{next(turns)}"
            run_of(images, geometry)

        sides = {
            "ImageFolder + DataLoader, in the process": loader(folder, geometry, 0),
            "ImageFolder + DataLoader, 1 worker": loader(folder, geometry, 1),
            "ImageFolder + DataLoader, 2 workers": loader(folder, geometry, 2),
            "robench, first run": first,
            "robench, second run": lambda: run_of(images, geometry),
        }
        times = measure(list(sides.values()), repeats, len(images))
    best = min(wall for wall, _ in times[:3])
    print("| | images/s | of the fastest loader | processor ms an image |\n|---|--:|--:|--:|")
    for name, (wall, processor) in zip(sides, times, strict=True):
        print(f"| {name} | {1000 / wall:,.0f} | {best / wall:.2f} | {processor:.2f} |")


def pillow(encoded: bytes) -> Pixels:
    """Return RGB values (h, w, 3)."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def torchvision(encoded: bytes) -> Pixels:
    """Return RGB values (h, w, 3)."""
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
    pixels: Pixels = decode_jpeg(data, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()
    return pixels


def opencv(encoded: bytes) -> Pixels:
    """Return RGB values (h, w, 3)."""
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), flags), np.uint8)


def compare_decoders(folder: Path, geometry: Geometry, repeats: int) -> None:
    """Print the speed of JPEG decoders, alone and with resize and crop, and the number of images that differ from Pillow's.

    The speed is wall time in images/s, and processor time in ms an image, which other programs hardly change.
    """
    images = open_dataset(folder)
    encoded = [images.read(position) for position in range(len(images))]
    encoded = [one for one in encoded if one.startswith(b"\xff\xd8")]

    def whole(decoder: Callable[[bytes], Pixels]) -> Callable[[bytes], Pixels]:
        if decoder is pillow:
            return lambda one: np.asarray(geometry.apply(Image.open(io.BytesIO(one))))
        return lambda one: np.asarray(geometry.apply(Image.fromarray(decoder(one))))

    def side(work: Callable[[bytes], Pixels], threads: int) -> Callable[[], None]:
        def run() -> None:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(lambda part: [work(one).shape for one in part], [encoded[k::32] for k in range(32)]):
                    pass

        return run

    decoders = (pillow, torchvision, opencv)
    sides = [side(work, count) for each in decoders for work in (each, whole(each)) for count in (1, 2)]
    times = iter(measure(sides, repeats, len(encoded)))
    print(
        "| | decoding: 1 thread | 2 threads | processor ms | with resize and crop: 1 thread | 2 threads | ms | unlike |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for decoder in decoders:
        cells = []
        for _ in range(2):
            (one, processor), (two, _) = next(times), next(times)
            cells += [f"{1000 / one:,.0f}", f"{1000 / two:,.0f}", f"{processor:.2f}"]
        unlike = sum(not np.array_equal(decoder(each), pillow(each)) for each in encoded)
        print(f"| {decoder.__name__} | {' | '.join(cells)} | {unlike} of {len(encoded)} |")


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--decoders", action="store_true", help="compare the decoders of JPEG files instead")
    options = parser.parse_args()
    threads(1)
    geometry = Geometry(resize=options.resize, crop=options.crop)
    print(hardware(1))
    print(f"{options.images.name}, {geometry}\n")
    if options.decoders:
        compare_decoders(options.images, geometry, options.repeats)
    else:
        compare_runs(options.images, geometry, options.repeats)


if __name__ == "__main__":
    main()
