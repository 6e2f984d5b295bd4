"""A network in every format: the logits are the original module's; a broken file is one line, or another network, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.formats.makers import FORMATS, hugging_face_resnet
from tests.models.formats.outcomes import CUTS, broken, load_made, original
from tests.models.formats.table import made_in, network

ARCH, SIDE = "zoo:cifar_resnet8", 32
CHECKED = [name for name in FORMATS if not name.startswith(("safetensors", "sharded", "ONNX", "state dict, old"))]
"""Formats whose files are archives with checksums."""
HALF = 0.05
"""Rounding of weights to float16, in logits of about 1."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("ONNX,") else ()) for name in FORMATS]
)
def test_logits_are_the_modules(tmp_path: Path, name: str) -> None:
    module = network(ARCH, 10)
    made = made_in(tmp_path, name, module, ARCH, SIDE)
    classifier = load_made(made, SIDE)
    images = torch.randint(0, 256, (5, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = original(module, classifier).logits(images)
    assert classifier.classes == 10
    bar = HALF if name == "half precision" else 1e-4 if "ONNX" in name or "batch" in name else 1e-5
    assert (classifier.logits(images) - expected).abs().max() <= bar
    few = classifier.logits(images[:2])
    truncated = broken(made, SIDE, images[:2], few, "truncated")
    assert not truncated.crashes
    assert truncated.refused == len(CUTS)
    flipped = broken(made, SIDE, images[:2], few, "flipped")
    assert not flipped.crashes
    if name in CHECKED:
        assert not flipped.changed


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    module = network("torchvision:resnet18", 7)
    made = hugging_face_resnet(module, tmp_path / "hf", 7)
    classifier = load_made(made, 64)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert (classifier.logits(images) - original(module, classifier).logits(images)).abs().max() < 1e-5
    assert not broken(made, 64, images, classifier.logits(images), "truncated").crashes
