"""Fused kernels have the eager pixels. Oracle: the eager code, and Pillow for JPEG.

Without a GPU, Triton interprets the kernels (tests/conftest.py). With one, the same tests run there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import robench
from robench.errors import OptionError
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.transforms import filters
from robench.transforms.corruptions import CORRUPTIONS, find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip, jpeg_round_trip_library, jpeg_round_trip_tensors
from robench.transforms.draws import KeyedDraws
from robench.transforms.kernels import KERNELS, check_kernels, fused, kernel_scope, why_eager
from robench.transforms.perturbations import find_perturbation
from robench.transforms.resize import normalise
from robench.transforms.warps import PaddedBatch
from robench.types import Images
from tests.builders import each
from tests.transforms.test_laws import pictures

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
INDEX = (4, 0, 2**33 + 1, 2**62 - 1, 5)
SIZES = (
    *((101, 77), (64, 64), (32, 32)),
    *(pytest.param(size, marks=pytest.mark.nightly) for size in ((224, 224), (299, 299))),
)


def mosaic(height: int, width: int) -> Images:
    """One image with strips of smooth, noisy, black, white and saturated pixels."""
    kinds = pictures(height, width)
    return torch.cat([kinds[n : n + 1, :, :, n * width // 5 : (n + 1) * width // 5] for n in range(5)], dim=3)


def both(function: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The results of a function with eager and with fused kernels."""
    results = []
    for choice in ("eager", "fused"):
        with kernel_scope(choice):
            results.append(function())
    return results[0].cpu(), results[1].cpu()


def draws(name: str, count: int) -> KeyedDraws:
    return KeyedDraws(0, torch.tensor(INDEX[:count], device=DEVICE), name)


def unequal(name: str, images: Images, constants: str, severity: int, **level: Any) -> tuple[int, int]:
    """Number of values of a corruption that differ, and the largest difference."""
    corruption = find_corruption(name, constants)
    params = {**corruption.params(constants, severity), **level}
    images = images.to(DEVICE)
    eager, own = both(lambda: corruption(images, draws(name, len(images)), params))
    difference = (eager.int() - own.int()).abs()
    return int((difference > 0).sum()), int(difference.max())


def test_the_words_and_integers_of_every_draw() -> None:
    """Keys, indices and counts at the limits of 32 bits."""
    index = torch.tensor([0, 1, 2**31 + 5, 2**40 + 3, 2**62 - 1], device=DEVICE)
    for seed, scope, count in ((0, "fog", 1001), (2**62, "x/1", 1), (5, "a", 3)):
        keyed = KeyedDraws(seed, index, scope)
        for draw in (
            lambda: keyed.words("z", count),  # noqa: B023
            lambda: keyed.uniform("z", (count,)),  # noqa: B023
            lambda: keyed.integers("z", -3, 2**20, (count,)),  # noqa: B023
            lambda: keyed.int16("z", (count,)),  # noqa: B023
        ):
            assert torch.equal(*both(draw)), (scope, count)
    empty = KeyedDraws(0, index[:0], "none")
    assert all(one.shape == (0, 7) for one in both(lambda: empty.normal("z", (7,))))


def test_noise_differs_in_the_last_bit_of_log_and_cos_alone() -> None:
    """At most 5 of 4 million values of pictures may change, by 1 level."""
    eager, own = both(lambda: draws("noise", 5).normal("noise", (3, 101, 77)))
    assert torch.allclose(eager, own, rtol=1e-5, atol=1e-6)
    found = [unequal("gaussian_noise", mosaic(101, 77), "224", severity) for severity in (1, 5)]
    found += [unequal("speckle_noise", mosaic(101, 77), "224", 3)]
    assert sum(count for count, _ in found) <= 1
    assert max(most for _, most in found) <= 1


@each(("quality", "size"), [(5, (33, 32)), (25, (40, 49)), (85, (101, 77)), (95, (32, 33))])
def test_jpeg_is_the_librarys(quality: int, size: tuple[int, int]) -> None:
    images = mosaic(*size)
    with kernel_scope("fused"):
        made = jpeg_round_trip(images.to(DEVICE), quality).cpu()
    assert torch.equal(made, jpeg_round_trip_library(images, quality))


def test_jpeg_rounds_as_the_library_does() -> None:
    """Flat blocks of the colours whose luma or chroma lies at a rounding threshold, in units of 2^-16."""
    colours = torch.randint(256, (3, 1 << 21), generator=torch.Generator().manual_seed(0))
    found = []
    for weights, half in (
        ((19595, 38470, 7471), 32768),
        ((-11059, -21709, 32768), 32767),
        ((32768, -27439, -5329), 32767),
    ):
        rest = (torch.tensor(weights) @ colours + half) % 65536
        found += [colours[:, rest == near][:, :16] for near in (0, 65535)]
    flat = torch.cat(found, dim=1).to(torch.uint8)
    images = flat[None, :, None, :].repeat_interleave(16, 3).repeat(1, 1, 16, 1)
    with kernel_scope("fused"):
        made = jpeg_round_trip(images.to(DEVICE), 95).cpu()
    expected = jpeg_round_trip_library(images, 95)
    assert torch.equal(made, expected)
    assert torch.equal(jpeg_round_trip_tensors(images, 95), expected)


@each(
    ("name", "constants", "severity"),
    [
        *(("motion_blur", "224", 1), ("motion_blur", "32", 5), ("snow", "32", 5), ("glass_blur", "224", 1)),
        *(("glass_blur", "32", 4), ("gaussian_blur", "32", 5), ("elastic_transform", "32", 5)),
        *(("spatter", "32", 4), ("defocus_blur", "32", 5)),
    ],
)
def test_blurs_are_equal_to_the_bit(name: str, constants: str, severity: int) -> None:
    count, most = unequal(name, mosaic(45, 39), constants, severity)
    assert count == 0, f"{count} values by up to {most}"


