"""The images of a run, labelled as its suites need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robench.datasets import ImageDataset, as_cue_conflict, open_dataset
from robench.errors import OptionError
from robench.suites import SHAPE_BIAS

__all__ = ["is_cue_conflict", "labelled_images"]


def labelled_images(
    data: ImageDataset | str | Path,
    by_file_name: bool,
    class_map: str | Path | None = None,
    labels: str | Path | None = None,
) -> ImageDataset:
    """Open the images of a run.

    Args:
        data: The images, or an argument of `open_dataset`.
        by_file_name: Whether file names label the images, in folders of any kind; see `is_cue_conflict`.
        class_map: As in `open_dataset`.
        labels: As in `open_dataset`.

    Raises:
        OptionError: Labels are given for images whose names are their labels.
        DatasetError: The images cannot be opened.
    """
    if not by_file_name:
        return data if isinstance(data, ImageDataset) else open_dataset(data, class_map, labels=labels)
    for option, given in (("--class-map", class_map), ("--labels", labels)):
        if given is not None:
            raise OptionError(
                f"{option} has no effect on {SHAPE_BIAS.name}, whose file names are its labels", "omit it"
            )
    return as_cue_conflict(data if isinstance(data, ImageDataset) else open_dataset(data, labelled=False))


def is_cue_conflict(suites: Sequence[str]) -> bool:
    """Return whether suites need images of their own, labelled by file names.

    Raises:
        OptionError: Other suites are to be evaluated on these images.
    """
    if SHAPE_BIAS.name not in suites:
        return False
    others = [suite for suite in dict.fromkeys(suites) if suite != SHAPE_BIAS.name]
    if others:
        raise OptionError(
            f"{SHAPE_BIAS.name} has images of its own, not those of {', '.join(others)}", "evaluate it by itself"
        )
    return True
