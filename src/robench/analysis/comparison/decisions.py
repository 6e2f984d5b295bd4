"""Decisions of people or of other networks on the images of a run, from a table of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from robench.errors import TableError
from robench.runs.csv import read_cells

__all__ = ["DecisionMaker", "read_decisions"]

_PATHS = ("file", "path", "file_name", "filename", "image", "image_path", "imagename", "image_name")
"""Names of the column of images, by preference."""

_FACTS = {"shape", "texture", "label", "class", "category", "truth", "target", "condition", "severity"}
"""Columns of a table of images that hold no decisions."""

_RESPONSE, _SUBJECT = "object_response", "subj"
"""Columns of a table of trials, as bethgelab/model-vs-human publishes them: one decision a line."""


@dataclass(frozen=True)
class DecisionMaker:
    """Decisions of one person or network.

    Attributes:
        name: Its name.
        by_image: Decision by the file name of an image, or by a name that ends in it.
    """

    name: str
    by_image: Mapping[str, str]

    def on(self, paths: Sequence[str]) -> dict[int, str]:
        """Return the decisions on some images by their positions in `paths`."""
        places: dict[str, int] = {}
        names = [PurePosixPath(path).name for path in paths]
        for place, (path, name) in enumerate(zip(paths, names, strict=True)):
            places[path] = place
            if names.count(name) == 1:
                places[name] = place
        found = ((_place(image, places), decision) for image, decision in self.by_image.items())
        return {place: decision for place, decision in found if place is not None}


def _place(image: str, places: Mapping[str, int]) -> int | None:
    """Return the place of an image by its path, its file name, or the end of that name after an underscore."""
    path = image.strip().replace("\\", "/").removeprefix("./")
    name = PurePosixPath(path).name
    parts = name.split("_")
    endings = ("_".join(parts[start:]) for start in range(len(parts)))
    return next((places[one] for one in (path, *endings) if one in places), None)


def read_decisions(path: Path) -> list[DecisionMaker]:
    """Read a table of decisions: the names of classes that people or networks chose.

    A table has a column of files and one column for each decision maker. The published tables of people have one line for each
    trial instead, with `subj`, `object_response` and `imagename`.

    Raises:
        TableError: The file cannot be read, is no such table, or has two decisions on one image.
    """
    cells = read_cells(path)
    files = next((name for known in _PATHS for name in cells.header if name.lower() == known), None)
    makers = [name for name in cells.header if name != files and name.lower() not in _FACTS]
    if files is None or not makers:
        raise TableError(
            f"{path} has no column of {'image files' if files is None else 'decisions'}",
            "write a column `file` and one column of class names for each decision maker",
        )
    is_trials = _RESPONSE in cells.header
    found: dict[str, dict[str, str]] = {}
    for number, line in cells.lines:
        own = {line.get(_SUBJECT) or path.stem: line[_RESPONSE]} if is_trials else {name: line[name] for name in makers}
        for maker, decision in own.items():
            decisions = found.setdefault(maker.strip(), {})
            if line[files] in decisions:
                raise TableError(
                    f"{path}, line {number} has a second decision of {maker} on {line[files]}", "keep one of them"
                )
            decisions[line[files]] = decision.strip()
    return [DecisionMaker(name, decisions) for name, decisions in found.items()]
