"""A labelled grid of one image under every condition of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from robench.datasets import decode_one
from robench.datasets.io.bounded import read_image
from robench.errors import DatasetError, OptionError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing
from robench.runs.files import atomic_write, check_replaceable, translate_os_errors
from robench.suites import NETWORK, Condition, FrameKind, find_suite
from robench.transforms.apply import Position, condition_images, frame_positions, frames_of
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["preview"]

_Row: TypeAlias = tuple[str, list[tuple[str, Images]]]
"""A corruption, and the labels and images (1, 3, height, width) of its row."""

_MAX_FRAMES = 5
"""Frames of a sequence in the grid: the first, the last, and some between."""
_MIN_SIZE = 96
"""Images with smaller sides are enlarged by a whole factor."""
_GAP, _BACKGROUND, _INK = 8, "white", "#1b1f24"
_SOFTWARE = "robench preview"


def preview(
    image: Path,
    out: Path,
    *,
    suite: str = "imagenet-c",
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    crop: int | None = None,
    seed: int = 0,
    force: bool = False,
) -> tuple[int, int]:
    """Draw the conditions of a suite on one image into a PNG file.

    Each corruption has a row, and each severity a column after the clean image. Perturbations have some of their frames. The
    pixels are those of an evaluation in which the image is the first sample (index 0).

    Args:
        image: An image of any size.
        out: The PNG file to write.
        suite: Name of the suite.
        corruptions: Corruptions to draw; None for the suite's own.
        severities: Severities to draw; None for all.
        crop: Side of the model's input in pixels for suites without a size; None for 224.
        seed: Seed of all draws.
        force: Whether to replace a file of another kind.

    Returns:
        Width and height of the grid in pixels.

    Raises:
        DatasetError: The image cannot be read.
        OptionError: An argument is invalid, or `out` is a file of another kind.
    """
    chosen = find_suite(suite)
    if suite == "clean":
        raise OptionError("the clean suite has no corruptions", "give another --suite")
    if severities is not None and chosen.family.has_frames:
        raise OptionError(f"--severity does not apply to {suite}, which has frames", "omit --severity")
    if crop is not None and (chosen.geometry is not None or chosen.side is not None):
        raise OptionError(f"{suite} has images of its own size", "omit --crop")
    if out.suffix.lower() != ".png":
        raise OptionError(f"the grid is a PNG file, not {out}", "give --out a name that ends in .png")
    check_replaceable(out, lambda path: _is_grid(path, image), "--out", force)
    try:
        encoded = read_image(image)
    except OSError as error:
        raise DatasetError(f"cannot read the image {image}: {error.strerror or error}") from error
    size = 224 if crop is None else crop
    options = Options(corruption=corruptions, severity=severities, seed=seed)
    plan = make_plan([suite], options, Preprocessing(size, size, "bilinear", (0.5,) * 3, (0.5,) * 3))
    try:
        rows = [_row(encoded, condition, seed) for condition in plan.conditions if not condition.is_clean]
    except DatasetError as error:
        raise DatasetError(f"cannot read the image {image}: {error}") from error
    sheet = _sheet(_merged(rows))
    metadata = PngInfo()
    metadata.add_text("Software", _SOFTWARE)
    with translate_os_errors(out):
        atomic_write(out, lambda file: sheet.save(file, "PNG", pnginfo=metadata))
    return sheet.size


def _is_grid(path: Path, source: Path) -> bool:
    """Return whether a file is a grid of this module, but not the image that is to be drawn."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == _SOFTWARE and not path.samefile(source)
    except (OSError, SyntaxError, ValueError):
        return False


def _row(encoded: bytes, condition: Condition, seed: int) -> _Row:
    """Return the labelled images of a condition: the clean and the corrupted image, or some frames."""
    images = torch.from_numpy(decode_one(encoded, condition.geometry).copy())[None]
    index = torch.zeros(1, dtype=torch.int64)
    if not find_suite(condition.suite).family.has_frames:
        corrupted = condition_images(images, condition, index, seed)
        return condition.corruption, [("clean", images), (str(condition.severity), corrupted)]
    if condition.native:
        return condition.corruption, [(f"{condition.resolution} px", images)]
    shown = set(_spread(len(frame_positions(condition))))
    frames = frames_of(PaddedBatch.of(images), condition, index, seed)
    return condition.corruption, [
        (_label(condition, frame.number, frame.position), frame.images) for frame in frames if frame.number in shown
    ]


def _label(condition: Condition, number: int, position: Position) -> str:
    """Return the label of a frame, by default its position on the axis."""
    label = _LABELS.get(find_suite(condition.suite).kind(condition.corruption))
    return f"{position.value:g}" if label is None else label(number, position)


_LABELS: dict[FrameKind, Callable[[int, Position], str]] = {
    FrameKind.MAP: lambda _, position: f"{position.dy:g} down, {position.dx:g} right",
    FrameKind.SEQUENCE: lambda number, _: f"frame {number}",
    FrameKind.PAIRS: lambda number, _: f"frame {number}",
}


def _merged(rows: Sequence[_Row]) -> list[_Row]:
    """Merge the severities of each corruption into one row, and leave out some of many input sizes."""
    merged: dict[str, dict[str, Images]] = {}
    for name, cells in rows:
        merged.setdefault(name, {}).update(cells)
    sizes = list(merged.get(NETWORK, {}).items())
    if sizes:
        merged[NETWORK] = dict(sizes[number] for number in _spread(len(sizes)))
    return [(name, list(cells.items())) for name, cells in merged.items()]


def _spread(count: int) -> list[int]:
    """Return evenly spread numbers below `count`, the first and the last included."""
    if count <= _MAX_FRAMES:
        return list(range(count))
    return sorted({round(k * (count - 1) / (_MAX_FRAMES - 1)) for k in range(_MAX_FRAMES)})


def _sheet(rows: Sequence[_Row]) -> Image.Image:
    """Draw the grid, with labels above each image, or only above each column if all rows have the same labels."""
    largest = max(image.shape[-1] for _, cells in rows for _, image in cells)
    factor = max(1, _MIN_SIZE // largest)
    cell, font = largest * factor, ImageFont.load_default(max(12, min(16, largest * factor // 8)))
    line = math.ceil(font.getbbox("Ag")[3]) + 4
    left = max(math.ceil(font.getlength(_words(name))) for name, _ in rows) + 2 * _GAP
    same_labels = len({tuple(label for label, _ in cells) for _, cells in rows}) == 1
    columns = max(len(cells) for _, cells in rows)
    heights = [max(image.shape[-2] for _, image in cells) * factor for _, cells in rows]
    label_heights = [0 if number and same_labels else line for number in range(len(rows))]
    width = left + columns * (cell + _GAP)
    height = _GAP + sum(heights) + sum(label_heights) + len(rows) * _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for (name, cells), row_height, label_height in zip(rows, heights, label_heights, strict=True):
        top += label_height
        draw.text((_GAP, top + row_height // 2), _words(name), _INK, font, anchor="lm")
        for column, (label, pixels) in enumerate(cells):
            image = Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())
            size = (image.width * factor, image.height * factor)
            x = left + column * (cell + _GAP)
            if label_height:
                draw.text((x + size[0] // 2, top - 4), label, _INK, font, anchor="ms")
            sheet.paste(image.resize(size, Image.Resampling.NEAREST), (x, top))
        top += row_height + _GAP
    return sheet


def _words(name: str) -> str:
    return name.replace("_", " ")
