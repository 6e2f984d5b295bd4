"""Names of samples in tables of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

__all__ = ["SampleNames"]


class SampleNames:
    """Positions of samples by their names in a table, which may lack the folder or the extension where that is unambiguous.

    Args:
        paths: Paths of the samples, relative to the dataset.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._places = {path: place for place, path in enumerate(paths)}
        shorter: dict[str, list[int]] = {}
        for path, place in self._places.items():
            pure = PurePosixPath(path)
            for name in {str(pure.with_suffix("")), pure.name, pure.stem}:
                shorter.setdefault(name, []).append(place)
        self._shorter = {name: where[0] for name, where in shorter.items() if len(where) == 1}

    def find(self, name: str) -> int | None:
        """Return the position of a sample; None if there is none of that name. Folders above the dataset do not count."""
        name = name.strip().replace("\\", "/").removeprefix("./")
        found = self._places.get(name, self._shorter.get(name))
        while found is None and "/" in name:
            name = name.partition("/")[2]
            found = self._places.get(name) if "/" in name else None
        return found
