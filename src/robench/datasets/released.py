"""Released files of corrupted images (`--released DIR`), read in batches without the cache.

Layouts::

    CORRUPTION/SEVERITY/CLASS/NAME.JPEG     images: ImageNet-C and its relatives
    CORRUPTION.npy, labels.npy              (5n, side, side, 3), by severity: CIFAR-10-C, CIFAR-100-C
    PERTURBATION[_2|_3]/CLASS/NAME.mp4      videos: ImageNet-P and its relatives
    PERTURBATION[_2|_3].npy                 (n, frames, side, side, 3): CIFAR-10-P; labels.npy is optional

They are in DIR or in folders of it, as downloaded (DIR/noise/gaussian_noise/…), and are never resized or cropped. Folders
of C-bar may be named by the published values of the severities, such as 2.35, instead of by 1 to 5. A file belongs to the
sample with its class folder and stem, a row of an array to the sample at its position.

Source: hendrycks/robustness ImageNet-C/test.py, ImageNet-P/test.py, ImageNet-P/cifar-p-eval.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robench.datasets.byte_sizes import format_bytes
from robench.datasets.cache.decode import decode_one
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image
from robench.datasets.io.npy import open_array, read_labels
from robench.errors import DatasetError, OptionError
from robench.suites import C_BAR_VALUES, SEVERITIES, SUITES, Condition, Suite, find_suite
from robench.suites.geometry import Geometry
from robench.types import Ints

__all__ = ["CheckedFiles", "Name", "check_released", "find_released", "read_released", "released_names"]

Name: TypeAlias = tuple[str, str]
"""Class folder and file stem of a sample."""

Pixels: TypeAlias = NDArray[np.uint8]

_GROUPS = ("noise", "blur", "weather", "digital", "extra")
"""Folders of corruptions in the downloads of ImageNet-C and -P."""

_IMAGES, _VIDEOS = (".jpeg", ".jpg", ".png"), (".mp4",)

_LARGEST = 1 << 26
"""Most bytes of a released image or video: 64 MiB, more than any has."""

_CIFAR_HINT = "give --data the CIFAR python batches, which have the order of the released files"


@dataclass(frozen=True)
class CheckedFiles:
    """Result of checking the released files of a run.

    Attributes:
        fingerprints: SHA-256 of the paths and sizes of the files of each condition, by its name.
        missing: Reason by position of each sample that lacks a file of any condition.
        notes: Messages for the user.
    """

    fingerprints: dict[str, str]
    missing: dict[int, str]
    notes: tuple[str, ...] = ()


def find_released(root: Path, suite: Suite, cells: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Path]:
    """Find the released files of a suite below a folder.

    Args:
        root: Folder of the released files.
        suite: The suite.
        cells: Corruptions with severities, or perturbations with difficulties.

    Returns:
        Array or folder of class folders for each cell that has one.

    Raises:
        DatasetError: No cell has files, or a cell has them twice.
    """
    if not root.is_dir():
        raise DatasetError(f"--released {root} is not a folder", f"give the folder of {suite.name}'s released files")
    try:
        folders = _search_folders(root)
        labels = _severity_labels(root, folders, suite)
        paths = {
            cell: [path for folder in folders for path in _cell_paths(folder, suite, *cell, labels)] for cell in cells
        }
    except OSError as error:
        raise DatasetError(f"cannot list --released {root}: {error}", "check its permissions") from error
    for (name, severity), twins in paths.items():
        if len(twins) > 1:
            raise DatasetError(
                f"--released {root} has {name} {severity} of {suite.name} twice, {twins[0]} and {twins[1]}",
                "give the folder of one of them",
            )
    if cells and not any(paths.values()):
        tree, array = _expected(suite, *cells[0])
        raise DatasetError(
            f"--released {root} and its folders, such as {_GROUPS[0]}, contain no files of {suite.name} like {tree} or {array}",
            "give the folder that contains them, as downloaded and unpacked",
        )
    return {cell: files[0] for cell, files in paths.items() if files}


def released_names(images: ImageDataset, positions: Ints) -> tuple[Name, ...]:
    """Return the class folders and file stems of the samples at `positions`."""
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
    """Check that each condition with released files has one for each sample, and that its first one fits the suite.

    Args:
        images: The dataset.
        positions: Positions of the samples.
        conditions: Conditions of the run; those without released files are skipped.
        skip: Whether samples without a file are listed in the result.
        advance: Called with the number of samples after each condition.

    Raises:
        DatasetError: A file is invalid, or a sample has none and `skip` is false.
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
            present = positions
        else:
            used, absent = _check_tree(condition, condition.files.path, images, positions, names)
            if absent and not skip:
                first = min(absent)
                more = f" (and {len(absent) - 1} more samples have none)" if len(absent) > 1 else ""
                raise DatasetError(
                    f"the sample {images.paths[first]} has no released file: {absent[first]}{more}",
                    "download the missing files, choose other samples with --subset, or give --skip-unreadable",
                )
            missing |= absent
            present = positions[~np.isin(positions, list(absent))]
        if len(present):
            _reader(condition, released_names(images, present[:1]), present[:1])(0)
        fingerprints[condition.name] = hashlib.sha256("\n".join(used).encode(errors="surrogateescape")).hexdigest()
        advance(len(positions))
    return CheckedFiles(fingerprints, missing, tuple(dict.fromkeys(notes)))


