"""The input size and the class names of models that state none."""

from __future__ import annotations

from collections.abc import Sequence

from robench.datasets import ImageDataset, are_small, common_small_side
from robench.datasets.class_mapping import imagenet_wnids
from robench.errors import OptionError
from robench.models import Classifier
from robench.suites import Suite, lookup_suite

__all__ = ["check_input_size", "default_class_names", "default_input_size"]


def default_input_size(suites: Sequence[str], images: ImageDataset) -> int | None:
    """Return the input size in pixels of a model that states none.

    It is the size of the suites, or else of images that all have one small size; None if neither decides.

    Args:
        suites: Names of the suites; unknown ones play no role.
        images: The dataset.
    """
    found = (lookup_suite(name) for name in suites)
    sides = {side for suite in found if suite is not None and (side := _side(suite)) is not None}
    return common_small_side(images) if not sides else sides.pop() if len(sides) == 1 else None


def default_class_names(images: ImageDataset) -> tuple[str, ...]:
    """Return the names of the outputs of a model that states none: the classes of the dataset, or those that it maps its own to."""
    return images.classes if images.groups is None else imagenet_wnids()


def check_input_size(classifier: Classifier, suites: Sequence[str], images: ImageDataset) -> None:
    """Raise OptionError if a classifier was loaded at an assumed input size, but the suites or images have another one."""
    if not classifier.assumes_size:
        return
    size, used = default_input_size(suites, images), classifier.preprocessing.crop
    if size is None and are_small(images):
        raise OptionError(
            f"{classifier.label} states no input size, and {images.name} has small images of several sizes",
            "give the input size of the model by --crop",
        )
    if size not in (None, used):
        raise OptionError(
            f"{classifier.label} states no input size and was loaded at {used} px, but the suite or the images have {size} px",
            f"give --crop {size}, or --crop {used} to resize (crop= of load_classifier)",
        )


def _side(suite: Suite) -> int | None:
    if suite.side is None and suite.geometry is not None and suite.geometry.square:
        return suite.geometry.side
    return suite.side
