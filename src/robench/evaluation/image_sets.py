"""Sets of images without labels that a run evaluates besides its dataset: out of distribution, or under a natural shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robench.datasets import ImageDataset, open_dataset
from robench.evaluation.options import Options

__all__ = ["CSID", "UnlabelledSet", "image_sets", "options_of_sets"]

CSID = "csid"
"""Name of the sets under a covariate shift."""


@dataclass(frozen=True)
class UnlabelledSet:
    """Images of one name.

    Attributes:
        kind: Option that names the images, `ood` or `csid`.
        name: Name of the set, such as `near`.
        dataset: The images.
        folder: Directory of their records, relative to the run.
    """

    kind: str
    name: str
    dataset: ImageDataset
    folder: str

    @property
    def entry(self) -> Mapping[str, str]:
        """Entry of the run's manifest."""
        return {"kind": self.kind, "name": self.name, "path": self.folder}


def image_sets(options: Options) -> Sequence[UnlabelledSet]:
    """Open the sets of a run's options.

    Raises:
        DatasetError: Images cannot be read.
    """
    named = [("ood", *text.split("=", 1)) for text in options.ood] + [(CSID, CSID, data) for data in options.csid]
    sets, counts = [], dict.fromkeys((name for _, name, _ in named), 0)
    for kind, name, data in named:
        counts[name] += 1
        folder = Path("ood") / f"{_file_name(name)}-{counts[name]}"
        sets.append(UnlabelledSet(kind, name, open_dataset(data, None, False), folder.as_posix()))
    return sets


def options_of_sets(options: Options) -> Options:
    """Return the options under which a run evaluates its sets: the same, but for the choice of samples by path or class."""
    return replace(options, ood=(), csid=(), groups=None, per_class=None, subset=None, fresh=False, normalize_by=None)


def _file_name(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in name)
