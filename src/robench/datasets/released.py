"""Published files in place of computed images (`--released DIR`): found, checked, and read batch by batch, past the cache.

    CORRUPTION/SEVERITY/CLASS/NAME.JPEG     pictures: ImageNet-C and its relatives
    CORRUPTION.npy, labels.npy              (5n, side, side, 3), severity by severity: CIFAR-10-C, CIFAR-100-C
    PERTURBATION[_2|_3]/CLASS/NAME.mp4      videos: ImageNet-P and its relatives
    PERTURBATION[_2|_3].npy                 (n, frames, side, side, 3): CIFAR-10-P; labels.npy may be there

They lie in DIR, or in folders of it, as the downloads have them (DIR/noise/gaussian_noise/…). They are never resized or
cropped. A file belongs to the sample with its class folder and its stem; a row of an array to the sample at its position.
Source: hendrycks/robustness ImageNet-C/test.py, ImageNet-P/test.py, ImageNet-P/cifar-p-eval.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robench.datasets.cache.decode import decode_one
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image
from robench.datasets.io.npy import open_array, read_integers
from robench.errors import DatasetError, OptionError
from robench.suites import SEVERITIES, SUITES, Condition, Suite, find_suite
from robench.suites.geometry import Geometry
from robench.types import Ints

__all__ = ["CheckedFiles", "Name", "check_released", "find_released", "read_released", "released_names"]

Name: TypeAlias = tuple[str, str]
"""Class folder and stem of a sample."""

Pixels: TypeAlias = NDArray[np.uint8]

_GROUPS = ("noise", "blur", "weather", "digital", "extra")
"""Folders into which the downloads put the corruptions of ImageNet-C and -P."""

_PICTURES, _VIDEOS = (".jpeg", ".jpg", ".png"), (".mp4",)

_LARGEST = 1 << 26
"""Bytes that no released picture or video reaches: 64 MiB."""

# What NumPy raises for the header of a damaged file: it is parsed as Python's literals, and NumPy promises no base class.


@dataclass(frozen=True)
class CheckedFiles:
    """What a run's released files are.

    fingerprints: by the name of a condition, SHA-256 of the paths and sizes of what it reads.
    missing: by the position of a sample, why it has no file in some condition.
    """

    fingerprints: dict[str, str]
    missing: dict[int, str]
    notes: tuple[str, ...] = ()


def find_released(root: Path, suite: Suite, cells: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Path]:
    """Find the released files of a suite's cells below `root`: for each that is there, its folder of class folders or array.

    Raises DatasetError where there are none at all, or more than one for a cell.
    """
    if not root.is_dir():
        raise DatasetError(f"--released {root} is no folder: give the folder of {suite.name}'s released files")
    try:
        places = _places(root)
        found = {cell: [file for place in places for file in _files_of(place, suite, *cell)] for cell in cells}
    except OSError as error:
        raise DatasetError(f"cannot list --released {root}: {error}") from error
    for (name, severity), files in found.items():
        if len(files) > 1:
            raise DatasetError(
                f"--released {root} has {name} {severity} of {suite.name} twice, {files[0]} and {files[1]}: "
                "give the folder of one of them"
            )
    if cells and not any(found.values()):
        tree, array = _expected(suite, *cells[0])
        raise DatasetError(
            f"--released {root} has none of the wanted files of {suite.name}: looked for {tree} and {array}, there and in "
            f"folders of it such as {_GROUPS[0]}; give the folder that holds them, as downloaded and unpacked"
        )
    return {cell: files[0] for cell, files in found.items() if files}


def released_names(images: ImageDataset, positions: Ints) -> tuple[Name, ...]:
    """Return the names by which the samples at `positions` are found in a tree."""
    labels = images.labels[positions].tolist()
    return tuple(
        (images.classes[label], PurePosixPath(images.paths[position]).stem)
        for position, label in zip(positions.tolist(), labels, strict=True)
    )


def check_released(
    images: ImageDataset,
    positions: Ints,
    conditions: Iterable[Condition],
    *,
    skip: bool,
    advance: Callable[[int], None] = lambda _: None,
) -> CheckedFiles:
    """Check that every condition with released files has one for each sample, and that its first one fits the suite.

    skip: whether samples without a file are listed; else the first one is a DatasetError.
    advance: called with the number of samples after each condition.
    """
    fingerprints: dict[str, str] = {}
    missing: dict[int, str] = {}
    notes: list[str] = []
    names = released_names(images, positions)
    for condition in conditions:
        if condition.files is None:
            continue
        if condition.files.path.suffix == ".npy":
            used = _check_array(condition, condition.files.path, images, notes)
            here = positions
        else:
            used, absent = _check_tree(condition, condition.files.path, images, positions, names)
            if absent and not skip:
                first = min(absent)
                more = f" (and {len(absent) - 1} more samples have none)" if len(absent) > 1 else ""
                raise DatasetError(
                    f"the sample {images.paths[first]} has no released file: {absent[first]}{more}; get what is missing, choose "
                    "other samples with --subset, or give --skip-unreadable"
                )
            missing |= absent
            here = positions[~np.isin(positions, list(absent))]
        if len(here):
            _reader(condition, released_names(images, here[:1]), here[:1])(0)
        fingerprints[condition.name] = hashlib.sha256("\n".join(used).encode(errors="surrogateescape")).hexdigest()
        advance(len(positions))
    return CheckedFiles(fingerprints, missing, tuple(dict.fromkeys(notes)))


def read_released(
    condition: Condition, names: Sequence[Name], index: Ints, batch_size: int
) -> Generator[tuple[slice, int, Pixels]]:
    """Yield the released images of some samples: which of them, the frame's number, and (b, 3, side, side) uint8.

    names, index: of the samples, in order.  The samples come in batches of `batch_size`, and of each batch the frames in
    turn; a pool of threads reads the next batch meanwhile, so two of them are in memory. Raises DatasetError for the first
    file that cannot be read, or has another size or other frames than the condition.
    """
    assert condition.files is not None
    read = _reader(condition, names, index)
    parts = [slice(start, min(start + batch_size, len(index))) for start in range(0, len(index), batch_size)]
    pool = ThreadPoolExecutor(os.cpu_count())

    def asked(part: slice) -> list[Future[Pixels]]:
        return [pool.submit(read, row) for row in range(part.start, part.stop)]

    try:
        waiting = asked(parts[0])
        for part, following in zip(parts, [*parts[1:], slice(0, 0)], strict=True):
            current, waiting = waiting, asked(following)
            batch = [one.result() for one in current]
            for frame in range(condition.files.frames):
                yield part, frame, np.stack([images[frame] for images in batch])
            del current, batch  # Else a third batch would be in memory.
    finally:
        pool.shutdown(cancel_futures=True)


# Where things are.


def _places(root: Path) -> list[Path]:
    folders = _folders(root)
    return [root, *folders, *(folder / group for folder in folders for group in _GROUPS if (folder / group).is_dir())]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _expected(suite: Suite, name: str, severity: int) -> tuple[str, str]:
    """Where a cell's tree and array lie, as a person reads it."""
    if suite.family == "sequences":
        label = _label(name, severity)
        return f"{label}/CLASS/*.mp4", f"{label}.npy (n, frames, side, side, 3)"
    return f"{name}/{severity}/CLASS/*.JPEG", f"{name}.npy ({len(SEVERITIES)}n, side, side, 3)"