def read_released(
    condition: Condition, names: Sequence[Name], index: Ints, batch_size: int
) -> Generator[tuple[slice, int, Pixels]]:
    """Read the released images of some samples in batches; for each batch, yield its frames in turn.

    A pool of threads reads the next batch meanwhile, so that two batches are in memory.

    Args:
        condition: Condition with released files.
        names: Names of the samples.
        index: (n,) positions of the samples.
        batch_size: Samples in a batch.

    Yields:
        Slice of the samples, number of the frame, and its images, (b, 3, side, side) uint8.

    Raises:
        DatasetError: A file is unreadable, or has another size or number of frames than the condition.
    """
    assert condition.files is not None
    read = _reader(condition, names, index)
    parts = [slice(start, min(start + batch_size, len(index))) for start in range(0, len(index), batch_size)]
    pool = ThreadPoolExecutor(os.cpu_count())

    def submit(part: slice) -> list[Future[Pixels]]:
        return [pool.submit(read, row) for row in range(part.start, part.stop)]

    try:
        waiting = submit(parts[0])
        for part, following in zip(parts, [*parts[1:], slice(0, 0)], strict=True):
            current, waiting = waiting, submit(following)
            batch = [future.result() for future in current]
            for frame in range(condition.files.frames):
                yield part, frame, np.stack([images[frame] for images in batch])
            del current, batch  # Otherwise a third batch would be in memory.
    finally:
        pool.shutdown(cancel_futures=True)


def _search_folders(root: Path) -> list[Path]:
    folders = _folders(root)
    groups = [folder / group for folder in folders for group in _GROUPS if (folder / group).is_dir()]
    return [root, *folders, *groups]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _expected(suite: Suite, name: str, severity: int) -> tuple[str, str]:
    """Return the expected paths of a cell's files, for messages."""
    if suite.family.has_frames:
        label = _label(name, severity)
        return f"{label}/CLASS/*.mp4", f"{label}.npy (n, frames, side, side, 3)"
    return f"{name}/{severity}/CLASS/*.JPEG", f"{name}.npy ({len(SEVERITIES)}n, side, side, 3)"


def _label(name: str, difficulty: int) -> str:
    return name if difficulty == 1 else f"{name}_{difficulty}"


_Labels: TypeAlias = Mapping[str, Sequence[str]]
"""Names of the folders of severities 1 to 5, by corruption, where they differ from 1 to 5."""


def _severity_labels(root: Path, folders: Iterable[Path], suite: Suite) -> _Labels:
    """Return the names of the folders of a suite with published values, if the folders are named by these values.

    The names 1 to 5 are severities and may be values too. A name that is only one of them decides for its corruption, and for
    corruptions whose names are all both.

    Raises:
        DatasetError: If folders of one corruption have names of both kinds.
    """
    labels, ambiguous, any_values = {}, {}, False
    for name, values in C_BAR_VALUES.get(suite.name, {}).items():
        found = {
            path.name: _number(path.name)
            for folder in folders
            if (folder / name).is_dir()
            for path in _folders(folder / name)
        }
        by_value = {text: number for text, number in found.items() if number in values}
        severities = {text for text in found if text in map(str, SEVERITIES)}
        only_values, only_severities = by_value.keys() - severities, severities - by_value.keys()
        if only_values and only_severities:
            raise DatasetError(
                f"--released {root} names folders of {name} by value and by severity: {', '.join(sorted(only_values | only_severities))}",
                "rename them to 1 to 5",
            )
        texts = {number: text for text, number in by_value.items()}
        named = [texts.get(value, f"{value:g}") for value in values]
        if only_values:
            labels[name], any_values = named, True
        elif not only_severities:
            ambiguous[name] = named
    return labels | ambiguous if any_values else labels


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cell_paths(folder: Path, suite: Suite, name: str, severity: int, labels: _Labels) -> Iterator[Path]:
    sequences = suite.family.has_frames
    label = _label(name, severity) if sequences else name
    level = labels[name][severity - 1] if name in labels else str(severity)
    tree, array = folder / label if sequences else folder / label / level, folder / f"{label}.npy"
    if tree.is_dir() and (_holds_videos(tree) if sequences else _folders(tree)):
        yield tree
    if array.is_file():
        axes = len(open_array(array).shape)
        if axes not in (4, 5):
            raise DatasetError(
                f"{array} has {axes} axes", f"give the published file, {_expected(suite, name, severity)[1]}"
            )
        if axes == (5 if sequences else 4):
            yield array


