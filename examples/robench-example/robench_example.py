"""What a package can add to robench: a corruption, a suite that uses it, a family of models, a treatment."""

from collections.abc import Mapping

import torch
from torch import nn

from robench.models import Classifier, Family, Preprocessing
from robench.suites import Suite
from robench.suites.geometry import Geometry
from robench.transforms.corruptions.base import corruption, severities
from robench.transforms.draws import Draws
from robench.treatments import Method, Parameter, Value
from robench.types import FloatImages

_SOURCE = "examples/robench-example"


@corruption(levels={"32": severities(share=(0.2, 0.4, 0.6, 0.8, 0.9))}, source=_SOURCE, random=True)
def example_fade(images: FloatImages, draws: Draws, *, share: float) -> FloatImages:
    """Fade each image to a grey of its own."""
    return images + share * (draws.uniform("grey", (1, 1, 1)) - images)


FADES = Suite(
    name="example-fades",
    summary="fades to grey and fog at 32 px",
    source=_SOURCE,
    geometry=Geometry(resize=(32, 32)),
    constants="32",
    corruptions=("example_fade", "fog"),
)


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return a linear classifier; a real family raises CheckpointError for names that it lacks."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes or 10))
    return module, Preprocessing(
        resize=32, crop=32, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )


EXAMPLE = Family(build=build, pretrained=build, names=lambda: ["linear"])


def bits(text: str) -> int:
    """Read a number of bits, 2 to 16; ValueError says to robench that it is none."""
    if int(text) not in range(2, 17):
        raise ValueError(text)
    return int(text)


def weighted(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The layers whose weights are rounded."""
    return [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.Linear)]


def rounded(classifier: Classifier, values: Mapping[str, Value], calibration: object) -> tuple[Classifier, None]:
    """Round every weight to a multiple of its layer's step, as fixed-point arithmetic would; the module is a copy."""
    for layer in weighted(classifier.module):
        step = layer.weight.abs().max() / (2 ** (int(values["bits"]) - 1) - 1)
        with torch.no_grad():
            layer.weight.copy_((layer.weight / step).round() * step)
    return classifier, None


ROUNDED = Method(
    name="example-rounded",
    summary="the weights of convolutions and linear layers rounded to so many bits",
    data="none",
    per_image="yes",
    source=_SOURCE,
    stage="network",
    layers=lambda module, values: len(weighted(module)),
    start=rounded,
    parameters=(Parameter("bits", bits, "a number from 2 to 16", (8, 8)),),
)
