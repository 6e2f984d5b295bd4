"""Shape bias (Geirhos et al. 2019, arXiv:1811.12231): images with the shape of one category and the texture of another."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from robench.suites import families
from robench.suites.suite import Suite

__all__ = ["CUE_CONFLICT", "SHAPE_BIAS", "SHAPE_CATEGORIES", "cues_of"]

_OUTPUTS = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385-386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
"""ImageNet classes of each category, as model outputs and ranges of them: the lists of bethgelab/model-vs-human."""


def _expanded(text: str) -> tuple[int, ...]:
    ranges = ([int(end) for end in part.split("-")] for part in text.split())
    return tuple(output for ends in ranges for output in range(ends[0], ends[-1] + 1))


SHAPE_CATEGORIES: dict[str, tuple[int, ...]] = {name: _expanded(text) for name, text in _OUTPUTS.items()}
"""Model outputs of each of the 16 categories, in alphabetical order."""

CUE_CONFLICT = "cue_conflict"
"""The only condition of the suite: the images as they are."""

SHAPE_BIAS = Suite(
    name="shape-bias",
    summary="cue-conflict images of --data: decisions for the shape among those for shape or texture",
    source="Geirhos et al. 2019, arXiv:1811.12231; bethgelab/model-vs-human",
    family=families.CUE_CONFLICT,
    smallest=1,
)

_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


def cues_of(path: str) -> tuple[str, str] | None:
    """Return the categories of shape and texture in a file name such as `cat3-truck1.png`; None for any other name."""
    match = _NAME.fullmatch(PurePosixPath(path).name.partition(".")[0])
    if match is None or match[1] not in SHAPE_CATEGORIES or match[2] not in SHAPE_CATEGORIES:
        return None
    return match[1], match[2]