def _holds_videos(tree: Path) -> bool:
    return any(file.suffix.lower() in _VIDEOS for folder in _folders(tree) for file in folder.iterdir())


def _check_tree(
    condition: Condition, tree: Path, images: ImageDataset, positions: Ints, names: Sequence[Name]
) -> tuple[list[str], dict[int, str]]:
    """Return the paths and sizes of the samples' files, and the reason for each position without one."""
    if len(set(names)) < len(names):
        first: dict[Name, int] = {}
        for position, name in zip(positions.tolist(), names, strict=True):
            if first.setdefault(name, position) != position:
                raise DatasetError(
                    f"{images.paths[first[name]]} and {images.paths[position]} have the same released file {'/'.join(name)}",
                    "rename one, or leave it out with --subset",
                )
    listed = _list(tree, names, _suffixes(condition))
    used, absent = [], {}
    for position, name in zip(positions.tolist(), names, strict=True):
        entry = listed.get(name)
        if entry is None:
            absent[position] = f"{tree / '/'.join(name)}{'.mp4' if _are_videos(condition) else '.JPEG'} is missing"
            continue
        try:
            size = entry.stat().st_size if entry.is_file() else None
        except OSError as error:
            absent[position] = str(error)
            continue
        if size is None or size > _LARGEST:
            absent[position] = (
                f"{entry.path} is {'not a file' if size is None else f'too large ({format_bytes(size)})'}"
            )
            continue
        used.append(f"{condition.corruption}/{condition.severity}/{name[0]}/{entry.name}\t{size}")
    return used, absent


def _are_videos(condition: Condition) -> bool:
    return find_suite(condition.suite).family.has_frames


def _suffixes(condition: Condition) -> tuple[str, ...]:
    return _VIDEOS if _are_videos(condition) else _IMAGES


def _list(tree: Path, names: Iterable[Name], suffixes: tuple[str, ...]) -> dict[Name, os.DirEntry[str]]:
    """Return the existing files of the samples."""
    stems: dict[str, set[str]] = {}
    for folder, stem in names:
        stems.setdefault(folder, set()).add(stem)

    def list_folder(folder: str) -> dict[Name, os.DirEntry[str]]:
        files: dict[Name, os.DirEntry[str]] = {}
        try:
            entries = os.scandir(tree / folder)
        except (FileNotFoundError, NotADirectoryError):
            return files
        except OSError as error:
            raise DatasetError(f"cannot list the released files: {error}", "check their permissions") from error
        with entries:
            for entry in entries:
                file = Path(entry.name)
                if file.stem in stems[folder] and file.suffix.lower() in suffixes:
                    twin = files.setdefault((folder, file.stem), entry)
                    if twin is not entry:
                        raise DatasetError(
                            f"{twin.path} and {entry.path} belong to the same sample", "remove one of them"
                        )
        return files

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {name: entry for files in pool.map(list_folder, stems) for name, entry in files.items()}


def _check_array(condition: Condition, file: Path, images: ImageDataset, notes: list[str]) -> list[str]:
    """Check that an array contains the samples of `images`; return the names and sizes of the files that were read."""
    assert condition.files is not None
    array, sequences = open_array(file), find_suite(condition.suite).family.has_frames
    side, rows = condition.resolution, len(images)
    parts, first_axes = (1, "n, frames") if sequences else (len(SEVERITIES), f"{len(SEVERITIES)}n")
    if array.dtype != np.uint8 or len(array.shape) != (5 if sequences else 4) or array.shape[-1] != 3:
        raise DatasetError(
            f"{file} holds {array.dtype} of shape {array.shape}",
            f"give the published file, uint8 of shape ({first_axes}, {side}, {side}, 3)",
        )
    _check_side(condition, file, array.shape[-3], array.shape[-2])
    if sequences and array.shape[1] != condition.files.frames:
        raise _other_frames(condition, file, array.shape[1])
    if array.shape[0] != parts * rows:
        raise DatasetError(
            f"{file} holds {array.shape[0] / parts:g} samples{'' if sequences else ' at each severity'}, but {images.name} has {rows}",
            _CIFAR_HINT,
        )
    used, label_file = [file], file.with_name("labels.npy")
    if label_file.exists():
        labels, _ = read_labels(open_array(label_file), str(label_file))
        if len(labels) not in (rows, len(SEVERITIES) * rows):
            raise DatasetError(f"{label_file} holds {len(labels)} labels, not those of {rows} samples", _CIFAR_HINT)
        labels = labels.reshape(-1, rows)
        expected = images.labels if images.file_labels is None else images.file_labels
        mismatches = np.argwhere(labels != expected)
        if len(mismatches):
            part, position = mismatches[0]
            raise DatasetError(
                f"{label_file} has class {labels[part, position]} for {images.paths[position]}, but {images.name} has class "
                f"{expected[position]}",
                _CIFAR_HINT,
            )
        used.append(label_file)
    elif sequences:
        notes.append(f"{file.parent} has no labels.npy: its order is assumed to be that of {images.name}")
    else:
        raise DatasetError(f"{file.parent} has no labels.npy to check the order of its images", "download it too")
    return [f"{path.name}\t{path.stat().st_size}" for path in used]


