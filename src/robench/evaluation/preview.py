"""One picture under every condition of a suite, as one labelled grid: `robench preview`."""

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
from robench.runs.files import atomic_write, translate_os_errors
from robench.suites import NETWORK, Condition, FrameKind, find_suite
from robench.transforms.apply import Position, condition_images, frame_positions, frames_of
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["preview"]

_Row: TypeAlias = tuple[str, list[tuple[str, Images]]]
"""A corruption, and what each of its pictures (1, 3, height, width) is."""

_MOST = 5
"""Frames that are drawn of a sequence: the first, the last, and some between."""
_SMALL = 96
"""Images up to this side are drawn larger, by a whole factor, so that their pixels can be seen."""
_GAP, _PAPER, _INK = 8, "white", "#1b1f24"
_MADE_BY = "robench preview"


def preview(
    image: Path,
    out: Path,
    *,
    suite: str = "imagenet-c",
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    crop: int | None = None,
    seed: int = 0,
) -> tuple[int, int]:
    """Draw the conditions of `suite` on a picture of any size into the PNG file `out`, and return its width and height.

    A row a corruption, a column a severity, the clean image first; of perturbations some frames, with their places on the axis.
    crop: side of the model's input, px, for suites that have no size of their own; 224 by default.
    The pixels are those of an evaluation in which the picture is the first sample (index 0).
    Raises DatasetError for what is no image, OptionError where `out` is another file, or for names the suite does not have.
    """
    chosen = find_suite(suite)
    if suite == "clean":
        raise OptionError("the clean suite leaves images as they are: give another --suite")
    if severities is not None and chosen.family.has_frames:
        raise OptionError(f"--severity goes with suites of corruptions, such as cifar-c; {suite} has frames")
    if crop is not None and (chosen.geometry is not None or chosen.side is not None):
        raise OptionError(f"{suite} has images of its own size: leave --crop out")
    _check_out(out, image)
    try:
        encoded = read_image(image)
    except OSError as error:
        raise DatasetError(f"cannot read the image {image}: {error.strerror or error}") from error
    side = 224 if crop is None else crop
    options = Options(corruptions=corruptions, severities=severities, seed=seed)
    plan = make_plan([suite], options, Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.5,) * 3))
    try:
        rows = [_row(encoded, condition, seed) for condition in plan.conditions if not condition.is_clean]
    except DatasetError as error:
        raise DatasetError(f"cannot read the image {image}: {error}") from error
    sheet = _sheet(_merged(rows))
    about = PngInfo()
    about.add_text("Software", _MADE_BY)
    with translate_os_errors(out):
        atomic_write(out, lambda file: sheet.save(file, "PNG", pnginfo=about))
    return sheet.size


def _check_out(out: Path, image: Path) -> None:
    """Refuse to replace what is no grid of ours."""
    if out.suffix.lower() != ".png":
        raise OptionError(f"the grid is a PNG file: give --out a name that ends in .png, not {out}")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"{out.parent} is no folder: make it first")
    if not out.exists():
        return
    try:
        with Image.open(out, formats=["PNG"]) as found:
            ours = found.info.get("Software") == _MADE_BY
    except (OSError, SyntaxError, ValueError):
        ours = False
    if not ours or (image.exists() and out.samefile(image)):
        raise OptionError(f"{out} is no grid of robench: remove it, or choose another --out")


def _row(encoded: bytes, condition: Condition, seed: int) -> _Row:
    """What a condition makes of the picture: one image, or some of its frames, each with what it is."""
    pictures = torch.from_numpy(decode_one(encoded, condition.geometry).copy())[None]
    index = torch.zeros(1, dtype=torch.int64)
    if not find_suite(condition.suite).family.has_frames:
        clean = ("clean", pictures)
        return condition.corruption, [
            clean,
            (str(condition.severity), condition_images(pictures, condition, index, seed)),
        ]
    if condition.native:
        return condition.corruption, [(f"{condition.resolution} px", pictures)]
    values = frame_positions(condition)
    drawn = set(_spread(len(values)))
    frames = frames_of(PaddedBatch.of(pictures), condition, index, seed)
    found = [
        (_place(condition, frame.number, frame.position), frame.images) for frame in frames if frame.number in drawn
    ]
    return condition.corruption, found


def _place(condition: Condition, number: int, position: Position) -> str:
    """Where a frame is on its perturbation's axis."""
    label = _LABELS.get(find_suite(condition.suite).kind(condition.corruption))
    return f"{position.value:g}" if label is None else label(number, position)


_LABELS: dict[FrameKind, Callable[[int, Position], str]] = {
    FrameKind.MAP: lambda _, position: f"{position.dy:g} down, {position.dx:g} right",
    FrameKind.SEQUENCE: lambda number, _: f"frame {number}",
    FrameKind.PAIRS: lambda number, _: f"frame {number}",
}
"""Labels of frames by their relation; other frames are labelled by their position on the axis."""


def _merged(rows: Sequence[_Row]) -> list[_Row]:
    """The severities of a corruption in one row, the clean image once; of many sizes some."""
    found: dict[str, dict[str, Images]] = {}
    for name, cells in rows:
        found.setdefault(name, {}).update(cells)
    sizes = list(found.get(NETWORK, {}).items())
    if len(sizes) > _MOST:
        found[NETWORK] = dict(sizes[at] for at in _spread(len(sizes)))
    return [(name, list(cells.items())) for name, cells in found.items()]


def _spread(count: int) -> list[int]:
    """The first of `count` places, the last, and some between."""
    return sorted({round(k * (count - 1) / (_MOST - 1)) for k in range(_MOST)}) if count > _MOST else list(range(count))


def _sheet(rows: Sequence[_Row]) -> Image.Image:
    """The grid: what a row is on the left, what a picture is above it, or above its column where all rows have the same."""
    largest = max(image.shape[-1] for _, cells in rows for _, image in cells)
    factor = max(1, _SMALL // largest)
    cell, font = largest * factor, ImageFont.load_default(max(12, min(16, largest * factor // 8)))
    line = math.ceil(font.getbbox("Ag")[3]) + 4
    left = max(math.ceil(font.getlength(_words(name))) for name, _ in rows) + 2 * _GAP
    alike = len({tuple(label for label, _ in cells) for _, cells in rows}) == 1
    columns = max(len(cells) for _, cells in rows)
    heights = [max(image.shape[-2] for _, image in cells) * factor for _, cells in rows]
    above = [line if at == 0 or not alike else 0 for at in range(len(rows))]
    sheet = Image.new(
        "RGB", (left + columns * (cell + _GAP), _GAP + sum(heights) + sum(above) + len(rows) * _GAP), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for (name, cells), height, label_height in zip(rows, heights, above, strict=True):
        top += label_height
        draw.text((_GAP, top + height // 2), _words(name), _INK, font, anchor="lm")
        for column, (label, image) in enumerate(cells):
            picture = Image.fromarray(image[0].permute(1, 2, 0).contiguous().numpy())
            size = (picture.width * factor, picture.height * factor)
            x = left + column * (cell + _GAP)
            if label_height:
                draw.text((x + size[0] // 2, top - 4), label, _INK, font, anchor="ms")
            sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (x, top))
        top += height + _GAP
    return sheet


def _words(name: str) -> str:
    return name.replace("_", " ")
