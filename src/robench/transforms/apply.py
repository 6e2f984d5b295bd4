"""Apply the corruption or perturbation of a condition to a batch of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN, CUE_CONFLICT, Condition, families, find_suite
from robench.transforms.corruptions import find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip
from robench.transforms.draws import KeyedDraws, Philox, philox
from robench.transforms.perturbations import find_perturbation
from robench.transforms.perturbations.base import Constants
from robench.transforms.reference import reference_corrupt
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["Frame", "Position", "condition_frames", "condition_images", "corrupt_batch", "frame_positions", "frames_of"]


def corrupt_batch(
    images: Images,
    corruption: str,
    severity: float,
    suite: str,
    *,
    seed: int,
    index: Tensor,
    release: bool = False,
    generator: Philox = philox,
) -> Images:
    """Corrupt a batch of images with the draws of an evaluation.

    Args:
        images: (b, 3, h, w) uint8 RGB, 0..255, sides of at least 32 pixels.
        corruption: Name of a corruption of the suite; see `robench list corruptions`.
        severity: 1 to 5. Values between them, such as 2.5, are valid if the corruption interpolates its constants.
        suite: Name of a suite of corruptions; see `robench list suites`.
        seed: Seed of the random draws.
        index: (b,) int64, position of each image in its dataset. Draws are keyed by seed and index, so an image with the same
            key gets the same pixels in any batch.
        release: Whether to add the JPEG pass of the suite's released files.
        generator: `draws.philox`, or `draws.compiled_philox()` for speed.

    Returns:
        (b, 3, h, w) uint8 on the device of `images`.

    Raises:
        OptionError: If a name is unknown, or if `images` have another shape or dtype or a side below 32 pixels.
    """
    chosen = find_suite(suite)
    if chosen.family.has_frames:
        raise OptionError(f"the suite {suite} has no corruptions", "choose a suite such as imagenet-c")
    names = (*chosen.corruptions, *chosen.extra)
    if corruption not in names:
        raise OptionError(*unknown_name(f"corruption of suite {suite!r}", corruption, names))
    transform = find_corruption(corruption, chosen.constants)
    draws = KeyedDraws(seed, index.to(images.device, torch.int64), corruption, generator)
    corrupted = transform(images, draws, transform.params(chosen.constants, severity))
    if release and chosen.release_jpeg is not None:
        return jpeg_round_trip(corrupted, chosen.release_jpeg)
    return corrupted


class Position(NamedTuple):
    """Position of a frame on its condition's axis.

    Attributes:
        value: Position on the axis; NaN on the map of offsets and for conditions without an axis.
        dx: Pixels to the right on the map of offsets, else NaN.
        dy: Pixels down on the map of offsets, else NaN.
    """

    value: float = math.nan
    dx: float = math.nan
    dy: float = math.nan


@dataclass(frozen=True)
class Frame:
    """One frame of each sample of a batch.

    Attributes:
        number: Rank of the frame in its sequence; 0 for a corruption.
        position: Position on the condition's axis.
        images: (b, 3, h, w) uint8.
    """

    number: int
    position: Position
    images: Images


def condition_frames(condition: Condition) -> int:
    """Return the number of frames of each sample under a condition."""
    return len(frame_positions(condition))


def frame_positions(condition: Condition) -> list[Position]:
    """Return the position of each frame of a condition on its axis."""
    if condition.attack is not None:
        return [Position(float(epsilon)) for epsilon in condition.attack.epsilons for _ in condition.attack.names]
    family = find_suite(condition.suite).family
    if not family.has_frames:
        return [Position()]
    if family is families.EXITS:
        return [Position(float(rank)) for rank in condition.axis_values or (0,)]
    return [_position(value) for value in _params(condition)["frames"]]


def _position(value: float | tuple[int, int]) -> Position:
    if isinstance(value, tuple):
        down, right = value
        return Position(dx=float(right), dy=float(down))
    return Position(float(value))


def _params(condition: Condition) -> Constants:
    """Return the constants of the condition's perturbation, with the frames that the run chooses."""
    perturbation = find_perturbation(condition.corruption, condition.constants)
    params = perturbation.params(condition.constants, condition.severity)
    return params if condition.axis_values is None else {**params, "frames": condition.axis_values}


def frames_of(
    batch: PaddedBatch, condition: Condition, index: Tensor, seed: int, generator: Philox = philox
) -> Iterator[Frame]:
    """Apply a condition to a batch of samples.

    Args:
        batch: Images of the samples.
        condition: Corruption or perturbation to apply.
        index: (b,) int64, position of each sample in the dataset.
        seed: Seed of the run.
        generator: `draws.philox`, or `draws.compiled_philox()` for speed.

    Yields:
        The single frame of a corruption, or the frames of a perturbation in order. All exits of a network have the same image.
    """
    family = find_suite(condition.suite).family
    if family is families.EXITS:
        images = _suite_images(batch.pixels, condition, index, seed, generator)
        yield from (Frame(number, position, images) for number, position in enumerate(frame_positions(condition)))
        return
    if not family.has_frames:
        yield Frame(0, Position(), condition_images(batch.pixels, condition, index, seed, generator))
        return
    perturbation = find_perturbation(condition.corruption, condition.constants)
    params = _params(condition)
    draws = KeyedDraws(seed, index, f"frames/{perturbation.name}", generator)
    frames = perturbation(batch, condition.shape, draws, params)
    for number, (value, images) in enumerate(zip(params["frames"], frames, strict=True)):
        yield Frame(number, _position(value), images)


def _suite_images(images: Images, condition: Condition, index: Tensor, seed: int, generator: Philox) -> Images:
    """Return the images of a condition of the suite "exits": those of the corruption suite of the same constants."""
    if condition.corruption == CLEAN:
        return images
    transform = find_corruption(condition.corruption, condition.constants)
    draws = KeyedDraws(seed, index.to(images.device, torch.int64), condition.corruption, generator)
    corrupted = transform(images, draws, transform.params(condition.constants, condition.severity))
    return corrupted if condition.release_jpeg is None else jpeg_round_trip(corrupted, condition.release_jpeg)


def condition_images(
    images: Images, condition: Condition, index: Tensor, seed: int, generator: Philox = philox
) -> Images:
    """Return the images of a condition of the family "corruptions"; unchanged if it is clean or the suite has its own images."""
    if condition.corruption in (CLEAN, CUE_CONFLICT):
        return images
    if condition.backend == "reference":
        corrupted = reference_corrupt(
            images.cpu(), condition.corruption, condition.severity, index=index.tolist(), seed=seed
        ).to(images.device)
        return corrupted if condition.release_jpeg is None else jpeg_round_trip(corrupted, condition.release_jpeg)
    return corrupt_batch(
        images,
        condition.corruption,
        condition.severity,
        condition.suite,
        seed=seed,
        index=index,
        release=condition.release_jpeg is not None,
        generator=generator,
    )
