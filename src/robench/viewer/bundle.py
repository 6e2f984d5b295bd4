"""The page as a folder of static files, with the images of chosen samples."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robench.errors import OptionError
from robench.runs.files import read_start, translate_os_errors
from robench.viewer.images import SampleImages, encode_thumbnail
from robench.viewer.items import item, sample
from robench.viewer.page import MARK, render
from robench.viewer.query import Query, find
from robench.viewer.samples import SampleTable

__all__ = ["Bundle", "check_bundle", "write_bundle"]

_INDEX, _IMAGES = "index.html", "images"


@dataclass(frozen=True)
class Bundle:
    """A written folder.

    Attributes:
        images: Number of image files.
        samples: Number of samples.
        bytes: Size of all files.
    """

    images: int
    samples: int
    bytes: int


def check_bundle(folder: Path, *, force: bool) -> None:
    """Refuse to write into a folder that is not a bundle.

    Raises:
        OptionError: The path is a file, is inside a run, has no parent directory, or is a folder with other content.
    """
    hint = "choose another path, or write it with --force"
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--bundle {folder} is a file", "name a folder")
    if not folder.absolute().parent.is_dir():
        raise OptionError(
            f"--bundle {folder} is in a directory that does not exist", f"create {folder.absolute().parent}"
        )
    if force:
        return
    if any((place / "manifest.json").exists() for place in (folder, folder.absolute().parent)):
        raise OptionError(f"--bundle {folder} is inside a run directory", hint)
    if folder.is_dir() and any(folder.iterdir()) and MARK not in read_start(folder / _INDEX)[:200]:
        raise OptionError(f"--bundle {folder} is a folder of another kind", hint)


def write_bundle(
    table: SampleTable,
    overview: dict[str, Any],
    images: SampleImages,
    query: Query,
    folder: Path,
    *,
    count: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Bundle:
    """Write the page with the first samples of every condition that the query selects, and their images.

    The files are written next to the folder and then moved into it. An existing bundle is replaced; other files stay.

    Args:
        table: The samples.
        overview: The content of the page that does not depend on a query.
        images: The images.
        query: The selection and the order of the samples.
        folder: The folder, which `check_bundle` accepts.
        count: Samples of each condition.
        advance: Receives the numbers of images that are written, and of all images.

    Raises:
        OptionError: The query selects nothing.
        RobenchError: An image cannot be computed, or a file cannot be written.
    """
    chosen = _chosen(table, query, count)
    if not chosen:
        raise OptionError("no image matches, so that the bundle would be empty", "give other filters")
    names = {f"{one['condition']}/{one['sample']}/{one['frame']}": "" for one in chosen}
    for one in chosen:
        names[f"{table.conditions[one['condition']].clean}/{one['sample']}/0"] = ""
    rows = dict.fromkeys(one["sample"] for one in chosen)
    with translate_os_errors(folder), tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.absolute().parent) as made:
        place = Path(made, _IMAGES)
        place.mkdir()
        for number, key in enumerate(names):
            condition, number_of, frame = key.split("/")
            names[key] = f"{_IMAGES}/{number}.webp"
            content = encode_thumbnail(images.pixels(condition, int(number_of), int(frame)))
            (place / f"{number}.webp").write_bytes(content)
            advance(number + 1, len(names))
        content_of = {
            "overview": overview,
            "start": {
                name: text for name, text in replace(query, low=0, high=1).text.items() if name in ("order", "of")
            },
            "items": chosen,
            "samples": {str(one): sample(table, int(table.position(one) or 0)) for one in rows},
            "images": names,
        }
        Path(made, _INDEX).write_text(render(content_of), encoding="utf-8")
        size = sum(file.stat().st_size for file in Path(made).rglob("*") if file.is_file())
        folder.mkdir(exist_ok=True)
        if (folder / _IMAGES).is_dir() and MARK in read_start(folder / _INDEX)[:200]:
            shutil.rmtree(folder / _IMAGES)
        (folder / _IMAGES).mkdir(exist_ok=True)
        for file in place.iterdir():
            file.replace(folder / _IMAGES / file.name)
        Path(made, _INDEX).replace(folder / _INDEX)
        (folder / _INDEX).chmod(0o644)
    return Bundle(len(names), len(rows), size)


def _chosen(table: SampleTable, query: Query, count: int) -> list[dict[str, Any]]:
    """Return the first samples of the query under each condition that it selects."""
    chosen = []
    for name in table.conditions:
        within = replace(query, condition=name) if query.condition in ("", name) else None
        if within is None:
            continue
        found = find(table, within)
        for row, plane in list(zip(found.rows.tolist(), found.planes.tolist(), strict=True))[:count]:
            chosen.append(item(table, row, plane, int(found.flips[row])))
    return chosen
