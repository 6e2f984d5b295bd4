"""A labelled grid, or an animation, of one image under every condition of a suite."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

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
from robench.suites import NETWORK, Condition, FrameKind, Suite, families, find_suite
from robench.transforms.apply import Position, condition_images, frame_positions, frames_of
from robench.transforms.own import read_names
from robench.transforms.warps import PaddedBatch
from robench.types import Images

__all__ = ["Preview", "preview"]

_Row: TypeAlias = tuple[str, list[tuple[str, Image.Image]]]
"""A corruption, and the labels and images of its row."""

_Encoded: TypeAlias = tuple[bytes, Image.Image]
"""A file, and the sheet that it holds, or the first of them."""

_MAX_FRAMES = 5
"""Frames of a sequence in the grid: the first, the last, and some between."""
_MAX_STRENGTHS = 10
"""The same for strengths of a degradation, which change more from one to the next."""
_TILES = 5
"""Perturbations in a row of an animation."""
_MIN_SIZE = 96
"""Images with smaller sides are enlarged by a whole factor."""
_LARGEST_FILE = 1_000_000
"""Most bytes of a file: pages and issue trackers show such images at once."""
_ANIMATED_SIDE = 128
"""Most pixels of a side of an animated image, whose file grows with the number of frames."""
_LEAST_SIDE = 48
_MILLISECONDS = 100
_GAP, _BACKGROUND, _INK = 8, "white", "#1b1f24"
_SOFTWARE = "robench preview"
_KINDS = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}


@dataclass(frozen=True)
class Preview:
    """A drawn file.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        bytes: Size of the file.
        frames: Number of frames; 1 for a grid.
        reduction: How the images were reduced for the size of the file, in words; empty if they are exact.
    """

    width: int
    height: int
    bytes: int
    frames: int
    reduction: str


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
) -> Preview:
    """Draw the conditions of a suite on one image into a file below one megabyte.

    The clean image comes first. Each corruption has a row, and each severity a column. Perturbations have some of their frames
    in a .png, and all of them in an animated .gif or .webp. The pixels are those of an evaluation in which the image is the first
    sample (index 0). If the file would be too large, images are reduced in size and to 256 colours.

    Args:
        image: An image of any size.
        out: The file to write: .png; .webp; or .gif for a suite with frames.
        suite: Name of the suite, or `file.py:object`.
        corruptions: Corruptions to draw; None for the suite's own.
        severities: Severities to draw; None for all.
        crop: Side of the model's input in pixels for suites without a size; None for 224.
        seed: Seed of all draws.
        force: Whether to replace a file of another kind.

    Raises:
        DatasetError: The image cannot be read.
        OptionError: An argument is invalid, or `out` is a file of another kind.
    """
    chosen = find_suite(read_names([suite], None)[0][0])
    kind = _checked_kind(chosen, severities, crop, out)
    check_replaceable(out, lambda path: _is_ours(path, image), "--out", force)
    try:
        encoded = read_image(image)
    except OSError as error:
        raise DatasetError(f"cannot read the image {image}: {error.strerror or error}", "check the path") from error
    size = 224 if crop is None else crop
    options = Options(corruption=corruptions, severity=severities, seed=seed)
    plan = make_plan([suite], options, Preprocessing(size, size, "bilinear", (0.5,) * 3, (0.5,) * 3))
    conditions = [condition for condition in plan.conditions if not condition.is_clean]
    title = f"{suite} on {image.name}, seed {seed}"
    is_animated = chosen.family.has_frames and kind != "PNG"
    try:
        clean = _clean(encoded, conditions[0])
        rows = _merged([_row(encoded, condition, seed, whole=is_animated) for condition in conditions])
    except DatasetError as error:
        raise DatasetError(
            f"cannot read the image {image}: {error.problem}", error.hint or "give another image"
        ) from error
    made, drawn = _animation(title, rows, kind) if is_animated else _grid(title, clean, rows, kind)
    with translate_os_errors(out):
        atomic_write(out, lambda file: file.write(made))
    return drawn


def _checked_kind(suite: Suite, severities: Sequence[int] | None, crop: int | None, out: Path) -> str:
    """Return Pillow's name of the format of `out`; OptionError if an option does not apply."""
    if suite.family is families.EXITS or not suite.corruptions:
        raise OptionError(f"the {suite.name} suite has no corruptions of its own", "give another --suite")
    if severities is not None and suite.family.has_frames:
        raise OptionError(f"--severity does not apply to {suite.name}, which has frames", "omit --severity")
    if crop is not None and (suite.geometry is not None or suite.side is not None):
        raise OptionError(f"{suite.name} has images of its own size", "omit --crop")
    kind = _KINDS.get(out.suffix.lower())
    if kind is None:
        raise OptionError(f"no image can be written to {out}", "give --out a name that ends in .png, .webp or .gif")
    if kind == "GIF" and not suite.family.has_frames:
        raise OptionError(f"{suite.name} has no frames to animate", "give --out a name that ends in .png or .webp")
    return kind


