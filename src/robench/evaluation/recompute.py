"""Images of a finished run, computed again from its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robench.datasets import EMBEDDED, ImageDataset, decode_few, open_dataset, read_released, released_names
from robench.errors import DatasetError, RunError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.protocol import protocol
from robench.models import Preprocessing
from robench.plugins import is_own
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import BACKENDS, NETWORK, UNTREATED, Condition, Suite, find_suite
from robench.transforms.apply import condition_images, frames_of
from robench.transforms.warps import PaddedBatch

__all__ = ["as_rgb", "clean_image", "condition_of", "frame_images", "open_images"]


def open_images(run: RunDirectory, data: str | Path | None) -> ImageDataset:
    """Open the dataset of a run and check that it has the images of the run.

    Args:
        run: The run.
        data: The images; None for the dataset of the run.

    Raises:
        RunError: There is no such dataset, it has other images, or the run does not record its path.
    """
    known = run.manifest["data"]
    path = data if data is not None else known.get("root") or known["name"]
    if data is None and known.get("root") is None and known["name"] not in EMBEDDED:
        raise RunError("the run does not record the path of its images", "give the path of the images with --data")
    try:
        images, samples = open_dataset(path, labelled=False), run.read_samples()
    except DatasetError as error:
        raise RunError(error.problem, "give the path of the images with --data") from error
    if len(images) != known.get("total_samples", len(images)) or any(
        images.paths[index] != name for index, name in zip(samples["index"], samples["path"], strict=True)
    ):
        raise RunError(f"{path} has other images than the run evaluated", "give the path of the images with --data")
    return replace(images, pixels=_preprocessing(run).pixels)


def condition_of(run: RunDirectory, entry: ConditionEntry) -> Condition:
    """Return the condition as it was evaluated, identified by its protocol.

    No file of own corruptions is read: its code would run.

    Raises:
        RunError: The protocol is of another robench version, or of code or files that are not here.
    """
    if entry.methods:
        raise RunError(f"the images of {entry.name} follow from attacks through the model, and no run keeps them")
    precision, pixels = run.manifest["options"].get("precision", "fp32"), _preprocessing(run).pixels
    for condition in _candidates(run, entry):
        if str(protocol(condition, precision, pixels)) == entry.protocol:
            return replace(condition, axis_values=tuple(range(entry.frames))) if entry.exits else condition
    raise RunError(f"{entry.name} was evaluated by another robench version, or from files that are not here")


def _candidates(run: RunDirectory, entry: ConditionEntry) -> Iterator[Condition]:
    """Yield conditions that can be the one of an entry."""
    preprocessing = _preprocessing(run)
    is_clean = entry.clean == entry.name
    users = [other for other in run.conditions if is_clean and other.clean == entry.name and other.name != entry.name]
    for user in users or [entry]:
        suite = find_suite(user.suite)
        options = _options(run, suite)
        if is_own(user.suite):
            for geometry in (suite.geometry, preprocessing.geometry()):
                if geometry is not None:
                    constants = "" if is_clean else suite.constants
                    cell = (entry.suite, entry.corruption, entry.severity)
                    yield Condition(*cell, geometry, constants, None, options.get("backend", BACKENDS[0]))
            continue
        if user.severity:
            # Images are the same without the treatments of the model.
            options["corruption"] = [NETWORK if user.corruption == UNTREATED else user.corruption]
            if not suite.family.has_frames:
                options["severity"] = [user.severity]
            elif suite.family.has_difficulties:
                options["difficulty"] = [user.severity]
        wanted = (entry.suite, NETWORK if entry.corruption == UNTREATED else entry.corruption, entry.severity)
        for condition in make_plan([user.suite], Options(**options), preprocessing).conditions:
            same = (condition.suite, condition.corruption, condition.severity) == wanted
            if same and condition.resolution == entry.resolution:
                yield condition


def _options(run: RunDirectory, suite: Suite) -> dict[str, Any]:
    """Return the options of a run that determine the images of a suite, without those that do not apply to it."""
    family, stored = suite.family, run.manifest["options"]
    names = {
        "geometry": not family.has_frames,
        "no_release_jpeg": not family.has_frames,
        "backend": not family.has_frames,
        "resolution": family.has_resolutions,
        "released": suite.released_side is not None,
    }
    return {name: stored[name] for name, applies in names.items() if applies and stored.get(name) is not None}


def _preprocessing(run: RunDirectory) -> Preprocessing:
    stored = run.manifest["model"]["preprocessing"]
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Preprocessing(**facts)


def clean_image(images: ImageDataset, condition: Condition, sample: int) -> NDArray[np.uint8]:
    """Return a sample before the corruption, (bands, height, width); DatasetError if it cannot be read."""
    return np.asarray(decode_few(images, np.array([sample]), condition.geometry)[0])


def frame_images(images: ImageDataset, condition: Condition, sample: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a sample under a condition, one for each frame, as the model got them.

    Args:
        images: The dataset.
        condition: The condition.
        sample: Position of the sample in the dataset.
        seed: Seed of the run.

    Yields:
        (bands, height, width) uint8.

    Raises:
        DatasetError: The image, or its released file, cannot be read.
    """
    index = np.array([sample])
    if condition.files is not None:
        for _, _, pixels in read_released(condition, released_names(images, index), index, 1):
            yield np.asarray(pixels[0])
        return
    clean = torch.from_numpy(decode_few(images, index, condition.geometry))
    if condition.is_clean:
        yield clean[0].numpy()
        return
    number = torch.tensor([sample])
    if find_suite(condition.suite).family.has_frames:
        for frame in frames_of(PaddedBatch.of(clean), condition, number, seed):
            yield frame.images[0].numpy()
    else:
        yield condition_images(clean, condition, number, seed)[0].numpy()


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (bands, h, w) pixels for display as (h, w, 3); other bands than RGB are shown as their mean."""
    if len(pixels) != 3:
        pixels = np.repeat(pixels.mean(axis=0, keepdims=True).round().astype(np.uint8), 3, axis=0)
    return pixels.transpose(1, 2, 0)
