"""The published package on current libraries: it runs, seeded, and leaves the process as it was."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs robench[reference]")

from robench.corruptions import CORRUPTIONS
from robench.draws import KeyedDraws
from robench.errors import OptionError
from robench.reference import reference_corrupt
from robench.suites import SUITES

ALL = (*SUITES["imagenet-c"].corruptions, *SUITES["imagenet-c"].extra)
RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "frost", "fog",
    "elastic_transform", "spatter",
}  # fmt: skip


def smooth(batch: int = 4, side: int = 64) -> torch.Tensor:
    small = torch.rand((batch, 3, 7, 7), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)


@pytest.mark.parametrize("name", ALL)
def test_every_function_runs_seeded(name: str) -> None:
    images, state, modules = smooth(2), np.random.get_state(), set(sys.modules)  # noqa: NPY002
    one = reference_corrupt(images, name, 2, index=[5, 6], seed=1)
    assert one.shape == images.shape
    assert torch.equal(reference_corrupt(images[1:], name, 2, index=[6], seed=1), one[1:])
    assert torch.equal(reference_corrupt(images, name, 2, index=[5, 6], seed=2), one) != (name in RANDOM)
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(state, after, strict=True)), "NumPy's own generator is untouched"
    assert "pkg_resources" not in set(sys.modules) - modules


def test_unknown_names() -> None:
    with pytest.raises(OptionError, match="no corruption 'rain'"):
        reference_corrupt(smooth(1), "rain", 1, index=[0])


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_ours_changes_images_as_much_as_the_package_does(name: str, severity: int) -> None:
    images, corruption = smooth(64), CORRUPTIONS[name]
    ours = corruption(images, KeyedDraws(0, torch.arange(64), name), corruption.level("224", severity)).float()
    theirs = reference_corrupt(images, name, severity, index=list(range(64))).float()
    change = (ours - images).abs().mean()
    assert change == pytest.approx((theirs - images).abs().mean().item(), rel=0.03)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.8)
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