def _is_ours(path: Path, source: Path) -> bool:
    """Return whether a file is one of this module, but not the image that is to be drawn."""
    try:
        with Image.open(path, formats=list(_KINDS.values())) as image:
            notes = (image.info.get("Software"), image.info.get("comment"), image.info.get("xmp"))
            texts = [note.decode(errors="replace") if isinstance(note, bytes) else note for note in notes]
            return any(text is not None and _SOFTWARE in text for text in texts) and not path.samefile(source)
    except (OSError, SyntaxError, ValueError):
        return False


def _fitted(side: int, encode: Callable[[int], _Encoded]) -> _Encoded:
    """Return the file of the largest images that is small enough, from images of `side` pixels downwards."""
    while True:
        made, sheet = encode(side)
        if len(made) <= _LARGEST_FILE or side <= _LEAST_SIDE:
            return made, sheet
        # The size grows with the area; a little less, because small images hold more detail in a pixel.
        side = max(_LEAST_SIDE, min(side - 8, int(0.93 * side * math.sqrt(_LARGEST_FILE / len(made)))))


def _grid(title: str, clean: Image.Image | None, rows: Sequence[_Row], kind: str) -> tuple[bytes, Preview]:
    largest = _largest(rows)
    metadata = PngInfo()
    metadata.add_text("Software", _SOFTWARE)

    def encode(side: int, colours: int | None = None) -> _Encoded:
        sheet, file = _sheet(title, clean, rows, side), io.BytesIO()
        if kind == "WEBP":
            sheet.save(file, "WEBP", quality=85, xmp=_SOFTWARE.encode())
        else:
            drawn = sheet if colours is None else sheet.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
            drawn.save(file, "PNG", pnginfo=metadata)
        return file.getvalue(), sheet

    made, sheet = encode(largest)
    few = kind == "PNG" and len(made) > _LARGEST_FILE
    if len(made) > _LARGEST_FILE:
        made, sheet = _fitted(largest, lambda side: encode(side, 256 if few else None))
    return _described(made, sheet, 1, _sheet(title, clean, rows, largest).width, "256 colours" if few else "")


def _animation(title: str, rows: Sequence[_Row], kind: str) -> tuple[bytes, Preview]:
    """Return an animation with a tile for each perturbation, all at the same frame; shorter ones stay at their last frame."""
    largest, length = _largest(rows), max(len(cells) for _, cells in rows)

    def encode(side: int) -> _Encoded:
        first, *others = [_tiles(title, rows, number, side) for number in range(length)]
        note: dict[str, Any] = (
            {"comment": _SOFTWARE} if kind == "GIF" else {"xmp": _SOFTWARE.encode(), "quality": 75, "method": 2}
        )
        if kind == "GIF":
            palette = first.quantize(256)
            first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in (first, *others)]
        file = io.BytesIO()
        first.save(file, kind, save_all=True, append_images=others, duration=_MILLISECONDS, loop=0, **note)
        return file.getvalue(), first

    made, sheet = _fitted(min(largest, _ANIMATED_SIDE), encode)
    return _described(made, sheet, length, _tiles(title, rows, 0, largest).width, "")


def _largest(rows: Sequence[_Row]) -> int:
    return max(image.width for _, cells in rows for _, image in cells)


def _described(made: bytes, sheet: Image.Image, frames: int, full: int, more: str) -> tuple[bytes, Preview]:
    """Return a file with its facts; `full` is the width of the sheet with images of their own size."""
    reduced = f"smaller images ({sheet.width} instead of {full} px in all)" if sheet.width < full else ""
    return made, Preview(*sheet.size, len(made), frames, " and ".join(filter(None, (reduced, more))))


def _clean(encoded: bytes, condition: Condition) -> Image.Image | None:
    """Return the clean image; None if the perturbations take another region than they show."""
    suite = find_suite(condition.suite)
    if suite.family.has_frames and suite.source_region != "crop":
        return None
    return _as_image(torch.from_numpy(decode_one(encoded, condition.geometry).copy())[None])


def _as_image(pixels: Images) -> Image.Image:
    return Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())


def _row(encoded: bytes, condition: Condition, seed: int, *, whole: bool) -> _Row:
    """Return the labelled images of a condition: the corrupted image, or some or all of its frames."""
    images = torch.from_numpy(decode_one(encoded, condition.geometry).copy())[None]
    index = torch.zeros(1, dtype=torch.int64)
    if not find_suite(condition.suite).family.has_frames:
        return condition.corruption, [
            (str(condition.severity), _as_image(condition_images(images, condition, index, seed)))
        ]
    if condition.native:
        return condition.corruption, [(f"{condition.resolution} px", _as_image(images))]
    count = len(frame_positions(condition))
    kind = find_suite(condition.suite).kind(condition.corruption)
    shown = set(
        range(count) if whole else _spread(count, _MAX_STRENGTHS if kind is FrameKind.STRENGTHS else _MAX_FRAMES)
    )
    frames = frames_of(PaddedBatch.of(images), condition, index, seed)
    return condition.corruption, [
        (_label(condition, frame.number, frame.position), _as_image(frame.images))
        for frame in frames
        if frame.number in shown
    ]


