"""Readable names of classes: words for the ids of ImageNet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["class_names"]

_WNID = re.compile(r"n\d{8}")


def class_names(classes: Sequence[str]) -> list[str]:
    """Return the names of classes. A WordNet id of ImageNet becomes the first word of its class; two classes can share it."""
    words = _imagenet_words() if any(_WNID.fullmatch(str(name)) for name in classes) else {}
    return [words.get(str(name), str(name)) for name in classes]


@cache
def _imagenet_words() -> dict[str, str]:
    """Read the words from a file of timm, without its code; empty without timm."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        return {}
    lines = Path(folders[0], "data", "_info", "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return {wnid: words.split(",")[0] for wnid, words in pairs}
