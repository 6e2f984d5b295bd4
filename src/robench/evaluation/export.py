"""Export of corrupted images as files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from robench.datasets import READERS, ImageDataset, decode_few, open_dataset, select
from robench.datasets.io.bounded import read_image
from robench.errors import OptionError
from robench.models import choose_device
from robench.runs.files import translate_os_errors
from robench.runs.observer import Observer
from robench.suites import find_suite
from robench.suites.geometry import Geometry
from robench.transforms.apply import corrupt_batch
from robench.transforms.own import read_names

__all__ = ["export"]

_BATCH = 64
_NAME_BYTES = 255
"""Length limit of a directory name on common file systems."""


def export(
    images: Path,
    out: Path,
    *,
    suite: str,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    release: bool = False,
    device: str = "auto",
    observer: Observer | None = None,
) -> int:
    """Write `out`/CORRUPTION/SEVERITY/CLASS/NAME.png for every image and cell.

    The pixels are those of an evaluation of the same images with the same seed. Existing files are replaced.

    Args:
        images: A dataset, or one image file, which has index 0 and no CLASS.
        out: The directory to write.
        suite: Name of the suite.
        corruptions: Corruptions to write; None for all.
        severities: Severities to write; None for all.
        limit: Number of images, evenly spread; None for all.
        seed: Seed of all draws.
        release: Whether to apply the JPEG compression of the suite's released files.
        device: Device as `--device` takes it.
        observer: Receives progress.

    Returns:
        The number of files written.

    Raises:
        DatasetError: An image cannot be read.
        OptionError: An argument is invalid.
        RunError: A file cannot be written.
    """
    observer = observer or Observer()
    names, corruptions = read_names([suite], corruptions)
    if len(names) > 1:
        raise OptionError("own and built-in corruptions cannot be written together", "name them in two commands")
    suite = names[0] if names else suite
    chosen = find_suite(suite)
    if chosen.family.has_frames:
        raise OptionError(f"the {suite} suite has frames, not single images", "give a suite such as imagenet-c")
    if not chosen.corruptions:
        raise OptionError(f"the {suite} suite has no corruptions", "give another --suite")
    geometry, size = (Geometry(), 1) if chosen.geometry is None else (chosen.geometry, _BATCH)
    cells = chosen.select(corruptions=corruptions, severities=severities, extra=True)
    dataset = _single(images) if _is_image(images) else open_dataset(images if images.exists() else str(images))
    files = _file_names(_in_classes(dataset))
    positions = select(dataset, limit=limit)
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise OptionError(f"{out} is inside the dataset {images} and would be read as a class", "choose another --out")
    target = choose_device(device)
    observer.phase("corrupting", len(positions) * len(cells))
    written = 0
    for start in range(0, len(positions), size):
        batch = positions[start : start + size]
        pixels = torch.from_numpy(decode_few(dataset, batch, geometry)).to(target)
        for corruption, severity in cells:
            index = torch.from_numpy(batch)
            corrupted = corrupt_batch(pixels, corruption, severity, suite, seed=seed, index=index, release=release)
            for position, image in zip(batch.tolist(), corrupted.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
                file = out / corruption / str(severity) / files[position]
                with translate_os_errors(out):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(file)
                written += 1
            observer.advance(len(batch))
    return written


def _in_classes(images: ImageDataset) -> list[str]:
    """Return the paths in directories of their classes; unchanged if all paths are in such directories already."""
    names = [images.classes[label] for label in images.labels.tolist()]
    if all(not name or path.startswith(f"{name}/") for name, path in zip(names, images.paths, strict=True)):
        return list(images.paths)
    folders = {name: _as_folder(name, number) for number, name in enumerate(images.classes)}
    return [f"{folders[name]}/{path}" for name, path in zip(names, images.paths, strict=True)]


def _as_folder(name: str, number: int) -> str:
    """Return a directory name for a class, different for each class."""
    escaped = re.sub(r"[%/\\\x00-\x1f]|^\.", lambda match: f"%{ord(match[0]):02X}", name)
    return escaped if 0 < len(os.fsencode(escaped)) <= _NAME_BYTES else f"%class{number}"


def _file_names(paths: Sequence[str]) -> list[str]:
    """Return the paths with suffix .png; paths that would become equal, such as a.bmp and a.jpg, keep their suffix too."""
    names = [str(PurePosixPath(path).with_suffix("")) for path in paths]
    while twice := {name for name, count in Counter(names).items() if count > 1}:
        names = [path if name in twice else name for name, path in zip(names, paths, strict=True)]
    return [f"{name}.png" for name in names]


def _is_image(path: Path) -> bool:
    return path.is_file() and not any(reader.matches(path) for reader in READERS)


def _single(file: Path) -> ImageDataset:
    return ImageDataset(file.stem, (file.name,), np.zeros(1, dtype=np.int64), ("",), lambda _: read_image(file))