def test_frames_are_equal_to_the_bit() -> None:
    batch = PaddedBatch.of(mosaic(40, 40).to(DEVICE))
    for name in ("motion_blur", "gaussian_blur", "snow", "spatter"):
        perturbation = find_perturbation(name, "32")
        params = {**perturbation.params("32"), "frames": perturbation.params("32")["frames"][3:4]}
        frames = lambda: torch.stack(list(perturbation(batch, 32, draws(name, 1), params)))  # noqa: B023, E731
        assert torch.equal(*both(frames)), name


def test_filters_at_every_border_and_in_both_types() -> None:
    taps = filters.gaussian_taps(1.2)
    for dtype in (torch.float32, torch.float64):
        values = mosaic(33, 40).to(DEVICE, dtype) / 255
        for axis, border in (
            (2, "replicate"),
            (3, "replicate"),
            (2, "reflect"),
            (3, "reflect"),
            (2, "none"),
            (3, "none"),
        ):
            assert torch.equal(*both(lambda: filters.correlate(values, taps, axis, border))), (dtype, axis, border)  # noqa: B023
        tiny = values[..., :5, :3]
        assert torch.equal(*both(lambda: filters.correlate(tiny, taps, 2, "reflect"))), "further than the image"  # noqa: B023


def test_normalised_input_is_equal_in_values_and_layout() -> None:
    """float32, because the interpreter truncates where a device rounds to bfloat16."""
    images = pictures(101, 77, 2).to(DEVICE)
    dtypes = (torch.float32, torch.bfloat16, torch.float16) if DEVICE.type == "cuda" else (torch.float32,)
    for dtype in dtypes:
        for reverse in (False, True):
            mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            eager, own = both(lambda: normalise(images, mean, std, reverse=reverse, dtype=dtype))  # noqa: B023
            assert torch.equal(eager, own)
            assert eager.stride() == own.stride()
            assert own.is_contiguous(memory_format=torch.channels_last)


def test_the_choice_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert fused(cpu) is None, "auto on a CPU is eager"
    with kernel_scope("fused"):
        assert fused(cpu) is not None
    with pytest.raises(OptionError, match="unknown kernels 'fast'"):
        check_kernels("fast", cpu)
    for choice in KERNELS:
        check_kernels(choice, cpu)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(OptionError, match="--kernels fused cannot run on cpu: they need a CUDA device"):
        check_kernels("fused", cpu)
    check_kernels("auto", cpu)
    monkeypatch.setattr("robench.transforms.kernels.find_spec", lambda _: None)
    assert why_eager(torch.device("cuda", 0)) == "Triton is not installed"


def test_a_run_of_fused_kernels_is_the_run_of_eager_ones(
    classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """Its records are equal byte for byte, and either run resumes with the other kernels."""
    options = Options(corruption=["glass_blur", "motion_blur"], severity=[3], limit=3, kernels="eager")
    runs = {}
    for first, second in (("eager", "fused"), ("fused", "eager")):
        out = tmp_path / first
        robench.evaluate(classifier, picture_folder, ["cifar-c"], out, options=replace(options, kernels=first))
        assert json.loads((out / "manifest.json").read_text())["options"]["kernels"] == first
        (out / "records" / "cifar-c-glass_blur-3-32px.parquet").unlink()
        robench.evaluate(classifier, picture_folder, ["cifar-c"], out, options=replace(options, kernels=second))
        runs[first] = {file.name: file.read_bytes() for file in (out / "records").glob("*.parquet")}
    assert runs["eager"] == runs["fused"]
    assert len(runs["eager"]) == 3


@pytest.mark.slow(minutes=0.6)
def test_every_kernel_compiles_for_an_h200() -> None:
    """Oracle: the compiler's own report, which needs no GPU. Only the slow paths of cos and sin have a stack."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kernels.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) >= {"words", "normal", "JPEG, encode", "JPEG, decode", "motion", "shuffle", "normalise"}
    for name, made in found.items():
        assert 0 < made["registers"] <= 176, name
        assert made["stack"] == 0 or (name == "normal" and made["stack"] <= 32), name
        assert made["fused"] == 0 or name == "normal", f"{name} contracts multiplications and additions"
        assert made["lines"] <= 60, name


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("size", SIZES)
def test_every_kernel_at_every_size(size: tuple[int, int]) -> None:
    """Smooth, noisy, black, white and saturated images, in a batch or in one large image."""
    images = mosaic(*size) if max(size) > 200 else pictures(*size)
    for name in CORRUPTIONS:
        for severity in (
            (1, 5) if size == SIZES[0] and name in ("motion_blur", "snow", "glass_blur", "gaussian_blur") else (3,)
        ):
            count, most = unequal(name, images, "224", severity)
            assert count <= (1 if name.endswith("noise") else 0), (name, severity)
            assert most <= 1
    for quality in (5, 7, 25, 85, 95) if size == SIZES[0] else (85,):
        with kernel_scope("fused"):
            made = jpeg_round_trip(images.to(DEVICE), quality).cpu()
        assert torch.equal(made, jpeg_round_trip_library(images, quality)), quality


@pytest.mark.slow(minutes=2)
def test_four_million_values_of_noise() -> None:
    cases = product(("gaussian_noise", "speckle_noise"), (1, 3, 5))
    found = [unequal(name, pictures(299, 299, 3), "224", severity) for name, severity in cases]
    values = len(found) * 3 * 3 * 299 * 299
    assert values > 4_000_000
    assert sum(count for count, _ in found) <= 5
    assert max(most for _, most in found) <= 1
