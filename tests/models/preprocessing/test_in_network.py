"""Networks that normalise their own input, in every format. Oracle: the module itself on the pixels, or a plain affine function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import OptionError
from robench.models import Classifier
from robench.models.formats.base import LoadRequest
from robench.models.loader import load_model
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SIZE_NOTE
from robench.models.preprocessing.in_network import find_normalisation, first_values
from tests.builders import each
from tests.models.damage import small

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
]
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
PIXELS = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
Steps = Callable[[Tensor], Tensor]


def standardise(x: Tensor) -> Tensor:
    return (x - MEAN) / STD


def standardise_pixels(x: Tensor) -> Tensor:
    return (x.float() / 255 - MEAN) / STD


def standardise_last(x: Tensor) -> Tensor:
    return standardise_pixels(x.permute(0, 3, 1, 2))


class Whole(nn.Module):
    """Steps before a small network."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps, self.net = steps, small()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(self.steps(x))
        return result


def traced(module: nn.Module, example: Tensor, folder: Path) -> Path:
    torch.jit.trace(module, example).save(str(folder / "net.pt"))
    return folder / "net.pt"


def exported(module: nn.Module, example: Tensor, folder: Path) -> Path:
    shapes = ({0: torch.export.Dim("b", min=1, max=64)},)
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), folder / "net.pt2")
    return folder / "net.pt2"


def onnx(module: nn.Module, example: Tensor, folder: Path) -> Path:
    pytest.importorskip("onnxruntime")
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "b"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), str(folder / "net.onnx"), dynamo=False, **options)
    return folder / "net.onnx"


def pickled(module: nn.Module, example: Tensor, folder: Path) -> Path:
    torch.save(module, folder / "net.pth")
    return folder / "net.pth"


def loaded(path: Path, **options: Any) -> Classifier:
    return load_model(path, LoadRequest(path, None, torch.device("cpu"), trust_pickle=True), {"crop": 16, **options})


def difference(classifier: Classifier, module: nn.Module, x: Tensor) -> float:
    with torch.inference_mode():
        return float((classifier.logits(PIXELS) - module(x)).abs().max())


@each(
    "make, steps, scale",
    [
        (traced, standardise, 1),
        (exported, standardise_pixels, 255),
        (onnx, standardise, 1),
        (pickled, standardise_pixels, 255),
    ],
)
def test_images_are_passed_as_the_network_takes_them(make: Any, steps: Steps, scale: int, tmp_path: Path) -> None:
    module = Whole(steps).eval()
    classifier = loaded(make(module, torch.rand(2, 3, 16, 16), tmp_path))
    assert difference(classifier, module, PIXELS * (scale / 255)) < 1e-3
    assert any(f"of images in 0 to {scale}, so they need no other" in note for note in classifier.notes)
    assert not any("ImageNet" in note for note in classifier.notes)


@each("make", [exported, onnx])
def test_uint8_inputs_get_the_pixels(make: Any, tmp_path: Path) -> None:
    module = Whole(standardise_pixels).eval()
    path = make(module, PIXELS[:2], tmp_path)
    classifier = loaded(path)
    assert difference(classifier, module, PIXELS) < 1e-3
    assert any("takes uint8 images" in note for note in classifier.notes)
    with pytest.raises(OptionError, match="no mean and std can apply; omit --mean"):
        loaded(path, mean=[0.5, 0.5, 0.5])


def test_uint8_inputs_may_be_channels_last(tmp_path: Path) -> None:
    module = Whole(standardise_last).eval()
    classifier = loaded(onnx(module, PIXELS[:2].permute(0, 2, 3, 1).contiguous(), tmp_path))
    assert difference(classifier, module, PIXELS.permute(0, 2, 3, 1)) < 1e-3


def test_an_option_wins_and_is_named(tmp_path: Path) -> None:
    classifier = loaded(traced(Whole(standardise).eval(), torch.rand(2, 3, 16, 16), tmp_path), mean=[0.5, 0.5, 0.5])
    assert classifier.preprocessing.mean == (0.5, 0.5, 0.5)
    assert any("itself computes (x - mean) / std" in note for note in classifier.notes)
    assert any("--mean 0.5,0.5,0.5 differs from the 0,0,0" in warning for warning in classifier.warnings)
    path = traced(Whole(standardise).eval(), torch.rand(2, 3, 16, 16), tmp_path)
    assert SIZE_NOTE in load_model(path, LoadRequest(path, None, torch.device("cpu")), {}).notes


@each("stated, used", [(IMAGENET_MEAN, (0.0, 0.0, 0.0)), ((0.5, 0.4, 0.3), (0.5, 0.4, 0.3))])
def test_stated_values_count_unless_the_network_repeats_them(stated: Any, used: Any, tmp_path: Path) -> None:
    module: Any = Whole(standardise).eval()
    module.preprocessing = {"crop": 16, "mean": stated, "std": IMAGENET_STD}
    classifier = loaded(pickled(module, PIXELS, tmp_path))
    assert classifier.preprocessing.mean == used
    assert any("if this is once too often, give --mean 0,0,0 --std 1,1,1" in note for note in classifier.notes) == any(
        used
    )


def found(*steps: nn.Module | Steps) -> tuple[list[float], list[float], int | None] | None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for step in steps:
                x = step(x)
            result: Tensor = small()(x)
            return result

    with torch.inference_mode():
        own = find_normalisation(partial(first_values, Steps()), torch.zeros(2, 3, 16, 16))
    return None if own is None else ([round(v, 2) for v in own.mean], [round(v, 2) for v in own.std], own.full_scale)


def norm(mean: list[float], std: float, weight: float = 0.3) -> nn.Module:
    layer = nn.BatchNorm2d(3).eval()
    layer.running_mean, layer.running_var = torch.tensor(mean), torch.full((3,), std**2)
    nn.init.constant_(layer.weight, weight)
    return layer


def test_any_affine_function_of_images_is_found() -> None:
    imagenet = ([0.48, 0.46, 0.41], [0.23, 0.22, 0.22], 1)
    assert found(lambda x: x * (1 / STD) - MEAN / STD)[1:] == imagenet[1:]  # type: ignore[index]
    assert found(lambda x: torch.nn.functional.interpolate(x, (20, 20), mode="bilinear"), lambda x: x * 2 - 1) == (
        [0.5] * 3,
        [0.5] * 3,
        1,
    )
    assert found(lambda x: x / 127.5 - 1) == ([127.5] * 3, [127.5] * 3, 255)
    assert found(lambda x: x / 255) == ([0.0] * 3, [255.0] * 3, 255)
    assert found(lambda x: x[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 124.0]).view(3, 1, 1)) == (
        [124.0, 117.0, 104.0],
        [1.0] * 3,
        255,
    )
    assert found(norm([0.5, 0.4, 0.3], 0.25)) == ([0.5, 0.4, 0.3], [0.25] * 3, 1)


def test_other_functions_are_no_normalisation() -> None:
    assert found() is None
    assert found(lambda x: x.clamp(0, 1) ** 2.2) is None
    assert found(lambda x: (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1e-5)) is None
    assert found(lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1)) is None
    assert found(norm([0.1, -0.1, 0.0], 1.1)) is None
    # torchvision's inception converts ImageNet's normalisation to its own.
    converted = found(lambda x: x * (STD / 0.5) + (MEAN - 0.5) / 0.5)
    assert converted is not None
    assert converted[2] is None
