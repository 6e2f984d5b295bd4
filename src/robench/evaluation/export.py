"""Export of corrupted images as files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robench.datasets import READERS, ImageDataset, decode_few, open_dataset, select
from robench.datasets.io.bounded import read_image
from robench.errors import OptionError, unknown_name
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing, choose_device
from robench.runs.files import translate_os_errors
from robench.runs.observer import Observer
from robench.suites import SEVERITIES, Condition, Suite, families, find_suite
from robench.suites.geometry import Geometry
from robench.transforms.apply import corrupt_batch, frame_positions, frames_of
from robench.transforms.own import read_names
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["LAYOUTS", "export"]

LAYOUTS = ("files", "npy")
"""Layouts of the export."""

_PART = ".part-"
"""Beginning of the name of an array that is not complete."""
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
    difficulties: Sequence[int] | None = None,
    layout: str = LAYOUTS[0],
    crop: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    release: bool = False,
    device: str = "auto",
    observer: Observer | None = None,
) -> int:
    """Write every image under every corruption, or every frame of every perturbation.

    The pixels are those of an evaluation of the same images with the same seed. Existing files of the same names are replaced.

    Args:
        images: A dataset, or one image file, which has index 0 and no CLASS.
        out: The directory to write.
        suite: Name of the suite.
        corruptions: Corruptions or perturbations to write; None for all.
        severities: Severities to write; None for all.
        difficulties: Difficulties of perturbation sequences; None for 1.
        layout: "files" for CORRUPTION/SEVERITY/CLASS/NAME.png, or PERTURBATION[_DIFFICULTY]/CLASS/NAME/FRAME.png. "npy" for
            the arrays of CIFAR-10-C and CIFAR-10-P, which `--released` reads: CORRUPTION.npy (5n, side, side, 3) by severity, or
            PERTURBATION[_DIFFICULTY].npy (n, frames, side, side, 3); and labels.npy.
        crop: Side of the model's input in pixels for suites of frames without a size; None for 224.
        limit: Number of images, evenly spread; None for all.
        seed: Seed of all draws.
        release: Whether to apply the JPEG compression of the suite's released files.
        device: Device as `--device` takes it.
        observer: Receives progress and notes.

    Returns:
        The number of images written.

    Raises:
        DatasetError: An image cannot be read.
        OptionError: An argument is invalid.
        RunError: A file cannot be written.
    """
    observer = observer or Observer()
    suites, corruptions = read_names([suite], corruptions)
    if len(suites) > 1:
        raise OptionError("own and built-in corruptions cannot be written together", "name them in two commands")
    suite = suites[0] if suites else suite
    chosen = find_suite(suite)
    if layout not in LAYOUTS:
        raise OptionError(*unknown_name("layout", layout, LAYOUTS))
    if chosen.family is families.EXITS or chosen.family.has_resolutions or not chosen.corruptions:
        raise OptionError(f"the {suite} suite has no corruptions of its own", "give another --suite")
    arrays, frames = layout == "npy", chosen.family.has_frames
    _check_options(chosen, severities, difficulties, crop, release, arrays)
    cells = (
        _frame_cells(chosen, corruptions, difficulties, 224 if crop is None else crop, seed)
        if frames
        else _image_cells(chosen, corruptions, severities, seed, release)
    )
    dataset = _single(images) if _is_image(images) else open_dataset(images if images.exists() else str(images))
    names = _file_names(_in_classes(dataset))
    positions = select(dataset, limit=limit)
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise OptionError(f"{out} is inside the dataset {images} and would be read as a class", "choose another --out")
    if out.is_dir() and any(out.iterdir()):
        observer.note(f"{out} exists; files of the same names in it are replaced")
    if arrays and len(positions) < len(dataset):
        observer.note(
            f"the arrays hold {len(positions)} of {len(dataset)} images, and --released reads them for no others"
        )
    target = choose_device(device)
    observer.phase("corrupting", len(positions) * sum(cell.frames for cell in cells))
    size = 1 if frames or chosen.geometry is None else _BATCH
    written = 0
    with _Arrays(out, len(positions)) if arrays else _Files(out, names) as writer, torch.inference_mode():
        for start in range(0, len(positions), size):
            batch, index = positions[start : start + size], torch.from_numpy(positions[start : start + size])
            for cell in cells:
                pixels = torch.from_numpy(decode_few(dataset, batch, cell.geometry)).to(target)
                for number, made in enumerate(cell.images(pixels, index.to(target))):
                    writer.write(cell, number, start, batch.tolist(), made.permute(0, 2, 3, 1).cpu().numpy())
                    written += len(batch)
                    observer.advance(len(batch))
        if isinstance(writer, _Arrays):
            labels = dataset.labels if dataset.file_labels is None else dataset.file_labels
            writer.finish(labels[positions], 1 if frames else len(SEVERITIES))
    return written


@dataclass(frozen=True)
class _Cell:
    """One corruption at one severity, or one perturbation at one difficulty.

    Attributes:
        corruption: Name of the corruption or perturbation.
        severity: Severity, or difficulty.
        geometry: Geometry of the images that it takes.
        frames: Frames of each image.
        images: Returns the image or the frames of a batch, each (b, 3, h, w) uint8, from images and their positions.
        is_sequence: Whether it is a perturbation.
    """

    corruption: str
    severity: int
    geometry: Geometry
    frames: int
    images: Callable[[Images, Tensor], Iterable[Images]]
    is_sequence: bool

    @property
    def label(self) -> str:
        """Name of the released file of a perturbation."""
        return self.corruption if self.severity == 1 else f"{self.corruption}_{self.severity}"


def _check_options(
    suite: Suite,
    severities: Sequence[int] | None,
    difficulties: Sequence[int] | None,
    crop: int | None,
    release: bool,
    arrays: bool,
) -> None:
    """Refuse options that do not apply to the suite or to the layout."""
    frames = suite.family.has_frames
    for option, given, applies in (
        ("--severity", severities is not None, not frames),
        ("--difficulty", difficulties is not None, suite.family.has_difficulties),
        ("--crop", crop is not None, frames and suite.geometry is None and suite.side is None),
        ("--release-jpeg", release, not frames),
    ):
        if given and not applies:
            raise OptionError(f"{option} does not apply to {suite.name}", f"omit {option}")
    if arrays and severities is not None:
        raise OptionError("the arrays hold all severities", "omit --severity, or --layout npy")
    if arrays and not suite.family.is_released:
        raise OptionError(f"no arrays of {suite.name} were published", "omit --layout, or give --suite cifar-c")
    if arrays and not frames and suite.geometry is None:
        raise OptionError(f"images of {suite.name} differ in size and fit no array", "omit --layout")


def _image_cells(
    suite: Suite, corruptions: Sequence[str] | None, severities: Sequence[int] | None, seed: int, release: bool
) -> list[_Cell]:
    def cell(corruption: str, severity: int) -> _Cell:
        def images(batch: Images, index: Tensor) -> Iterator[Images]:
            yield corrupt_batch(batch, corruption, severity, suite.name, seed=seed, index=index, release=release)

        return _Cell(corruption, severity, suite.geometry or Geometry(), 1, images, False)

    return [cell(*one) for one in suite.select(corruptions=corruptions, severities=severities, extra=True)]


def _frame_cells(
    suite: Suite, corruptions: Sequence[str] | None, difficulties: Sequence[int] | None, crop: int, seed: int
) -> list[_Cell]:
    options = Options(
        corruption=corruptions, difficulty=difficulties or (1,), seed=seed, extra_corruptions=corruptions is None
    )
    plan = make_plan([suite.name], options, Preprocessing(crop, crop, "bilinear", (0.5,) * 3, (0.5,) * 3))

    def cell(condition: Condition) -> _Cell:
        def images(batch: Images, index: Tensor) -> Iterator[Images]:
            return (frame.images for frame in frames_of(PaddedBatch.of(batch), condition, index, seed))

        frames = len(frame_positions(condition))
        return _Cell(condition.corruption, condition.severity, condition.geometry, frames, images, True)

    return [cell(condition) for condition in plan.conditions if not condition.is_clean]


class _Files:
    """Writes PNG files."""

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self._out, self._names = out, names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, cell: _Cell, frame: int, _: int, positions: Sequence[int], images: NDArray[np.uint8]) -> None:
        """Write a frame of each image of a batch, (b, h, w, 3)."""
        folder = self._out / cell.label if cell.is_sequence else self._out / cell.corruption / str(cell.severity)
        for position, image in zip(positions, images, strict=True):
            file = folder / self._names[position]
            file = file.with_suffix("") / f"{frame:03d}.png" if cell.is_sequence else file
            with translate_os_errors(self._out):
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)


class _Arrays:
    """Writes arrays under temporary names, which are renamed when all are complete."""

    def __init__(self, out: Path, count: int) -> None:
        self._out, self._count = out, count
        self._arrays: dict[str, NDArray[np.uint8]] = {}

    def __enter__(self) -> Self:
        with translate_os_errors(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._arrays.clear()
        for file in self._out.glob(f"{_PART}*.npy"):
            file.unlink()

    def write(self, cell: _Cell, frame: int, start: int, _: Sequence[int], images: NDArray[np.uint8]) -> None:
        """Write a frame of each image of a batch, (b, side, side, 3), whose first image has the rank `start`."""
        name = cell.label if cell.is_sequence else cell.corruption
        if name not in self._arrays:
            rows = (self._count, cell.frames) if cell.is_sequence else (len(SEVERITIES) * self._count,)
            with translate_os_errors(self._out):
                path = self._out / f"{_PART}{name}.npy"
                self._arrays[name] = open_memmap(path, "w+", np.uint8, (*rows, *images.shape[1:]))
        if cell.is_sequence:
            self._arrays[name][start : start + len(images), frame] = images
        else:
            first = (cell.severity - 1) * self._count + start
            self._arrays[name][first : first + len(images)] = images

    def finish(self, labels: NDArray[np.int64], repeats: int) -> None:
        """Write labels.npy, which repeats the labels for each severity, and give all arrays their names."""
        kind = np.uint8 if labels.max() < 256 else np.int64
        with translate_os_errors(self._out):
            np.save(self._out / f"{_PART}labels.npy", np.tile(labels, repeats).astype(kind))
            names = [*self._arrays, "labels"]
            self._arrays.clear()
            for name in names:
                (self._out / f"{_PART}{name}.npy").replace(self._out / f"{name}.npy")


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
