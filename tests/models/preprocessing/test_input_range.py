"""Range and order of the channels, against the arithmetic of Caffe's models on the pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import OptionError
from robench.models import load_classifier
from tests.builders import each

PIXELS = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
CAFFE = torch.tensor((103.939, 116.779, 123.68)).view(3, 1, 1)
"""Mean of blue, green and red."""
TORCH = [torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]


class _Input(nn.Module):
    """A network that returns its input as logits, after the operators of its own."""

    def __init__(self, scale: float = 0.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return ((x - 110) / self.scale if self.scale else x).flatten(1)


@each(
    ("options", "expected"),
    [
        ({"input_range": 255}, PIXELS.float()),
        ({"input_range": 255, "channels": "bgr"}, PIXELS.float().flip(1)),
        (
            {"input_range": 255, "channels": "bgr", "mean": [123.68, 116.779, 103.939]},
            PIXELS.float().flip(1) - CAFFE,
        ),
        (
            {"input_range": 255, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
            (PIXELS / 255 - TORCH[0]) / TORCH[1],
        ),
        ({"channels": "rgb"}, (PIXELS / 255 - TORCH[0]) / TORCH[1]),
        ({"input_range": 1, "channels": "bgr"}, ((PIXELS / 255 - TORCH[0]) / TORCH[1]).flip(1)),
    ],
)
def test_the_network_gets_what_it_expects(options: dict[str, Any], expected: Tensor) -> None:
    classifier = load_classifier(_Input(), device="cpu", size=4, **options)
    torch.testing.assert_close(classifier.logits(PIXELS), expected.flatten(1), rtol=1e-5, atol=1e-4)
    assert ("channels" in classifier.preprocessing.facts()) == (options.get("channels") == "bgr")


def test_a_range_of_one_passes_a_network_for_255_fractions() -> None:
    found = load_classifier(_Input(58.0), device="cpu", size=4)
    torch.testing.assert_close(found.logits(PIXELS), (PIXELS.float() - 110).flatten(1) / 58, rtol=1e-4, atol=1e-4)
    chosen = load_classifier(_Input(58.0), device="cpu", size=4, input_range=1)
    torch.testing.assert_close(chosen.logits(PIXELS), (PIXELS / 255 - 110).flatten(1) / 58, rtol=1e-4, atol=1e-4)


@each(
    ("options", "text"),
    [
        ({"input_range": 2}, "must be 1 or 255, not 2"),
        ({"channels": "bgrr"}, "did you mean 'bgr'?"),
        ({"mean": [123.7, 116.3, 103.5]}, "divide by 255, or add --input-range 255"),
        ({"input_range": 255, "mean": [0.485, 0.456, 0.406]}, "mean 0.485,0.456,0.406 look like fractions"),
        ({"input_range": 255, "std": [0.229, 0.224, 0.225]}, "multiply them by 255, or omit --input-range"),
        ({"input_range": 255, "mean": [300, 0, 0]}, "mean must be in 0 to 255"),
    ],
)
def test_impossible_values(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_classifier(_Input(), device="cpu", size=4, **options)
    assert text in str(caught.value)
