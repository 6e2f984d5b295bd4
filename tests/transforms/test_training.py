"""Corruptions as torchvision transforms: any form of image, fresh randomness in every call and worker."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import robench
from robench.errors import OptionError
from robench.transforms import Corrupt, RandomCorruption
from tests.builders import each

GREY = torch.full((3, 32, 32), 128, dtype=torch.uint8)

ANYTHING: Any = "3"


class Greys(Dataset[Any]):
    """Equal grey images, so that all differences between outputs are noise."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self.transform(GREY), index


def fade(images: torch.Tensor, share: Any = (0.2, 0.5)) -> Any:
    """Fade to grey."""
    return images + share * (0.5 - images)


def correlations(noise: torch.Tensor) -> torch.Tensor:
    """The correlation of each pair of (n, ...) different noises."""
    matrix = torch.corrcoef(noise.double().flatten(1) - 128)
    off_diagonal: torch.Tensor = matrix[~torch.eye(len(matrix), dtype=torch.bool)]
    return off_diagonal


def test_noise_is_fresh_in_every_call_image_and_worker() -> None:
    """Before, two samples had the same noise (correlation .995). Independent ones: |r| < 6 / sqrt(3072)."""
    transform = Corrupt("gaussian_noise", 3)
    single = torch.stack([transform(GREY) for _ in range(4)])
    batch = transform(GREY.expand(4, -1, -1, -1))
    function = robench.corrupt(GREY.expand(4, -1, -1, -1), "gaussian_noise", 3)
    seeded = Corrupt("gaussian_noise", 3, seed=5)
    own = torch.stack([seeded(GREY) for _ in range(4)])
    loader = DataLoader(Greys(RandomCorruption("gaussian_noise", 3)), batch_size=4, num_workers=2)
    epochs = [torch.cat([images for images, _ in loader]) for _ in range(2)]
    everything = torch.cat([single, batch, function, own, *epochs])
    assert correlations(everything).abs().max() < 6 / 3072**0.5


@pytest.mark.slow(minutes=0.2)
def test_workers_that_are_spawned() -> None:
    for transform in (RandomCorruption(p=0.9), Corrupt(fade, 2)):
        loader = DataLoader(Greys(transform), batch_size=4, num_workers=2, multiprocessing_context="spawn")
        assert torch.cat([images for images, _ in loader]).shape == (8, 3, 32, 32)


def test_seeds_are_reproducible() -> None:
    for make in (lambda seed: Corrupt("shot_noise", 2, seed=seed), lambda seed: RandomCorruption(p=0.5, seed=seed)):
        first, again, other = (
            [t(GREY) for _ in range(6)] for t in (make(1), pickle.loads(pickle.dumps(make(1))), make(2))
        )
        assert torch.equal(torch.stack(first), torch.stack(again))
        assert not torch.equal(torch.stack(first), torch.stack(other))
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(RandomCorruption()(GREY))
    assert torch.equal(*results)


def test_the_type_stays() -> None:
    transform = v2.Compose([Corrupt("contrast", 5), v2.RandomHorizontalFlip(0.0)])
    expected = robench.corrupt(GREY // 3, "contrast", 5)
    image = (GREY // 3).permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(transform(Image.fromarray(image))), expected.permute(1, 2, 0).numpy())
    assert torch.equal(transform(GREY // 3), expected)
    batch = (GREY // 3).expand(2, -1, -1, -1)
    assert torch.equal(transform(batch), expected.expand(2, -1, -1, -1))
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        made = transform((GREY // 3).to(dtype) / 255)
        assert made.dtype == dtype
        assert torch.equal((made.float() * 255).round().to(torch.uint8), expected), dtype
    wrapped = transform(tv_tensors.Image(GREY // 3))
    assert isinstance(wrapped, tv_tensors.Image)
    assert torch.equal(wrapped.as_subclass(torch.Tensor), expected)


def test_targets_pass_through() -> None:
    mask = tv_tensors.Mask(torch.ones(1, 32, 32))
    boxes = tv_tensors.BoundingBoxes([[0, 0, 5, 5]], format="XYXY", canvas_size=(32, 32))
    image, target = Corrupt("gaussian_noise", 5)(
        Image.fromarray(GREY.permute(1, 2, 0).numpy()), {"mask": mask, "boxes": boxes, "label": torch.tensor(3)}
    )
    assert isinstance(image, Image.Image)
    assert np.asarray(image).std() > 10
    assert torch.equal(target["mask"], mask)
    assert torch.equal(target["boxes"], boxes)
    assert target["label"] == 3


def test_random_corruptions_are_drawn_for_each_image() -> None:
    images = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = RandomCorruption(["brightness", fade], severity=(1, 2), p=0.5, seed=0)(images)
    cells = [robench.corrupt(images, name, level) for name in ("brightness", fade) for level in (1, 2)]
    counts = [int((made == cell).flatten(1).all(dim=1).sum()) for cell in (images, *cells)]
    assert sum(counts) == 300
    # Binomial counts, at five standard deviations.
    assert abs(counts[0] - 150) < 44
    assert all(abs(count - 37.5) < 29 for count in counts[1:])


@each(
    ("make", "kind", "match"),
    [
        (lambda: Corrupt("fogg", 1), OptionError, "did you mean 'fog'"),
        (lambda: Corrupt("fog", 6), OptionError, "use 1 to 5"),
        (lambda: Corrupt("fog", ANYTHING), TypeError, "severity must be a number"),
        (lambda: RandomCorruption([]), OptionError, "corruptions is an empty list"),
        (lambda: RandomCorruption(severity=(3, 1)), OptionError, "least and greatest"),
        (lambda: RandomCorruption(severity=(1, 6)), OptionError, "use 1 to 5"),
        (lambda: RandomCorruption(p=1.5), OptionError, "p must be from 0 to 1"),
        (lambda: RandomCorruption(seed=-1), OptionError, "seed must be from 0"),
        (lambda: RandomCorruption(seed=ANYTHING), TypeError, "seed must be a whole number or None"),
        (lambda: Corrupt("fog", 1)(GREY.permute(1, 2, 0).numpy()), TypeError, "not ndarray; give v2.ToImage"),
        (lambda: Corrupt("fog", 1)(GREY[:1]), OptionError, "of a grey image"),
        (lambda: Corrupt("fog", 1)(tv_tensors.Video(GREY[None])), TypeError, "not Video"),
        (lambda: Corrupt("fog", 1)(GREY[:, :28, :28]), OptionError, "at least 32x32 pixels, not 28x28"),
    ],
)
def test_mistakes(make: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        make()
