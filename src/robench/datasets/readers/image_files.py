"""Image files that a table names."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from robench.datasets.io.directories import ARRAY_SUFFIX, image_suffixes, names_in
from robench.errors import DatasetError

__all__ = ["ImageFiles"]


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a table.

    Attributes:
        root: Folder that the paths of the table are relative to.
    """

    root: Path
    _stems: dict[str, dict[str, list[str]]] = field(default_factory=dict, repr=False)
    _targets: dict[str, str] = field(default_factory=dict, repr=False)

    def find(self, name: str, where: str, may_lack_suffix: bool) -> str:
        """Return the path of an image in its shortest form, relative to `root`; the file need not exist.

        Args:
            name: Path in the table, relative to `root` or absolute.
            where: Description of the row, for errors.
            may_lack_suffix: Whether the path may lack its file extension.

        Raises:
            DatasetError: The path leaves the folder, or several images have it without their extension.
        """
        name = name.removeprefix(f"{self.root}/")
        path = _inside(name, where)
        if "\\" in path and not os.path.lexists(self.root / path):
            path = _inside(name.replace("\\", "/"), where)
        parent, _, stem = path.rpartition("/")
        if may_lack_suffix and os.path.splitext(stem)[1].lower() not in image_suffixes():  # noqa: PTH122
            files = self._in(parent).get(stem, [])
            if len(files) > 1:
                raise DatasetError(f"{where}: {name!r} is {files[0]} or {files[1]}", "write paths with their extension")
            path = f"{parent}/{files[0]}".removeprefix("/") if files else path
        return path

    def has(self, name: str, may_lack_suffix: bool = False) -> bool:
        """Return whether a path in a table is a file."""
        try:
            return (self.root / self.find(name, "", may_lack_suffix)).is_file()
        except (DatasetError, OSError, ValueError):
            return False

    def check(self, path: str, where: str) -> None:
        """Raise DatasetError if a file is missing, or if links lead out of the folder."""
        file, real = os.path.join(self.root, path), self._real(str(self.root))  # noqa: PTH118 - Path is slow
        try:
            status = os.lstat(file)
            # Most files are not links, and resolving their folder once is enough.
            target = self._real(file if stat.S_ISLNK(status.st_mode) else file.rpartition("/")[0])
            exists = stat.S_ISREG(status.st_mode) or Path(target).is_file()
        except (OSError, ValueError):
            exists, target = False, real
        if not exists:
            raise DatasetError(
                f"{where}: there is no file {path!r} in {self.root}",
                "write paths relative to the table; a first line of names needs file_name and label",
            )
        if os.path.commonpath([real, target]) != real:
            raise DatasetError(
                f"{where}: {path!r} is a link that leaves {self.root}", "copy the images themselves into it (cp -rL)"
            )

    def _real(self, path: str) -> str:
        if path not in self._targets:
            self._targets[path] = os.path.realpath(path)
        return self._targets[path]

    def _in(self, parent: str) -> dict[str, list[str]]:
        """Return the image files of a folder by their names without extension."""
        if parent not in self._stems:
            stems: dict[str, list[str]] = {}
            arrays: dict[str, list[str]] = {}
            for name in names_in(self.root / parent):
                stem, suffix = os.path.splitext(name)  # noqa: PTH122 - Path is slow
                if suffix.lower() in image_suffixes():
                    stems.setdefault(stem, []).append(name)
                elif suffix.lower() == ARRAY_SUFFIX:
                    arrays[stem] = [name]
            self._stems[parent] = {**arrays, **stems}
        return self._stems[parent]


def _inside(name: str, where: str) -> str:
    """Return a path in a table in its shortest form."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise DatasetError(
            f"{where}: {name!r} is not a path within the folder", "write it relative to the table, without '..'"
        )
    return "/".join(parts)
