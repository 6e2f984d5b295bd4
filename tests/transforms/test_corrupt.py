"""`robench.corrupt`: the library call that everybody starts with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench.errors import OptionError
from robench.suites import SUITES
from robench.transforms.corruptions import find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip_library
from robench.transforms.draws import KeyedDraws
from tests.builders import each

IMAGES = torch.randint(0, 256, (5, 3, 40, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_name_in_the_suites_is_a_corruption() -> None:
    for suite in (suite for suite in SUITES.values() if not suite.family.has_frames):
        assert len(suite.corruptions) in (0, 3, 10, 15)
        for name in (*suite.corruptions, *suite.extra):
            levels = find_corruption(name, suite.constants).levels[suite.constants]
            assert len(levels) == len(suite.severities)


def test_seed_and_index() -> None:
    """Both give the pixels of an evaluation; one alone would repeat the noise from batch to batch, so it is refused."""
    index = range(len(IMAGES))
    whole = robench.corrupt(IMAGES, "gaussian_noise", 3, "cifar-c", seed=4, index=index)
    assert whole.shape == IMAGES.shape
    assert whole.dtype == torch.uint8
    draws = KeyedDraws(4, torch.arange(5), "gaussian_noise")
    transform = find_corruption("gaussian_noise", "32")
    assert torch.equal(whole, transform(IMAGES, draws, transform.params("32", 3)))
    part = robench.corrupt(IMAGES[[3, 1]], "gaussian_noise", 3, "cifar-c", seed=4, index=[3, 1])
    assert torch.equal(part, whole[[3, 1]])
    one = robench.corrupt(IMAGES[3], "gaussian_noise", 3, "cifar-c", seed=4, index=3)
    assert torch.equal(one, whole[3])
    assert not torch.equal(robench.corrupt(IMAGES, "gaussian_noise", 3, "cifar-c", seed=5, index=index), whole)
    positions = np.arange(len(IMAGES), dtype=np.int64)
    positions.setflags(write=False)  # As of a column of pandas, of which torch would warn.
    for same in (positions, torch.from_numpy(positions.copy())):
        assert torch.equal(robench.corrupt(IMAGES, "gaussian_noise", 3, "cifar-c", seed=4, index=same), whole)
    for alone in ({"seed": 4}, {"index": index}):
        with pytest.raises(OptionError, match="seed and index belong together"):
            robench.corrupt(IMAGES, "fog", 3, **alone)
    with pytest.raises(OptionError, match="give one for each image"):
        robench.corrupt(IMAGES, "contrast", 1, seed=0, index=np.arange(4).tolist())


def test_severities_share_their_draws() -> None:
    mild, strong = (
        robench.corrupt(IMAGES, "impulse_noise", severity, "cifar-c", seed=0, index=range(5)) != IMAGES
        for severity in (1, 5)
    )
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


def test_constants_follow_the_image() -> None:
    """The oracle is the suite of the published files of each side."""
    for side, suite in ((32, "cifar-c"), (64, "tiny-imagenet-c"), (224, "imagenet-c"), (299, "imagenet-c-299")):
        image = torch.randint(0, 256, (1, 3, side, side + 3), dtype=torch.uint8)
        assert torch.equal(robench.corrupt(image, "contrast", 3), robench.corrupt(image, "contrast", 3, suite))
    for name, side, suite in (
        ("sparkles", 64, "cifar-c-bar"),
        ("sparkles", 128, "imagenet-c-bar"),
        ("ripple", 128, "cifar-c-bar"),
        ("plasma_noise", 64, "imagenet-c-bar"),
        ("low_light", 64, "imagenet-3dcc-2d"),
    ):
        image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
        ours, expected = (robench.corrupt(image, name, 3, one, seed=0, index=[0]) for one in (None, suite))
        assert torch.equal(ours, expected), name


@each(
    ("arguments", "kind", "match"),
    [
        (("contrst", 1), OptionError, "did you mean 'contrast'"),
        (("contrast", 0), OptionError, "use 1 to 5"),
        (("contrast", 6), OptionError, "use 1 to 5"),
        (("contrast", 1, "cifar"), OptionError, "did you mean 'cifar-"),
        (("contrast", 1, "clean"), OptionError, "has no corruptions"),
        (("contrast", "3"), TypeError, "severity must be a number, 1 to 5, not '3'"),
        (("contrast", True), TypeError, "severity must be a number, 1 to 5, not True"),
        ((3, 1), TypeError, "a corruption must be a name or a function, not a int"),
    ],
)
def test_wrong_names(arguments: tuple[object, ...], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        robench.corrupt(IMAGES, *arguments)  # type: ignore[arg-type]


@each(
    ("images", "kind", "match"),
    [
        (
            IMAGES.float(),
            OptionError,
            r"float images in 0\.\.1, and these reach from 0 to 255; corrupt before Normalize",
        ),
        (IMAGES.int(), OptionError, "uint8 or float tensors, not torch.int32"),
        (IMAGES[:, :1], OptionError, r"\(5, 1, 40, 36\) of a grey image; v2\.RGB\(\)"),
        (IMAGES[:, :, :31], OptionError, "at least 32x32 pixels, not 31x36"),
        (Image.new("L", (40, 40)), OptionError, 'RGB images, not mode L; convert it, image.convert\\("RGB"\\)'),
        (IMAGES.numpy(), TypeError, "takes a PIL image, or a tensor .* not a ndarray"),
        (None, TypeError, "not a NoneType"),
    ],
)
def test_wrong_images(images: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        robench.corrupt(images, "contrast", 1)
