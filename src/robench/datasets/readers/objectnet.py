"""ObjectNet (Barbu et al. 2019): images of objects, with mappings to the ImageNet classes.

The authors publish these files in `objectnet-1.0`:

- `images/FOLDER/*.png`: images with a red border of 1 px, for which 2 px are cut off
  (github.com/abarbu/objectnet-template-pytorch)
- `mappings/folder_to_objectnet_label.json`: folder -> name of the object
- `mappings/objectnet_to_imagenet_1k.json`: name of the object -> names of ImageNet classes, separated by `; `
- `mappings/imagenet_to_label_2012_v2`: names of the ImageNet classes, one per line in the order of the challenge
- `mappings/pytorch_to_imagenet_2012_id.json`: model output -> number in the order of the challenge
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
    """Return whether a folder is ObjectNet's, or its `images`."""
    return _mappings(path) is not None


def _read(path: Path) -> ImageDataset:
    """List the images of the classes that ImageNet has too; other classes are left out with a note."""
    mappings = _mappings(path)
    assert mappings is not None
    everything = FOLDER.read(path / "images" if (path / "images").is_dir() else path)
    try:
        outputs = _outputs(mappings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{mappings} does not map ObjectNet's folders to ImageNet's classes ({type(error).__name__}: {error})",
            "unpack it again",
        ) from error
    labels = [label for label, folder in enumerate(everything.classes) if folder in outputs]
    positions = np.flatnonzero(np.isin(everything.labels, labels))
    if not len(positions):
        raise DatasetError(
            f"{path} has no image of a class that {mappings} maps to ImageNet",
            "give the whole folder images of ObjectNet",
        )
    left_out = len(everything.classes) - len(labels)
    return replace(
        everything,
        name=path.resolve().name if path.name != "images" else path.resolve().parent.name,
        paths=tuple(everything.paths[position] for position in positions.tolist()),
        labels=np.searchsorted(labels, everything.labels[positions]).astype(np.int64),
        classes=tuple(everything.classes[label] for label in labels),
        read=lambda position: everything.read(int(positions[position])),
        groups=tuple(outputs[everything.classes[label]] for label in labels),
        border=_BORDER,
        notes=(
            *everything.notes,
            f"ObjectNet: {len(labels)} classes that ImageNet has too, {left_out} others left out; a prediction of any of the "
            f"ImageNet classes of an object is correct; {_BORDER} px of border are cut off",
        ),
    )


def _mappings(path: Path) -> Path | None:
    folders = [path / "mappings", path.parent / "mappings"]
    return next((folder for folder in folders if path.is_dir() and (folder / _FOLDERS).is_file()), None)


def _outputs(mappings: Path) -> dict[str, tuple[int, ...]]:
    """Return the outputs of an ImageNet model that correspond to each folder."""

    def content(file: str) -> Any:
        return parse_json(read_limited(mappings / file, _MAPPING_BYTES))

    names, imagenet = content(_FOLDERS), content("objectnet_to_imagenet_1k.json")
    numbers = {int(output): int(number) for output, number in content("pytorch_to_imagenet_2012_id.json").items()}
    text = read_limited(mappings / "imagenet_to_label_2012_v2", _MAPPING_BYTES).decode()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = min(numbers.values())  # Copies of the file count from 0 or from 1.
    by_name = {lines[number - first]: output for output, number in numbers.items() if number - first < len(lines)}
    outputs = {
        folder: tuple(sorted(by_name[class_name] for class_name in imagenet[name].split("; ")))
        for folder, name in names.items()
        if name in imagenet
    }
    if any(not 0 <= output < IMAGENET_CLASSES for group in outputs.values() for output in group):
        raise ValueError("an output is not one of ImageNet's")
    return outputs


OBJECTNET = Reader(
    "objectnet", "ObjectNet's images and mappings, limited to the classes that ImageNet has too", _matches, _read
)
