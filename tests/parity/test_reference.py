"""The package as an oracle for ours, and golden files as an oracle for the package as we load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robench.errors import OptionError
from robench.suites.imagenet_c import CORRUPTIONS as PUBLISHED
from robench.suites.imagenet_c import EXTRA
from robench.transforms import reference
from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.draws import KeyedDraws
from robench.transforms.reference import keyed_state, package, reference_corrupt
from robench.types import Images
from tests.builders import each

pytest.importorskip("cv2", reason="needs robench[reference]")

NAMES = (*PUBLISHED, *EXTRA)
FIXED = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}


def smooth(side: int, count: int = 2) -> Images:
    rng = np.random.default_rng(side)
    small = torch.from_numpy(rng.uniform(0, 255, (count, 3, 5, 5)))
    return torch.nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 255).to(torch.uint8)


@each("name", NAMES)
def test_every_function_runs_from_its_own_generator(name: str) -> None:
    images = smooth(64)
    copy, before = images.clone(), np.random.get_state()  # noqa: NPY002
    first = reference_corrupt(images, name, 3, index=[0, 1])
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert not torch.equal(first, images)
    assert torch.equal(reference_corrupt(images, name, 3, index=[0, 1]), first)
    assert torch.equal(reference_corrupt(images[1:], name, 3, index=[1])[0], first[1])
    assert torch.equal(reference_corrupt(images, name, 3, index=[0, 1], seed=1), first) is (name in FIXED)
    assert torch.equal(images, copy)
    for one, other in zip(np.random.get_state(), before, strict=True):  # noqa: NPY002
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "severity", [pytest.param(1, marks=pytest.mark.nightly), 3, pytest.param(5, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "impulse_noise"])
def test_the_package_makes_the_golden_pixels(name: str, severity: int, golden: Path) -> None:
    """From the seeds of the golden files. They do not reach the generator of impulse noise, which is left out."""
    with np.load(golden / "imagecorruptions.npz") as arrays:
        images, expected = arrays["inputs"], arrays[f"{name}/{severity}"]
    for position, (image, pixels) in enumerate(zip(images, expected, strict=True)):
        state = np.random.RandomState(100_000 * NAMES.index(name) + 1000 * severity + position)
        with package(state) as published:
            made = published.corrupt(image, severity, name)
        if name == "frost":
            # OpenCV's weighted sum rounds by the processor's instructions, so one value of 150,528 may be one off.
            difference = np.abs(made.astype(int) - pixels)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-4
        else:
            assert np.array_equal(made, pixels)


def statistics(corrupted: Tensor, images: Images) -> list[float]:
    change = corrupted - images
    return [change.abs().mean().item(), change.std().item(), corrupted.mean().item()]


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name in FIXED or name.endswith("noise")])
def test_ours_has_the_statistics_of_the_package(name: str) -> None:
    """Within 3 %, or a twentieth of a grey level: means that are whole numbers are truncated either way."""
    images, index = smooth(128, 4), torch.arange(4)
    corruption = CORRUPTIONS[name]
    for severity in (1, 3, 5):
        ours = corruption(images, KeyedDraws(0, index, name), corruption.params("224", severity)).double()
        theirs = reference_corrupt(images, name, severity, index=index.tolist()).double()
        if not corruption.random:
            assert (ours - theirs).abs().max() <= 1, f"severity {severity}"
        expected = pytest.approx(statistics(theirs, images), rel=0.03, abs=0.05)
        assert statistics(ours, images) == expected, f"severity {severity}"


def test_nothing_of_the_repair_is_left_behind() -> None:
    """In a fresh interpreter where every warning is an error."""
    script = """
import sys, numpy as np, scipy.ndimage, torch
before = {name: sys.modules.get(name) for name in ("pkg_resources", "scipy.ndimage.interpolation")}
random, gaussian = np.random, __import__("skimage.filters").filters.gaussian
from robench.transforms.reference import reference_corrupt
assert "imagecorruptions" not in sys.modules
for name in ("fog", "glass_blur", "frost", "spatter"):
    reference_corrupt(torch.zeros((1, 3, 32, 32), dtype=torch.uint8), name, 1, index=[0])
import imagecorruptions.corruptions as functions, skimage, skimage.filters
assert {name: sys.modules.get(name) for name in before} == before
assert np.random is random and not hasattr(np, "float_")
assert functions.np is np and functions.sk is skimage and skimage.filters.gaussian is gaussian
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_error_within_gives_the_names_back() -> None:
    with pytest.raises(AttributeError), package(keyed_state("test")) as published:
        published.corrupt(np.zeros((8, 8, 3), np.uint8), 1, "fog")
    functions = sys.modules["imagecorruptions.corruptions"]
    assert functions.np is np


def test_what_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    images = smooth(64)
    with pytest.raises(OptionError, match=r"fgo.*did you mean 'fog'"):
        reference_corrupt(images, "fgo", 1, index=[0, 1])
    with pytest.raises(OptionError, match="severity 6"):
        reference_corrupt(images, "fog", 6, index=[0, 1])
    for wrong in (images[:, :, :31], images.float()):
        with pytest.raises(OptionError, match="uint8 on a CPU, sides of 32"):
            reference_corrupt(wrong, "fog", 1, index=[0, 1])
    reference._module.cache_clear()
    monkeypatch.setattr(reference, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"pip install 'robench\[reference\]'"):
        reference_corrupt(images, "fog", 1, index=[0, 1])