def _label(condition: Condition, number: int, position: Position) -> str:
    """Return the label of a frame, by default its position on the axis."""
    label = _LABELS.get(find_suite(condition.suite).kind(condition.corruption))
    return f"{position.value:g}" if label is None else label(number, position)


_LABELS: dict[FrameKind, Callable[[int, Position], str]] = {
    FrameKind.MAP: lambda _, position: f"{position.dy:g} down, {position.dx:g} right",
    FrameKind.SEQUENCE: lambda number, _: f"frame {number}",
    FrameKind.PAIRS: lambda number, _: f"frame {number}",
    FrameKind.SIZES: lambda _, position: f"{position.value:g} px",
    FrameKind.COPIES: lambda number, _: f"copy {number + 1}",
}


def _merged(rows: Sequence[_Row]) -> list[_Row]:
    """Merge the severities of each corruption into one row, and leave out some of many input sizes."""
    merged: dict[str, dict[str, Image.Image]] = {}
    for name, cells in rows:
        merged.setdefault(name, {}).update(cells)
    sizes = list(merged.get(NETWORK, {}).items())
    if sizes:
        merged[NETWORK] = dict(sizes[number] for number in _spread(len(sizes), _MAX_FRAMES))
    return [(name, list(cells.items())) for name, cells in merged.items()]


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` evenly spread numbers below `count`, the first and the last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


class _Scale:
    """Draws images at a side, and labels that fit it."""

    def __init__(self, rows: Sequence[_Row], side: int) -> None:
        largest = max(image.width for _, cells in rows for _, image in cells)
        self._ratio = side / largest if side < largest else float(max(1, _MIN_SIZE // largest))
        self.cell = round(largest * self._ratio)
        self.font = ImageFont.load_default(max(11, min(16, self.cell // 8)))
        self.line = math.ceil(self.font.getbbox("Ag")[3]) + 4

    def size(self, image: Image.Image) -> tuple[int, int]:
        """Return the drawn width and height of an image."""
        return max(1, round(image.width * self._ratio)), max(1, round(image.height * self._ratio))

    def drawn(self, image: Image.Image) -> Image.Image:
        """Return an image at its drawn size."""
        enlarged = self._ratio >= 1
        return image.resize(self.size(image), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)

    def width(self, text: str) -> int:
        """Return the width of a text."""
        return math.ceil(self.font.getlength(text))


def _sheet(title: str, clean: Image.Image | None, rows: Sequence[_Row], side: int) -> Image.Image:
    """Draw the grid, with labels above each image, or only above each column if all rows have the same labels."""
    scale = _Scale(rows, side)
    left = max(scale.width(_words(name)) for name in ("clean", *(name for name, _ in rows))) + 2 * _GAP
    same_labels = len({tuple(label for label, _ in cells) for _, cells in rows}) == 1
    heights = [max(scale.size(image)[1] for _, image in cells) for _, cells in rows]
    label_heights = [0 if number and same_labels else scale.line for number in range(len(rows))]
    clean_height = 0 if clean is None else scale.size(clean)[1] + _GAP
    columns = max(len(cells) for _, cells in rows)
    width = max(left + columns * (scale.cell + _GAP), scale.width(title) + 2 * _GAP)
    height = _GAP + scale.line + clean_height + sum(heights) + sum(label_heights) + len(rows) * _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, scale.font)
    top = _GAP + scale.line
    if clean is not None:
        draw.text((_GAP, top + clean_height // 2), "clean", _INK, scale.font, anchor="lm")
        sheet.paste(scale.drawn(clean), (left, top))
        top += clean_height
    for (name, cells), row_height, label_height in zip(rows, heights, label_heights, strict=True):
        top += label_height
        draw.text((_GAP, top + row_height // 2), _words(name), _INK, scale.font, anchor="lm")
        for column, (label, image) in enumerate(cells):
            x = left + column * (scale.cell + _GAP)
            if label_height:
                draw.text((x + scale.size(image)[0] // 2, top - 4), label, _INK, scale.font, anchor="ms")
            sheet.paste(scale.drawn(image), (x, top))
        top += row_height + _GAP
    return sheet


def _tiles(title: str, rows: Sequence[_Row], number: int, side: int) -> Image.Image:
    """Draw one frame of an animation."""
    scale = _Scale(rows, side)
    cell = max(scale.cell, *(scale.width(_words(name)) for name, _ in rows))
    columns, line = min(_TILES, len(rows)), scale.line
    width = max(_GAP + columns * (cell + _GAP), scale.width(title) + 2 * _GAP)
    height = 2 * _GAP + line + math.ceil(len(rows) / columns) * (2 * line + scale.cell + _GAP)
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, scale.font)
    for place, (name, cells) in enumerate(rows):
        x = _GAP + place % columns * (cell + _GAP)
        top = 2 * _GAP + line + place // columns * (2 * line + scale.cell + _GAP)
        label, image = cells[min(number, len(cells) - 1)]
        draw.text((x, top), _words(name), _INK, scale.font)
        draw.text((x, top + line), label, _INK, scale.font)
        sheet.paste(scale.drawn(image), (x, top + 2 * line))
    return sheet


def _words(name: str) -> str:
    return name.replace("_", " ")
