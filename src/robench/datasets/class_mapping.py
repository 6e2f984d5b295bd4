"""Correspondence between the classes of a dataset and the outputs of a model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.errors import DatasetError

__all__ = ["IMAGENET_CLASSES", "fit_classes", "imagenet_wnids"]

IMAGENET_CLASSES = 1000
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def fit_classes(images: ImageDataset, outputs: int, model: str) -> ImageDataset:
    """Return the dataset with its classes matched to the outputs of a model.

    If there are as many classes as outputs, the classes are the outputs in order. Fewer classes can match in two ways:

    - All names are WordNet ids of ImageNet classes, as in ImageNet-A and -R: predictions are limited to these classes.
    - All names are numbers: each class is the output with its number.

    Args:
        images: The dataset.
        outputs: Number of the model's outputs.
        model: Name of the model, for messages.

    Raises:
        DatasetError: The classes do not match the outputs.
    """
    count = len(images.classes)
    if images.groups is not None:
        if outputs != IMAGENET_CLASSES:
            raise _mismatch(images, outputs, model)
        return images
    if count == outputs:
        return images
    if count < outputs == IMAGENET_CLASSES:
        index = {wnid: output for output, wnid in enumerate(imagenet_wnids())}
        if all(name in index for name in images.classes):
            groups = tuple((index[name],) for name in images.classes)
            note = (
                f"{images.name} has {count} of ImageNet's {IMAGENET_CLASSES:,} classes (by WordNet id): "
                "predictions are limited to them"
            )
            return replace(images, groups=groups, notes=(*images.notes, note))
    if count < outputs and _are_numbers(images):
        note = f"{images.name} has labels up to {count - 1}, {model} has {outputs} classes: labels are used as class numbers"
        if images.labels.min() == 1:
            note += f"; no label is 0, so if labels begin at 1, {_shift_hint(count - 1)}"
        classes = tuple(map(str, range(outputs)))
        return replace(images, classes=classes, notes=(*images.notes, note))
    raise _mismatch(images, outputs, model)


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's 1,000 classes in the order of model outputs, from a file of timm."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise DatasetError("timm, which lists ImageNet's classes, is not installed", "pip install timm")
    return tuple(Path(folders[0], "data", "_info", "imagenet_synsets.txt").read_text().split())


def _are_numbers(images: ImageDataset) -> bool:
    """Return whether each class is named by its own number, as for numeric labels."""
    return images.classes == tuple(map(str, range(len(images.classes))))


def _shift_hint(last: int) -> str:
    """Return the hint for labels from 1 to `last`."""
    return f"subtract 1 from each label, or give --class-map FILE with the numbers 1 to {last}: seq 1 {last} > FILE"


def _mismatch(images: ImageDataset, outputs: int, model: str) -> DatasetError:
    if len(images.classes) == outputs + 1 and _are_numbers(images) and images.labels.min() == 1:
        return DatasetError(
            f"{images.name} has labels 1 to {outputs}, but {model} numbers its {outputs} classes from 0",
            _shift_hint(outputs),
        )
    if _SPLITS.issuperset(images.classes):
        return DatasetError(
            f"{images.name} contains splits of a dataset, not classes ({', '.join(images.classes)})",
            "give the folder of one split",
        )
    suspect, empty = _unlike_the_others(images.classes, outputs), _classes_without_images(images)
    remark = "" if suspect is None else f" ({suspect!r} is unlike the others: is it a class?)"
    if not remark and empty and len(images.classes) - len(empty) == outputs:
        remark = f" ({empty[0]!r} has no image: is it a class?)"
    return DatasetError(
        f"{images.name} has {len(images.classes)} classes (class folders, or lines of --class-map), {model} has "
        f"{outputs}{remark}",
        "give --class-map FILE with the model's class names, one a line in the model's order",
    )


def _classes_without_images(images: ImageDataset) -> list[str]:
    labels = set(images.labels.tolist())
    return [name for label, name in enumerate(images.classes) if label not in labels]


def _unlike_the_others(classes: tuple[str, ...], outputs: int) -> str | None:
    """Return the first class that is not a number (or not a WordNet id of ImageNet) if most others are."""
    known = [{str(output) for output in range(outputs)}]
    if outputs == IMAGENET_CLASSES and find_spec("timm") is not None:
        known.append(set(imagenet_wnids()))
    for names in known:
        others = [name for name in classes if name not in names]
        if 0 < len(others) < len(classes) / 2:
            return others[0]
    return None