def _label(name: str, difficulty: int) -> str:
    return name if difficulty == 1 else f"{name}_{difficulty}"


def _files_of(place: Path, suite: Suite, name: str, severity: int) -> Iterator[Path]:
    sequences = suite.family == "sequences"
    label = _label(name, severity) if sequences else name
    tree, array = place / label if sequences else place / label / str(severity), place / f"{label}.npy"
    if tree.is_dir() and (_holds_videos(tree) if sequences else _folders(tree)):
        yield tree
    if array.is_file():
        axes = len(open_array(array).shape)
        if axes not in (4, 5):
            raise DatasetError(
                f"{array} has {axes} axes: give the published file, {_expected(suite, name, severity)[1]}"
            )
        if axes == (5 if sequences else 4):
            yield array


def _holds_videos(tree: Path) -> bool:
    return any(file.suffix.lower() in _VIDEOS for folder in _folders(tree) for file in folder.iterdir())


# Trees of files.


def _check_tree(
    condition: Condition, tree: Path, images: ImageDataset, positions: Ints, names: Sequence[Name]
) -> tuple[list[str], dict[int, str]]:
    """The paths and sizes of the samples' files, and for each position without one, why."""
    if len(set(names)) < len(names):
        first: dict[Name, int] = {}
        for position, name in zip(positions.tolist(), names, strict=True):
            if first.setdefault(name, position) != position:
                raise DatasetError(
                    f"{images.paths[first[name]]} and {images.paths[position]} would have the same released file "
                    f"{'/'.join(name)}: rename one, or leave it out with --subset"
                )
    listed = _list(tree, names, _suffixes(condition))
    used, absent = [], {}
    for position, name in zip(positions.tolist(), names, strict=True):
        entry = listed.get(name)
        if entry is None:
            absent[position] = f"{tree / '/'.join(name)}{'.mp4' if _are_videos(condition) else '.JPEG'} is not there"
            continue
        try:
            size = entry.stat().st_size if entry.is_file() else None
        except OSError as error:
            absent[position] = str(error)
            continue
        if size is None or size > _LARGEST:
            absent[position] = f"{entry.path} is {'no file' if size is None else f'{size:,} bytes large'}"
            continue
        used.append(f"{condition.corruption}/{condition.severity}/{name[0]}/{entry.name}\t{size}")
    return used, absent


