"""Oracle for the normalisation: torchvision's own ToTensor and Normalize on the same pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as reference

from robench.errors import OptionError
from robench.models import Classifier, Preprocessing
from robench.transforms import resize as pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Preprocessing(resize=256, crop=224, interpolation="bilinear", mean=MEAN, std=STD)


class _Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).double()


def _flat(side: int) -> Classifier:
    preprocessing = Preprocessing(side, side, "bicubic", MEAN, STD)
    return Classifier("flat", "zoo:flat", _Flat(), preprocessing, 3 * side * side, "0", torch.device("cpu"))


def _images(side: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_logits_see_exactly_what_torchvision_normalises() -> None:
    images = _images(16)
    before = images.clone()
    expected = reference.normalize(images.float().div(torch.tensor(255.0)), list(MEAN), list(STD)).flatten(1)
    logits = _flat(16).logits(images)
    assert torch.equal(logits, expected)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert torch.equal(images, before)


def test_images_of_another_side_are_resized() -> None:
    images = _images(20)
    classifier = _flat(16)
    assert torch.equal(classifier.logits(images), classifier.logits(pixels.resize(images, (16, 16), "bicubic")))


def test_float_images_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        _flat(16).logits(torch.zeros(1, 3, 16, 16))


def test_geometry_is_the_models_own() -> None:
    assert str(IMAGENET.geometry()) == "resize256-bilinear-crop224"


def test_a_new_crop_alone_keeps_the_ratio() -> None:
    assert IMAGENET.replaced(crop=160).resize == 183
    assert IMAGENET.replaced(crop=160, resize=160).resize == 160
    assert IMAGENET.replaced(resize=300).crop == 224
    assert IMAGENET.replaced() == IMAGENET


def test_a_squashing_model_keeps_its_shape() -> None:
    squashing = replace(IMAGENET, resize=(256, 280))
    assert str(squashing.geometry()) == "resize256x280-bilinear-crop224"
    assert squashing.replaced(crop=160).resize == (183, 200)
    assert squashing.replaced(resize=256) == IMAGENET
    with pytest.raises(OptionError, match="resize 200x300 is smaller than crop 224"):
        IMAGENET.replaced(resize=(200, 300))


def test_a_manifest_of_an_ordinary_model_is_as_it_was() -> None:
    assert list(IMAGENET.facts()) == ["resize", "crop", "interpolation", "mean", "std"]
    assert replace(IMAGENET, floors=True).facts()["floors"]


def test_overrides_replace_what_they_name() -> None:
    changed = IMAGENET.replaced(mean=[0.1, 0.2, 0.3], std=[1, 1, 0.5], interpolation="bicubic")
    assert (changed.mean, changed.std, changed.interpolation) == ((0.1, 0.2, 0.3), (1, 1, 0.5), "bicubic")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"std": [0.1, 0.0, 0.1]}, "std must be fractions"),
        ({"std": [0.1, -1, 0.1]}, "std must be fractions"),
        ({"mean": [0.1, 0.2]}, "mean has 2 values, but std has 3"),
        ({"mean": [0.1, 0.2, float("nan")]}, "mean must be a number for each channel"),
        ({"resize": 200}, "resize 200 is smaller than crop 224"),
        ({"crop": 0, "resize": 2}, "from 1 to 4096 pixels"),
        ({"crop": 100_000_000, "resize": 100_000_000}, "from 1 to 4096 pixels"),
        ({"interpolation": "cubic"}, "did you mean 'bicubic'"),
    ],
)
def test_impossible_overrides_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        IMAGENET.replaced(**options)


@pytest.mark.gpu
def test_cuda_normalises_to_the_same_bits(cuda: torch.device) -> None:
    host = _flat(16)
    device = Classifier("flat", "zoo:flat", _Flat(), host.preprocessing, host.classes, "0", cuda)
    assert torch.equal(device.logits(_images(16)).cpu(), host.logits(_images(16)))
