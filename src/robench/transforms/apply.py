"""The images of a condition: `corrupt` for everybody, and what the loop feeds to a model, made by the same function."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robench.errors import OptionError, unknown_name
from robench.suites import MAP_AXIS, Condition, find_suite, map_offset
from robench.transforms.corruptions import find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip
from robench.transforms.draws import KeyedDraws, Philox, philox
from robench.transforms.perturbations import find_perturbation
from robench.transforms.perturbations.base import Constants
from robench.transforms.reference import reference_corrupt
from robench.transforms.warps import PaddedBatch
from robench.types import Images, Ints

__all__ = ["Frame", "Position", "condition_frames", "condition_images", "corrupt", "frame_positions", "frames_of"]


def corrupt(
    images: Images,
    corruption: str,
    severity: float = 1,
    suite: str = "imagenet-c",
    *,
    seed: int = 0,
    index: Tensor | Ints | Sequence[int] | None = None,
    release: bool = False,
    generator: Philox = philox,
) -> Images:
    """Corrupt (b, 3, h, w) uint8 RGB images, 0..255, to the same shape and dtype, on their device.

    corruption, suite: `robench list corruptions` and `robench list suites` name them.
    severity: 1 to 5; also between them, as 2.5, where the corruption's constants interpolate.
    seed, index: draws are keyed by them; index is the position of each image in its dataset, 0..b-1 by default. The same
        image with the same key gets the same pixels in any batch.
    release: whether to add the JPEG pass that the suite's released files went through.
    generator: `draws.philox`, or `draws.compiled_philox()` for speed.
    Raises OptionError for unknown names, and for images of another kind or below 32 pixels.
    """
    chosen = find_suite(suite)
    if chosen.family != "corruptions":
        raise OptionError(f"the suite {suite} has no corruptions, but frames: name one such as imagenet-c")
    if corruption not in (*chosen.corruptions, *chosen.extra):
        raise OptionError(
            unknown_name(f"corruption of suite {suite!r}", corruption, (*chosen.corruptions, *chosen.extra))
        )
    found = find_corruption(corruption, chosen.constants)
    if not isinstance(images, Tensor):
        raise OptionError(f"{corruption} takes a (b, 3, h, w) uint8 tensor, not {type(images).__name__}")
    rows = torch.arange(len(images)) if index is None else _positions(index)
    if rows.shape != images.shape[:1]:
        raise OptionError(
            f"index has the shape {tuple(rows.shape)} for {len(images)} images: give one position an image"
        )
    draws = KeyedDraws(seed, rows.to(images.device), corruption, generator)
    corrupted = found(images, draws, found.params(chosen.constants, severity))
    if release and chosen.release_jpeg is not None:
        return jpeg_round_trip(corrupted, chosen.release_jpeg)
    return corrupted


def _positions(index: Tensor | Ints | Sequence[int]) -> Tensor:
    # A copy of an array, which may be one that nobody is to write to.
    return index.to(torch.int64) if isinstance(index, Tensor) else torch.from_numpy(np.array(index, np.int64))


class Position(NamedTuple):
    """Position of a frame on its condition's axis; NaN where it has none.

    Attributes:
        value: Position on the axis; NaN on the map of offsets.
        dx: Pixels to the right, on the map of offsets.
        dy: Pixels down, on the map of offsets.
    """

    value: float = math.nan
    dx: float = math.nan
    dy: float = math.nan


@dataclass(frozen=True)
class Frame:
    """What a model is shown of a batch.

    number: 0 where there is only one.  position: on the condition's axis.
    images: (b, 3, side, side) uint8.
    """

    number: int
    position: Position
    images: Images


def condition_frames(condition: Condition) -> int:
    """How many frames a condition makes of every sample."""
    return len(frame_positions(condition))


def frame_positions(condition: Condition) -> list[Position]:
    """Return the position of each frame of a condition on its axis."""
    if find_suite(condition.suite).family == "corruptions":
        return [Position()]
    axis = find_perturbation(condition.corruption, condition.constants).axis
    return [_position(axis, value) for value in _level(condition)["frames"]]


def _position(axis: str, value: float) -> Position:
    if axis == MAP_AXIS:
        dy, dx = map_offset(value)
        return Position(dx=float(dx), dy=float(dy))
    return Position(float(value))


def _level(condition: Condition) -> Constants:
    """The constants of a perturbation, with the frames that the run chooses."""
    level = find_perturbation(condition.corruption, condition.constants).params(condition.constants, condition.severity)
    return level if condition.axis_values is None else {**level, "frames": condition.axis_values}


def frames_of(
    pictures: PaddedBatch, condition: Condition, index: Tensor, seed: int, generator: Philox = philox
) -> Iterator[Frame]:
    """Yield what a condition makes of a batch: one image of each sample, or the frames of a perturbation in turn."""
    if find_suite(condition.suite).family == "corruptions":
        yield Frame(0, Position(), condition_images(pictures.pixels, condition, index, seed, generator))
        return
    perturbation = find_perturbation(condition.corruption, condition.constants)
    level = _level(condition)
    draws = KeyedDraws(seed, index, f"frames/{perturbation.name}", generator)
    frames = perturbation(pictures, condition.resolution, draws, level)
    for number, (value, images) in enumerate(zip(level["frames"], frames, strict=True)):
        yield Frame(number, _position(perturbation.axis, value), images)


def condition_images(
    images: Images, condition: Condition, index: Tensor, seed: int, generator: Philox = philox
) -> Images:
    """Return a batch of the condition's images: as they are for a clean one, else corrupted as its suite says."""
    if condition.is_clean:
        return images
    if condition.backend == "reference":
        corrupted = reference_corrupt(
            images.cpu(), condition.corruption, condition.severity, index=index.tolist(), seed=seed
        ).to(images.device)
        return corrupted if condition.release_jpeg is None else jpeg_round_trip(corrupted, condition.release_jpeg)
    return corrupt(
        images,
        condition.corruption,
        condition.severity,
        condition.suite,
        seed=seed,
        index=index,
        release=condition.release_jpeg is not None,
        generator=generator,
    )