def _reader(condition: Condition, names: Sequence[Name], index: Ints) -> Callable[[int], Pixels]:
    """Return a function that reads the released images of sample number `row`: (frames, 3, side, side) uint8."""
    assert condition.files is not None
    path = condition.files.path
    if path.suffix == ".npy":
        array = open_array(path)
        sequences = find_suite(condition.suite).family.has_frames
        start = 0 if sequences else array.shape[0] // len(SEVERITIES) * (condition.severity - 1)

        def read_row(row: int) -> Pixels:
            try:
                pixels = array.row(start + int(index[row]))
            except OSError as error:
                raise _unreadable(path, str(error.strerror or error)) from error
            return pixels.transpose(0, 3, 1, 2) if sequences else pixels.transpose(2, 0, 1)[None]

        return read_row
    listed = _list(path, names, _suffixes(condition))
    decode = _decode_video if _are_videos(condition) else _decode_image

    def read(row: int) -> Pixels:
        if names[row] not in listed:
            raise DatasetError(f"the released file {path / '/'.join(names[row])} was removed", "put it back")
        file = Path(listed[names[row]].path)
        try:
            return decode(condition, file)
        except OSError as error:
            raise _unreadable(file, os.strerror(error.errno or 0)) from error

    return read


def _decode_image(condition: Condition, file: Path) -> Pixels:
    try:
        pixels = decode_one(read_image(file), Geometry())
    except DatasetError as error:
        raise _unreadable(file, str(error)) from error
    _check_side(condition, file, *pixels.shape[1:])
    return pixels[None]


def _decode_video(condition: Condition, file: Path) -> Pixels:
    """Decode the frames of a video as OpenCV does, which the published results used."""
    assert condition.files is not None
    av = _pyav()
    frames: list[Pixels] = []
    try:
        # The format is fixed, because others, such as playlists, would open further files or addresses.
        with file.open("rb") as encoded, av.open(encoded, format="mp4", metadata_errors="ignore") as container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise _unreadable(file, "it holds no video of a known format")
            _check_side(condition, file, stream.codec_context.height, stream.codec_context.width)
            stream.thread_count = 1  # The pool already uses one thread for each file.
            stream.codec_context.options = {"err_detect": "explode"}  # By default, the decoder conceals damage.
            for frame in container.decode(stream):
                _check_side(condition, file, frame.height, frame.width)
                if len(frames) < condition.files.frames:
                    frames.append(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
                else:
                    raise _other_frames(condition, file, f"more than {len(frames)}")
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(file, " ".join(str(getattr(error, "strerror", None) or error).split())) from error
    if len(frames) != condition.files.frames:
        raise _other_frames(condition, file, len(frames))
    return np.stack(frames)


def _pyav() -> Any:
    try:
        import av
        import av.error
    except ImportError:
        raise OptionError("released videos need PyAV", "pip install 'robench[video]'") from None
    return av


def _check_side(condition: Condition, file: Path, height: int, width: int) -> None:
    side = condition.resolution
    if (height, width) == (side, side):
        return
    family = find_suite(condition.suite).family
    suites = [
        suite.name for suite in SUITES.values() if suite.family == family and suite.released_side == height == width
    ]
    raise DatasetError(
        f"the released file {file} is {width}x{height} px, but those of {condition.suite} are {side}x{side}",
        f"give --suite {' or '.join(suites)}" if suites else "give the published files; they are never resized",
    )


def _other_frames(condition: Condition, file: Path, frames: int | str) -> DatasetError:
    assert condition.files is not None
    return DatasetError(
        f"the released file {file} has {frames} frames, but {condition.corruption} of {condition.suite} has "
        f"{condition.files.frames}",
        "give the published file",
    )


def _unreadable(file: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"cannot read the released file {file}: {reason}", "download it again, then repeat the command to resume"
    )
