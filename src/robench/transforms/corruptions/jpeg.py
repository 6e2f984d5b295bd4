"""JPEG compression: libjpeg's integer arithmetic in tensors, and the library itself on a CPU.

Both give equal bits. They use Pillow's defaults: 4:2:0, "islow" integer transforms, triangle ("fancy") chroma upsampling.

Sources: ITU-T T.81; libjpeg's jccolor.c, jdcolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jidctint.c, jdsample.c.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from robench.transforms.corruptions.base import PUBLISHED, corruption, severities
from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.transforms.kernels import fused
from robench.transforms.resize import from_pil, to_pil
from robench.types import Floats, Images

__all__ = ["jpeg_compression", "jpeg_round_trip", "jpeg_round_trip_library", "jpeg_round_trip_tensors"]


@corruption(
    levels={
        "224": severities(quality=(25, 18, 15, 10, 7)),
        "299": severities(quality=(23, 16, 13, 8, 5)),
        "64": severities(quality=(65, 58, 50, 40, 25)),
        "32": severities(quality=(80, 65, 58, 50, 40)),
    },
    source=PUBLISHED,
    values="uint8",
    interpolates=False,
)
def jpeg_compression(images: Images, draws: Draws, *, quality: float) -> Images:
    """Compress with JPEG at `quality` (1 to 95), and decode again."""
    return jpeg_round_trip(images, int(quality))


def jpeg_round_trip(images: Images, quality: int) -> Images:
    """Encode and decode (b, 3, h, w) uint8 at `quality` (1 to 95), with Pillow on a CPU, with kernels or tensors elsewhere."""
    kernels = fused(images.device)
    if kernels is not None:
        device = images.device
        steps = (constant(device, _quantisation, quality, plane).to(torch.int32) for plane in (0, 1))
        result: Images = kernels.jpeg(images, constant(device, _transform).to(torch.int32), *steps)
        return result
    if images.device.type == "cpu":
        return jpeg_round_trip_library(images, quality)
    return jpeg_round_trip_tensors(images, quality)


def jpeg_round_trip_library(images: Images, quality: int) -> Images:
    """Encode and decode (b, 3, h, w) uint8 CPU tensors through Pillow's libjpeg, image by image."""
    return from_pil((_recode(image, quality) for image in to_pil(images)), images.shape)


def _recode(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer, formats=("JPEG",))