def _are_videos(condition: Condition) -> bool:
    return find_suite(condition.suite).family == "sequences"


def _suffixes(condition: Condition) -> tuple[str, ...]:
    return _VIDEOS if _are_videos(condition) else _PICTURES


def _list(tree: Path, names: Iterable[Name], suffixes: tuple[str, ...]) -> dict[Name, os.DirEntry[str]]:
    """The files of the named samples that are there."""
    wanted: dict[str, set[str]] = {}
    for folder, stem in names:
        wanted.setdefault(folder, set()).add(stem)

    def one(folder: str) -> dict[Name, os.DirEntry[str]]:
        found: dict[Name, os.DirEntry[str]] = {}
        try:
            entries = os.scandir(tree / folder)
        except (FileNotFoundError, NotADirectoryError):
            return found
        except OSError as error:
            raise DatasetError(f"cannot list the released files: {error}") from error
        with entries:
            for entry in entries:
                file = Path(entry.name)
                if file.stem in wanted[folder] and file.suffix.lower() in suffixes:
                    twin = found.setdefault((folder, file.stem), entry)
                    if twin is not entry:
                        raise DatasetError(f"{twin.path} and {entry.path} are of the same sample: remove one of them")
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {name: entry for found in pool.map(one, wanted) for name, entry in found.items()}


# Arrays.


def _check_array(condition: Condition, file: Path, images: ImageDataset, notes: list[str]) -> list[str]:
    """Check that an array is of the very samples of `images`; return the paths and sizes of what was looked at."""
    assert condition.files is not None
    array, sequences = open_array(file), find_suite(condition.suite).family == "sequences"
    wanted = (
        f"{'(n, frames' if sequences else f'({len(SEVERITIES)}n'}, {condition.resolution}, {condition.resolution}, 3)"
    )
    if not array.is_bytes or len(array.shape) != (5 if sequences else 4) or array.shape[-1] != 3:
        raise DatasetError(f"{file} is {array.kind} {array.shape}: give the published file, uint8 {wanted}")
    _check_side(condition, file, array.shape[-3], array.shape[-2])
    if sequences and array.shape[1] != condition.files.frames:
        raise DatasetError(_other_frames(condition, file, array.shape[1]))
    order = "give --data the CIFAR python batches, whose order the released files have"
    parts, rows = 1 if sequences else len(SEVERITIES), len(images)
    if array.shape[0] != parts * rows:
        raise DatasetError(
            f"{file} holds {array.shape[0] / parts:g} samples{'' if sequences else ' at each severity'}, {images.name} has {rows}: "
            f"{order}"
        )
    used, known = [file], file.with_name("labels.npy")
    if known.exists():
        labels = read_integers(known)
        if len(labels) not in (rows, len(SEVERITIES) * rows):
            raise DatasetError(f"{known} holds {len(labels)}, not the labels of {rows} samples: {order}")
        stored = images.labels if images.file_labels is None else images.file_labels
        other = np.argwhere(labels.reshape(-1, rows) != stored)
        if len(other):
            at = int(other[0, 1])
            raise DatasetError(
                f"{known} says class {labels.reshape(-1, rows)[other[0, 0], at]} where {images.name} has {stored[at]}, at "
                f"{images.paths[at]}: {order}"
            )
        used.append(known)
    elif sequences:
        notes.append(f"{file.parent} has no labels.npy: that its order is that of {images.name} is taken on trust")
    else:
        raise DatasetError(f"{file.parent} has no labels.npy to tell the order of its images: download it with them")
    return [f"{one.name}\t{one.stat().st_size}" for one in used]


