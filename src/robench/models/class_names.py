"""Names of a model's outputs, as its file states them."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from robench.errors import printable
from robench.models.checkpoints.stand_ins import attributes
from robench.models.checkpoints.torch_archive import Archive

__all__ = ["class_names_in", "class_names_in_extras", "class_names_in_texts"]

_KEYS = (
    *("id2label", "idx_to_class", "idx2label", "class_to_idx", "label2id", "label_names", "class_names", "classes"),
    *("CLASSES", "names", "vocab", "labels", "categories"),
)
"""Keys of the names, as transformers, OpenMMLab, Ultralytics, timm, torchvision and fastai write them."""
_NESTINGS = (
    *("meta", "dataset_meta", "config", "model_cfg", "pretrained_cfg", "hyper_parameters", "metadata", "dls"),
    *("data", "info", "args", "opt", "cfg", "hparams"),
)
"""Keys of the mappings that hold them next to the weights."""
_DEPTH = 3
_LARGEST = 2**20
"""Longest text of names in characters."""
_MOST = 100_000
"""Most classes of a model."""
_PLACEHOLDER = re.compile(r"((label|class|output)[ _-]?)?\d+", re.IGNORECASE)


def class_names_in(content: object, depth: int = _DEPTH) -> tuple[str, ...]:
    """Return the names of the outputs in the order of the outputs; empty if there are none, or only placeholders (LABEL_0).

    Args:
        content: Content of a configuration or of a checkpoint.
        depth: Number of nested mappings that are searched.
    """
    entries = attributes(content)
    for key in _KEYS:
        if names := _names(entries.get(key)):
            return names
    for key in _NESTINGS if depth else ():
        if key in entries and (names := class_names_in(entries[key], depth - 1)):
            return names
    return ()


def class_names_in_texts(texts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of the outputs in metadata of texts by key, each JSON or a Python literal; see `class_names_in`."""
    return class_names_in({key: _literal(text) for key, text in texts})


def class_names_in_extras(archive: Archive) -> tuple[str, ...]:
    """Return the names of the outputs in the extra files of a TorchScript archive or an exported program.

    A file holds a mapping with the names, as Ultralytics writes it, or its own name is the key.
    """
    files = [name for name, size in archive.sizes.items() if "extra/" in name and size <= _LARGEST]
    texts = {PurePosixPath(name).stem: archive.read(name).decode(errors="replace") for name in files}
    found = [class_names_in(_literal(text)) for text in texts.values()]
    return next(filter(None, found), ()) or class_names_in_texts(texts.items())


def _literal(text: str) -> object:
    if len(text) > _LARGEST:
        return None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About the text of a literal.
            value: object = read(text)
            return value
    return None


def _names(stated: object) -> tuple[str, ...]:
    """Return names from a list, or from a mapping of numbers to names or of names to numbers."""
    if isinstance(stated, Mapping) and 1 < len(stated) <= _MOST:
        values = list(stated.values())
        pairs = zip(values, stated, strict=True) if all(type(value) is int for value in values) else stated.items()
        by_number = {int(number): name for number, name in pairs if str(number).isdecimal()}
        stated = [by_number.get(number) for number in range(len(stated))]
    if not isinstance(stated, list | tuple) or not 1 < len(stated) <= _MOST:
        return ()
    if not all(isinstance(name, str) for name in stated) or all(_PLACEHOLDER.fullmatch(name) for name in stated):
        return ()
    return tuple(printable(name.strip()) for name in stated)
