"""Correspondence between the classes of a dataset and the outputs of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from robench.datasets.dataset import ImageDataset, map_labels
from robench.errors import DatasetError, with_notes

__all__ = ["IMAGENET_CLASSES", "fit_classes", "imagenet_wnids", "wordnet_name"]

IMAGENET_CLASSES = 1000
_SEPARATORS = re.compile(r"[\s_-]+")
_LISTED, _NAME = 3, 40
"""Number and length of the names in a note."""
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def fit_classes(images: ImageDataset, outputs: int, model: str, names: Sequence[str] = ()) -> ImageDataset:
    """Return the dataset with its classes matched to the outputs of a model.

    If the model names its outputs as the dataset names its classes, the names decide. Otherwise as many classes as outputs are the
    outputs in order. Fewer classes can match in two ways:

    - All names are WordNet ids of ImageNet classes, as in ImageNet-A and -R: predictions are limited to these classes.
    - All names are numbers: each class is the output with its number.

    A class map of the user comes before the names.

    Args:
        images: The dataset.
        outputs: Number of the model's outputs.
        model: Name of the model, for messages.
        names: Names of the outputs that the model's file states; empty if it states none.

    Raises:
        DatasetError: The classes do not match the outputs.
    """
    count = len(images.classes)
    if images.groups is not None:
        if outputs == IMAGENET_CLASSES:
            return images
        if outputs != count:
            raise DatasetError(
                f"{model} has {outputs} classes; {images.name} needs ImageNet's {IMAGENET_CLASSES:,}, or its own {count}",
                "give a model of these classes",
            )
        images = replace(images, groups=None)
    known_notes = len(images.notes)
    images, places = _by_names(images, outputs, model, names)
    if count == outputs:
        if places is None or places == tuple(range(outputs)):
            return images
        note = (
            f"the file of {model} names its outputs ({_listed(names)}), and these names give the order of the classes"
        )
        return replace(images, groups=tuple((place,) for place in places), notes=(*images.notes, note))
    if count < outputs == IMAGENET_CLASSES:
        index = {wnid: output for output, wnid in enumerate(imagenet_wnids())}
        if all(name in index for name in images.classes):
            groups = tuple((place,) for place in places or [index[name] for name in images.classes])
            note = (
                f"{images.name} has {count} of ImageNet's {IMAGENET_CLASSES:,} classes (by WordNet id): "
                "predictions are limited to them"
            )
            return replace(images, groups=groups, notes=(*images.notes, note))
    if places is not None:
        spelled = list(names)
        for place, name in zip(places, images.classes, strict=True):
            spelled[place] = name
        note = f"{images.name} has {count} of the {outputs} classes of {model}, by the names that its file states"
        return replace(map_labels(images, places, spelled), notes=(*images.notes, note))
    if count < outputs and _are_numbers(images):
        note = f"{images.name} has labels up to {count - 1}, {model} has {outputs} classes: labels are used as class numbers"
        if images.labels.min() == 1:
            note += f"; no label is 0, so if labels begin at 1, {_shift_hint(count - 1)}"
        classes = tuple(map(str, range(outputs)))
        return replace(images, classes=classes, notes=(*images.notes, note))
    with with_notes(images.notes[known_notes:]):  # The caller does not get these images.
        raise _mismatch(images, outputs, model)


def _by_names(
    images: ImageDataset, outputs: int, model: str, names: Sequence[str]
) -> tuple[ImageDataset, tuple[int, ...] | None]:
    """Return the dataset, with a note if the names do not decide, and the output of each class by name, or None."""
    if not names or images.file_labels is not None or _are_numbers(images):
        return images, None

    def without(note: str) -> tuple[ImageDataset, None]:
        return replace(images, notes=(*images.notes, f"the file of {model} {note}")), None

    whole = {_plain(name): output for output, name in enumerate(names)}
    if len(names) != outputs:
        return without(f"names {len(names)} classes, but it has {outputs} outputs, so the names are ignored")
    if len(whole) != outputs:
        return without(f"gives one name to several outputs ({_listed(names)}), so the names are ignored")
    parts: dict[str, set[int]] = {}
    for output, name in enumerate(names):
        for part in _synonyms(name):
            parts.setdefault(part, set()).add(output)
    places = [_place(name, whole, parts) for name in images.classes]
    unknown = [name for name, place in zip(images.classes, places, strict=True) if place is None]
    found = tuple(place for place in places if place is not None)
    if not unknown and len(set(found)) == len(found):
        return images, found
    if 2 * len(found) > len(places) and all(place in (None, label) for label, place in enumerate(places)):
        return images, None  # Other spellings of the same classes in the same order.
    example = f", for example {unknown[0]!r}" if unknown else ""
    return without(
        f"names its outputs otherwise ({_listed(names)}) than {images.name} its classes{example}: the outputs are taken in the "
        "order of the classes; if it is another, give --class-map FILE"
    )


def _place(name: str, whole: Mapping[str, int], parts: Mapping[str, set[int]]) -> int | None:
    """Return the only output whose name is that of a class, or shares a synonym with it."""
    lemma = _lemmas().get(name, name)
    for text in (name, lemma):
        if _plain(text) in whole:
            return whole[_plain(text)]
    found = set().union(*(parts.get(part, set()) for part in _synonyms(name) | _synonyms(lemma)))
    return found.pop() if len(found) == 1 else None


def _synonyms(name: str) -> set[str]:
    """Return the names in `tench, Tinca tinca`, and those of a WordNet id."""
    return {_plain(part) for text in (name, _lemmas().get(name, "")) for part in text.split(",")} - {""}


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name).strip().casefold()


def _listed(names: Sequence[str]) -> str:
    """Return the first names, each cut, for a note."""
    more = ", ..." if len(names) > _LISTED else ""
    return ", ".join(name[:_NAME] for name in names[:_LISTED]) + more


@cache
def _lemmas() -> dict[str, str]:
    """Return the names of each WordNet id with commas between them, from a file of timm; empty without timm."""
    path = _timm_file("imagenet_synset_to_lemma.txt")
    lines = () if path is None else path.read_text().splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's 1,000 classes in the order of model outputs, from a file of timm."""
    path = _timm_file("imagenet_synsets.txt")
    if path is None:
        raise DatasetError("timm, which lists ImageNet's classes, is not installed", "pip install timm")
    return tuple(path.read_text().split())


def wordnet_name(wnid: str) -> str:
    """Return the first name of a WordNet id; the id itself if it is unknown or timm is missing."""
    return _lemmas().get(wnid, wnid).partition(",")[0].strip()


def _timm_file(name: str) -> Path | None:
    """Return a table of timm; None without timm."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(folders[0], "data", "_info", name) if folders else None


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
        "give --class-map FILE with the model's class names, one per line in the model's order",
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
