"""ObjectNet (Barbu et al. 2019): pictures of objects by everyday names, with mappings to the ImageNet classes that they are.

objectnet-1.0/images/FOLDER/*.png                 a red border of one pixel, of which two are cut off, around every picture
objectnet-1.0/mappings/folder_to_objectnet_label.json    FOLDER -> name
                       objectnet_to_imagenet_1k.json     name -> names of ImageNet classes, `; ` between them
                       imagenet_to_label_2012_v2         a name of an ImageNet class a line, by the number of the challenge
                       pytorch_to_imagenet_2012_id.json  output of a model -> that number

Source: the files that the authors ship; the border, github.com/abarbu/objectnet-template-pytorch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robench.datasets.class_mapping import IMAGENET_CLASSES
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_limited
from robench.datasets.readers.base import Reader
from robench.datasets.readers.image_folder import FOLDER
from robench.datasets.readers.labels import parse_json
from robench.errors import DatasetError

__all__ = ["OBJECTNET"]

_BORDER = 2
_MAPPING_BYTES = 2**24
_FOLDERS = "folder_to_objectnet_label.json"


def _matches(path: Path) -> bool:
    """Whether a folder is ObjectNet's, or its `images`."""
    return _mappings(path) is not None


def _read(path: Path) -> ImageDataset:
    """List the pictures of the classes that ImageNet has too; the other classes are left out, with a note."""
    mappings = _mappings(path)
    assert mappings is not None
    everything = FOLDER.read(path / "images" if (path / "images").is_dir() else path)
    try:
        outputs = _outputs(mappings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{mappings} does not map ObjectNet's folders to ImageNet's classes ({type(error).__name__}: {error}): unpack it again"
        ) from error
    kept = [label for label, folder in enumerate(everything.classes) if folder in outputs]
    positions = np.flatnonzero(np.isin(everything.labels, kept))
    if not len(positions):
        raise DatasetError(f"{path} has no picture of a class that {mappings} maps to ImageNet")
    left_out = len(everything.classes) - len(kept)
    return replace(
        everything,
        name=path.resolve().name if path.name != "images" else path.resolve().parent.name,
        paths=tuple(everything.paths[position] for position in positions.tolist()),
        labels=np.searchsorted(kept, everything.labels[positions]).astype(np.int64),
        classes=tuple(everything.classes[label] for label in kept),
        read=lambda position: everything.read(int(positions[position])),
        groups=tuple(outputs[everything.classes[label]] for label in kept),
        border=_BORDER,
        notes=(
            *everything.notes,
            f"ObjectNet: {len(kept)} classes that ImageNet has too, {left_out} others left out; a prediction of any of the "
            f"ImageNet classes of an object is right; {_BORDER} px of border are cut off",
        ),
    )


def _mappings(path: Path) -> Path | None:
    places = [path / "mappings", path.parent / "mappings"]
    return next((place for place in places if path.is_dir() and (place / _FOLDERS).is_file()), None)


def _outputs(mappings: Path) -> dict[str, tuple[int, ...]]:
    """The outputs of an ImageNet model that each folder stands for."""

    def content(file: str) -> Any:
        return parse_json(read_limited(mappings / file, _MAPPING_BYTES))

    names, imagenet = content(_FOLDERS), content("objectnet_to_imagenet_1k.json")
    numbers = {int(output): int(number) for output, number in content("pytorch_to_imagenet_2012_id.json").items()}
    text = read_limited(mappings / "imagenet_to_label_2012_v2", _MAPPING_BYTES).decode()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = min(numbers.values())  # Copies of the file count from 0 or from 1.
    by_name = {lines[number - first]: output for output, number in numbers.items() if number - first < len(lines)}
    found = {
        folder: tuple(sorted(by_name[one] for one in imagenet[name].split("; ")))
        for folder, name in names.items()
        if name in imagenet
    }
    if any(not 0 <= output < IMAGENET_CLASSES for outputs in found.values() for output in outputs):
        raise ValueError("an output is not among ImageNet's")
    return found


OBJECTNET = Reader(
    "objectnet", "ObjectNet's images and mappings, of the classes that ImageNet has too", _matches, _read
)