# Reading.


def _reader(condition: Condition, names: Sequence[Name], index: Ints) -> Callable[[int], Pixels]:
    """What reads the released images of sample number `row`: (frames, 3, side, side) uint8."""
    assert condition.files is not None
    path = condition.files.path
    if path.suffix == ".npy":
        array = open_array(path)
        sequences = find_suite(condition.suite).family == "sequences"
        start = 0 if sequences else array.shape[0] // len(SEVERITIES) * (condition.severity - 1)

        def row_of(row: int) -> Pixels:
            try:
                found = array.row(start + int(index[row]))
            except OSError as error:
                raise _unreadable(path, str(error.strerror or error)) from error
            return found.transpose(0, 3, 1, 2) if sequences else found.transpose(2, 0, 1)[None]

        return row_of
    listed = _list(path, names, _suffixes(condition))
    decode = _decode_video if _are_videos(condition) else _decode_picture

    def read(row: int) -> Pixels:
        if names[row] not in listed:
            raise DatasetError(f"the released file {path / '/'.join(names[row])} is gone: put it back")
        file = Path(listed[names[row]].path)
        try:
            return decode(condition, file)
        except OSError as error:
            raise _unreadable(file, os.strerror(error.errno or 0)) from error

    return read


def _decode_picture(condition: Condition, file: Path) -> Pixels:
    try:
        pixels = decode_one(read_image(file), Geometry())
    except DatasetError as error:
        raise _unreadable(file, str(error)) from error
    _check_side(condition, file, *pixels.shape[1:])
    return pixels[None]


def _decode_video(condition: Condition, file: Path) -> Pixels:
    """Decode the frames of a video as OpenCV does, with which the published figures were made."""
    assert condition.files is not None
    av = _pyav()
    frames: list[Pixels] = []
    try:
        # The format is given, because others, such as playlists, would open further files or addresses.
        with file.open("rb") as encoded, av.open(encoded, format="mp4", metadata_errors="ignore") as container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise _unreadable(file, "it holds no video of a known kind")
            _check_side(condition, file, stream.codec_context.height, stream.codec_context.width)
            stream.thread_count = 1  # One file is read by one thread of the pool.
            stream.codec_context.options = {"err_detect": "explode"}  # By default damage is painted over.
            for frame in container.decode(stream):
                _check_side(condition, file, frame.height, frame.width)
                if len(frames) < condition.files.frames:
                    frames.append(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
                else:
                    raise DatasetError(_other_frames(condition, file, f"more than {len(frames)}"))
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(file, " ".join(str(getattr(error, "strerror", None) or error).split())) from error
    if len(frames) != condition.files.frames:
        raise DatasetError(_other_frames(condition, file, len(frames)))
    return np.stack(frames)


def _pyav() -> Any:
    try:
        import av
        import av.error
    except ImportError:
        raise OptionError("the released videos need PyAV to be read: pip install 'robench[video]'") from None
    return av


def _check_side(condition: Condition, file: Path, height: int, width: int) -> None:
    side = condition.resolution
    if (height, width) == (side, side):
        return
    family = find_suite(condition.suite).family
    fitting = [
        suite.name for suite in SUITES.values() if suite.family == family and suite.released_side == height == width
    ]
    mend = f"give --suite {' or '.join(fitting)}" if fitting else "give the published files; they are never resized"
    raise DatasetError(
        f"the released file {file} is {width}x{height} px, those of {condition.suite} are {side}x{side}: {mend}"
    )


def _other_frames(condition: Condition, file: Path, frames: int | str) -> str:
    assert condition.files is not None
    return (
        f"the released file {file} has {frames} frames, {condition.corruption} of {condition.suite} has "
        f"{condition.files.frames}: give the published file"
    )


def _unreadable(file: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"cannot read the released file {file}: {reason}; get it again, then give the same command to go on"
    )