def jpeg_round_trip_tensors(images: Images, quality: int) -> Images:
    """Encode and decode (b, 3, h, w) uint8 in integer arithmetic on any device; equal to the library to the last bit."""
    height, width = images.shape[2:]
    luma, blue, red = _to_ycc(images.to(torch.int32)).unbind(1)
    luma = _code(_pad_edge(luma, -height % 16, -width % 16), quality, 0)[:, :height, :width]
    chroma = torch.cat([blue, red])
    chroma = _halve(_pad_edge(chroma, height % 2, -width % 16))
    rows, columns = -(-height // 2), -(-width // 2)
    chroma = _code(_pad_edge(chroma, -rows % 8, 0), quality, 1)[:, :rows, :columns]
    blue, red = _double(chroma)[:, :height, :width].chunk(2)
    return _to_rgb(luma, blue, red)


def _to_ycc(rgb: Tensor) -> Tensor:
    """Convert RGB to YCbCr in 16-bit fixed point (jccolor.c); chroma's rounding constant is half a unit less by design."""
    red, green, blue = rgb.unbind(1)
    half, offset = 1 << 15, (128 << 16) + (1 << 15) - 1
    return torch.stack(
        [
            (19595 * red + 38470 * green + 7471 * blue + half) >> 16,
            (-11059 * red - 21709 * green + 32768 * blue + offset) >> 16,
            (32768 * red - 27439 * green - 5329 * blue + offset) >> 16,
        ],
        dim=1,
    )


def _to_rgb(luma: Tensor, blue: Tensor, red: Tensor) -> Images:
    """Convert YCbCr to RGB in 16-bit fixed point (jdcolor.c)."""
    blue, red, half = blue - 128, red - 128, 1 << 15
    channels = [
        luma + ((91881 * red + half) >> 16),
        luma + ((-22554 * blue - 46802 * red + half) >> 16),
        luma + ((116130 * blue + half) >> 16),
    ]
    return torch.stack(channels, dim=1).clamp_(0, 255).to(torch.uint8)


def _pad_edge(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column of (b, h, w) int32."""
    if not rows and not columns:
        return planes
    return pad(planes[:, None].float(), (0, columns, 0, rows), mode="replicate")[:, 0].to(torch.int32)


def _halve(planes: Tensor) -> Tensor:
    """Average blocks of 2x2, with a rounding term that alternates between 1 and 2 quarters by column (jcsample.c)."""
    total = planes[:, 0::2, 0::2] + planes[:, 0::2, 1::2] + planes[:, 1::2, 0::2] + planes[:, 1::2, 1::2]
    bias = torch.arange(total.shape[2], device=planes.device, dtype=torch.int32) % 2 + 1
    return (total + bias) >> 2


def _double(planes: Tensor) -> Tensor:
    """Upsample with a triangle filter, 3/4 nearer and 1/4 further, rounded once after both axes (jdsample.c)."""
    above = torch.cat([planes[:, :1], planes[:, :-1]], dim=1)
    below = torch.cat([planes[:, 1:], planes[:, -1:]], dim=1)
    rows = torch.stack([3 * planes + above, 3 * planes + below], dim=2).flatten(1, 2)
    left = torch.cat([rows[:, :, :1], rows[:, :, :-1]], dim=2)
    right = torch.cat([rows[:, :, 1:], rows[:, :, -1:]], dim=2)
    return torch.stack([(3 * rows + left + 8) >> 4, (3 * rows + right + 7) >> 4], dim=3).flatten(2, 3)


def _code(planes: Tensor, quality: int, plane: int) -> Tensor:
    """Transform, quantise, dequantise and invert 8x8 blocks of (b, h, w) int32, whose sides are multiples of 8.

    `plane` is 0 for luma and 1 for chroma.

    libjpeg's butterflies are linear with integer coefficients, so a pass is one matrix product and one rounded shift. Every
    step is exact in float64, and matrix products run on every device. Blocks are transposed between the passes. Each pass is
    therefore one product of all rows with an 8x8 matrix, not one small product for each block.
    """
    count, height, width = planes.shape
    forward = constant(planes.device, _transform)
    steps = constant(planes.device, _quantisation, quality, plane).T
    blocks = (planes.double() - 128).reshape(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    rows = _shift(_times(blocks, forward.T), 11)
    coefficients = _shift(_times(rows.mT, forward.T), 15)
    quantised = ((coefficients.abs() + 4 * steps) / (8 * steps)).floor_() * coefficients.sign()
    columns = _shift(_times(quantised * steps, forward), 11)
    values = _shift(_times(columns.mT, forward), 18).add_(128).clamp_(0, 255)
    return values.transpose(2, 3).reshape(count, height, width).to(torch.int32)


def _times(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the rows of (..., 8, 8) blocks by an 8x8 matrix."""
    return (blocks.reshape(-1, 8) @ matrix).reshape(blocks.shape)


def _shift(values: Tensor, bits: int) -> Tensor:
    """Divide integers in float64 by 2^bits, rounding halves up."""
    return values.add_(2.0 ** (bits - 1)).mul_(2.0**-bits).floor_()


def _transform() -> Floats:
    """Return libjpeg's (8, 8) forward transform in units of 2^-13; its transpose is the inverse (jfdctint.c, jidctint.c)."""
    fixed = {
        name: round(float(f"{name[0]}.{name[2:]}") * 8192)
        for name in (
            "0_298631336", "0_390180644", "0_541196100", "0_765366865", "0_899976223", "1_175875602",
            "1_501321110", "1_847759065", "1_961570560", "2_053119869", "2_562915447", "3_072711026",
        )
    }  # fmt: skip
    x = np.eye(8)
    s0, s1, s2, s3 = x[0] + x[7], x[1] + x[6], x[2] + x[5], x[3] + x[4]
    d0, d1, d2, d3 = x[0] - x[7], x[1] - x[6], x[2] - x[5], x[3] - x[4]
    even = (s0 - s3 + s1 - s2) * fixed["0_541196100"]
    all_odd = (d0 + d1 + d2 + d3) * fixed["1_175875602"]
    z1, z2 = (d0 + d3) * -fixed["0_899976223"], (d1 + d2) * -fixed["2_562915447"]
    z3, z4 = all_odd - (d1 + d3) * fixed["1_961570560"], all_odd - (d0 + d2) * fixed["0_390180644"]
    return np.stack(
        [
            (s0 + s1 + s2 + s3) * 8192,
            d0 * fixed["1_501321110"] + z1 + z4,
            even + (s0 - s3) * fixed["0_765366865"],
            d1 * fixed["3_072711026"] + z2 + z3,
            (s0 - s1 - s2 + s3) * 8192,
            d2 * fixed["2_053119869"] + z2 + z4,
            even - (s1 - s2) * fixed["1_847759065"],
            d3 * fixed["0_298631336"] + z1 + z3,
        ]
    )


_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def _quantisation(quality: int, plane: int) -> Floats:
    """Return an (8, 8) table of ITU-T T.81, Annex K, scaled to `quality` as in libjpeg and clipped to 1..255."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.array((_LUMA, _CHROMA)[plane])
    steps: Floats = np.clip((table * scale + 50) // 100, 1, 255).astype(np.float64)
    return steps
