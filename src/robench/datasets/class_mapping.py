"""How the classes of a dataset and the outputs of a model belong together: all of them, or some that the names tell."""

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
    """Return the dataset with what its classes are among the `outputs` of a model; DatasetError if they are not its.

    As many classes as outputs are the outputs, in order. Fewer that are all WordNet ids of ImageNet's classes, as ImageNet-A
    and -R have, are these classes, and predictions are among these alone. Classes named by numbers are the outputs of those
    numbers.
    """
    count = len(images.classes)
    if images.groups is not None:
        if outputs != IMAGENET_CLASSES:
            raise _misfit(images, outputs, model)
        return images
    if count == outputs:
        return images
    if count < outputs == IMAGENET_CLASSES:
        place = {wnid: number for number, wnid in enumerate(imagenet_wnids())}
        if all(name in place for name in images.classes):
            groups = tuple((place[name],) for name in images.classes)
            note = (
                f"{images.name} has {count} of ImageNet's {IMAGENET_CLASSES:,} classes, by their WordNet ids: predictions are "
                "among these alone"
            )
            return replace(images, groups=groups, notes=(*images.notes, note))
    if count < outputs and _are_numbers(images):
        note = f"{images.name} has labels up to {count - 1}, {model} has {outputs} classes: the labels are taken as its numbers"
        if images.labels.min() == 1:
            note += f", and none is 0 (do they begin at 1? then {_from_one(count - 1)})"
        classes = tuple(map(str, range(outputs)))
        return replace(images, classes=classes, notes=(*images.notes, note))
    raise _misfit(images, outputs, model)


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """WordNet ids of ImageNet's 1,000 classes in the order of the outputs of its models; from timm's files, not its code."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise DatasetError("timm, which lists ImageNet's classes, is not installed: pip install timm")
    return tuple(Path(folders[0], "data", "_info", "imagenet_synsets.txt").read_text().split())


def _are_numbers(images: ImageDataset) -> bool:
    """Whether the classes are named by their own numbers, as those of labels that are numbers are."""
    return images.classes == tuple(map(str, range(len(images.classes))))


def _from_one(last: int) -> str:
    """What to do about labels from 1 to `last`."""
    return (
        f"subtract 1 from each, or give --class-map FILE with the numbers 1 to {last}, one a line: seq 1 {last} > FILE"
    )


def _misfit(images: ImageDataset, outputs: int, model: str) -> DatasetError:
    if len(images.classes) == outputs + 1 and _are_numbers(images) and images.labels.min() == 1:
        return DatasetError(
            f"{images.name} has labels 1 to {outputs}, and {model} numbers its {outputs} classes from 0: the labels seem to begin "
            f"at 1; {_from_one(outputs)}"
        )
    if _SPLITS.issuperset(images.classes):
        return DatasetError(
            f"{images.name} holds parts of a dataset, not classes ({', '.join(images.classes)}): give the folder of one of them"
        )
    stranger, empty = _stranger(images.classes, outputs), _without_images(images)
    spoils = "" if stranger is None else f" ({stranger!r} is unlike the others: is it a class?)"
    if not spoils and empty and len(images.classes) - len(empty) == outputs:
        spoils = f" ({empty[0]!r} has no image: is it a class?)"
    return DatasetError(
        f"{images.name} has {len(images.classes)} classes (class folders, or lines of --class-map), {model} has "
        f"{outputs}{spoils}: give --class-map FILE with the model's class names, one a line in the model's order"
    )


def _without_images(images: ImageDataset) -> list[str]:
    held = set(images.labels.tolist())
    return [name for label, name in enumerate(images.classes) if label not in held]


def _stranger(classes: tuple[str, ...], outputs: int) -> str | None:
    """The first class that is no WordNet id of ImageNet's, or no number, where most of the others are."""
    known = [{str(number) for number in range(outputs)}]
    if outputs == IMAGENET_CLASSES and find_spec("timm") is not None:
        known.append(set(imagenet_wnids()))
    for names in known:
        others = [name for name in classes if name not in names]
        if 0 < len(others) < len(classes) / 2:
            return others[0]
    return None
