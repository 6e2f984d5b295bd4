"""WebDataset shards: tar archives in which the files of a sample share their name up to the first dot."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import os_error, read_part
from robench.datasets.io.directories import image_suffixes, visible_folders
from robench.datasets.io.tar_index import Member, members
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import LABEL_COLUMNS, lower_keys, parse_json, true_classes
from robench.datasets.readers.splits import choose_split
from robench.errors import DatasetError, one_line

__all__ = ["WEBDATASET"]

_CLASS_BYTES = 2**10
_JSON_BYTES = 2**20
_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class _Sample:
    """An image in a shard, and its label in the file."""

    shard: Path
    image: Member
    label: object


def _matches(path: Path) -> bool:
    if path.is_dir():
        # A folder may also contain an archive and the class folders that were unpacked from it.
        return any(path.glob("*.tar")) and not visible_folders(path)
    name = path.name.lower()
    return (path.is_file() and name.endswith((".tar", *_COMPRESSED))) or (
        name.endswith(".tar") and _RANGE.search(str(path)) is not None
    )


def _read(path: Path) -> ImageDataset:
    shards, notes = _shards(path)
    duplicate = next((name for name, count in Counter(shard.stem for shard in shards).items() if count > 1), None)
    if duplicate is not None:
        raise DatasetError(f"two shards have the name {duplicate}.tar", "rename one")
    samples: dict[str, _Sample] = {}
    without = 0
    for shard in shards:
        for key, files in _grouped(shard).items():
            image = _image(shard, key, files)
            if image is None:
                without += 1
                continue
            samples[f"{shard.stem}/{image.name}"] = _Sample(shard, image, _label(shard, key, files))
    if not samples:
        raise DatasetError(
            f"{path} holds no images",
            "pack KEY.jpg (or another image) and KEY.cls, KEY.txt or KEY.json for each sample",
        )
    paths = tuple(sorted(samples))
    ordered = [samples[name] for name in paths]
    truth = true_classes(
        [sample.label for sample in ordered],
        lambda position: f"{ordered[position].shard}: {ordered[position].image.name!r}",
    )
    if without:
        notes = (*notes, f"skipped {without} samples without an image")

    def read(position: int) -> bytes:
        sample = ordered[position]
        return read_part(sample.shard, sample.image.offset, sample.image.size)

    name = path.resolve().name if path.is_dir() else _RANGE.sub("", path.stem).strip("-_.") or path.parent.name
    return ImageDataset(
        name=name,
        paths=paths,
        labels=truth.labels,
        classes=truth.names,
        label_sets=truth.sets,
        read=read,
        notes=notes,
    )


def _shards(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    if path.is_dir():
        return choose_split([file for file in path.glob("*.tar") if not file.name.startswith(".")])
    ranges = _RANGE.search(str(path))
    if path.is_file() or ranges is None:
        return [path], ()
    first, last = int(ranges[1]), int(ranges[2])
    if not first <= last < first + _SHARDS:
        raise DatasetError(
            f"{path}: the range must ascend and name at most {_SHARDS} shards", "write it as shard-{000000..000009}.tar"
        )
    before, after = str(path)[: ranges.start()], str(path)[ranges.end() :]
    shards = [Path(f"{before}{number:0{len(ranges[1])}d}{after}") for number in range(first, last + 1)]
    missing = next((shard for shard in shards if not shard.is_file()), None)
    if missing is not None:
        raise DatasetError(
            f"there is no shard {missing}, one of the {len(shards)} shards of {path}",
            "download it again, or give a smaller range",
        )
    return shards, ()


def _grouped(shard: Path) -> dict[str, dict[str, Member]]:
    """Return the files of each sample in shard order, by the lower-case text after the first dot of their names."""
    samples: dict[str, dict[str, Member]] = {}
    for member in members(shard):
        parent, slash, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem or not extension:
            continue
        files = samples.setdefault(f"{parent}{slash}{stem}", {})
        if extension.lower() in files:
            raise DatasetError(f"{shard} holds {member.name!r} twice", "pack each sample once, under its own key")
        files[extension.lower()] = member
    return samples


def _image(shard: Path, key: str, files: dict[str, Member]) -> Member | None:
    images = {
        extension: file for extension, file in files.items() if f".{extension.split('.')[-1]}" in image_suffixes()
    }
    plain = {extension: file for extension, file in images.items() if "." not in extension} or images
    if len(plain) > 1:
        raise DatasetError(
            f"{shard}: the sample {key!r} has several images ({', '.join(sorted(plain))})", "pack only one"
        )
    return next(iter(plain.values()), None)


def _label(shard: Path, key: str, files: dict[str, Member]) -> object:
    # .txt often holds a caption: it is the label only if there is no other.
    extension = next((extension for extension in ("cls", "json", "txt") if extension in files), None)
    if extension in ("cls", "txt"):
        text = _text(shard, key, files[extension], _CLASS_BYTES).strip()
        if len(text.splitlines()) != 1:
            raise DatasetError(
                f"{shard}: {key}.{extension} of {key!r} is not one line of text", "write a class name or a whole number"
            )
        return text
    if extension is None:
        raise DatasetError(
            f"{shard}: the sample {key!r} has no label",
            "pack KEY.cls or KEY.txt (a class name or a whole number) or KEY.json with it",
        )
    try:
        value = parse_json(_text(shard, key, files["json"], _JSON_BYTES))
    except ValueError as error:
        raise DatasetError(
            f"{shard}: the JSON of {key!r} cannot be read ({one_line(error)})", 'write {"label": CLASS}'
        ) from error
    known = lower_keys(value) if isinstance(value, dict) else {}
    label = next((known[name] for name in LABEL_COLUMNS if name in known), None)
    if label is None:
        raise DatasetError(f"{shard}: the JSON of {key!r} has no label", 'write {"label": CLASS}')
    return label


def _text(shard: Path, key: str, member: Member, limit: int) -> str:
    if member.size > limit:
        raise DatasetError(
            f"{shard}: the label of {key!r} has {member.size} bytes, more than the limit of {limit}",
            "pack a class name or a whole number",
        )
    try:
        return read_part(shard, member.offset, member.size).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shard}: the label of {key!r} is not UTF-8 text", "save it as UTF-8") from error
    except OSError as error:
        raise os_error(shard, error) from error


WEBDATASET = Reader(
    "webdataset",
    "a .tar shard, a folder of them, or a pattern as 'shard-{000000..000009}.tar': KEY.jpg with KEY.cls, .txt or .json",
    _matches,
    _read,
)
