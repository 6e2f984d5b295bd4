"""`robench.corrupt`: the library call that everybody starts with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import robench
from robench.errors import OptionError
from robench.suites import SUITES
from robench.transforms.corruptions import find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip_library

IMAGES = torch.randint(0, 256, (5, 3, 40, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_name_in_the_suites_is_a_corruption() -> None:
    for suite in (suite for suite in SUITES.values() if not suite.family.has_frames):
        assert len(suite.corruptions) in (0, 15)
        for name in (*suite.corruptions, *suite.extra):
            levels = find_corruption(name, suite.constants).levels[suite.constants]
            assert len(levels) == len(suite.severities)


def test_defaults_and_index() -> None:
    whole = robench.corrupt(IMAGES, "gaussian_noise", severity=3, suite="cifar-c", seed=4)
    assert whole.shape == IMAGES.shape
    assert whole.dtype == torch.uint8
    part = robench.corrupt(IMAGES[[3, 1]], "gaussian_noise", severity=3, suite="cifar-c", seed=4, index=[3, 1])
    assert torch.equal(part, whole[[3, 1]])
    assert not torch.equal(robench.corrupt(IMAGES, "gaussian_noise", 3, "cifar-c", seed=5), whole)
    assert not torch.equal(robench.corrupt(IMAGES[[3]], "gaussian_noise", 3, "cifar-c", seed=4), whole[[3]])


def test_severities_share_their_draws() -> None:
    mild, strong = (robench.corrupt(IMAGES, "impulse_noise", severity, "cifar-c") != IMAGES for severity in (1, 5))
    assert mild.sum() < strong.sum()
    assert (mild <= strong).all(), "what a mild severity changes, a strong one changes too"


def test_release_is_a_jpeg_pass_where_the_released_files_had_one() -> None:
    plain = robench.corrupt(IMAGES, "contrast", 2, "imagenet-c")
    assert torch.equal(
        robench.corrupt(IMAGES, "contrast", 2, "imagenet-c", release=True), jpeg_round_trip_library(plain, 85)
    )
    assert torch.equal(
        robench.corrupt(IMAGES, "contrast", 2, "cifar-c", release=True),
        robench.corrupt(IMAGES, "contrast", 2, "cifar-c"),
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("contrst",), "did you mean 'contrast'"),
        (("contrast", 0), "use 1 to 5"),
        (("contrast", 6), "use 1 to 5"),
        (("contrast", 1, "cifar"), "did you mean 'cifar-"),
        (("contrast", 1, "clean"), "unknown corruption"),
    ],
)
def test_wrong_names(arguments: tuple[object, ...], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        robench.corrupt(IMAGES, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (IMAGES.float(), r"takes \(b, 3, h, w\) uint8 images"),
        (IMAGES[0], r"takes \(b, 3, h, w\) uint8 images"),
        (IMAGES[:, :1], r"takes \(b, 3, h, w\) uint8 images"),
        (IMAGES[:, :, :31], "at least 32x32 pixels, not 31x36"),
    ],
)
def test_wrong_images(images: torch.Tensor, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        robench.corrupt(images, "contrast", index=None)


def test_positions_as_tables_have_them() -> None:
    """An array that nobody is to write to, as of a pandas column: torch would warn of it."""
    index = np.arange(len(IMAGES), dtype=np.int64)
    index.setflags(write=False)
    assert torch.equal(robench.corrupt(IMAGES, "fog", index=index), robench.corrupt(IMAGES, "fog"))
    assert torch.equal(
        robench.corrupt(IMAGES, "fog", index=torch.from_numpy(index.copy())), robench.corrupt(IMAGES, "fog")
    )


def test_wrong_index() -> None:
    with pytest.raises(OptionError, match="give one position for each image"):
        robench.corrupt(IMAGES, "contrast", index=np.arange(4).tolist())
