"""Extensions of robench: a corruption, a suite that uses it, a family of models, a treatment."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robench.models import Classifier, Family, Preprocessing
from robench.suites import Geometry, Suite
from robench.transforms.corruptions import Draws, corruption, severities
from robench.treatments import Method, Parameter, Value

_SOURCE = "examples/robench-example"


@corruption(levels={"32": severities(share=(0.2, 0.4, 0.6, 0.8, 0.9))}, source=_SOURCE, random=True)
def example_fade(images: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Fade each image to a random grey."""
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
    """Return a linear classifier; a real family raises CheckpointError for unknown names."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes or 10))
    return module, Preprocessing(
        resize=32, crop=32, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )


EXAMPLE = Family(build=build, pretrained=build, names=lambda: ["linear"])


def bits(text: str) -> int:
    """Read a number of bits, 2 to 16; ValueError reports an invalid text to robench."""
    if int(text) not in range(2, 17):
        raise ValueError(text)
    return int(text)


def weighted(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Return the layers whose weights are rounded."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def rounded(classifier: Classifier, values: Mapping[str, Value], calibration: object) -> tuple[Classifier, None]:
    """Round every weight to a multiple of its layer's step, as in fixed-point arithmetic; the module is a copy."""
    for layer in weighted(classifier.module):
        step = layer.weight.abs().max() / (2 ** (int(values["bits"]) - 1) - 1)
        with torch.no_grad():
            layer.weight.copy_((layer.weight / step).round() * step)
    return classifier, None


ROUNDED = Method(
    name="example-rounded",
    summary="weights of convolutions and linear layers rounded to a number of bits",
    data="none",
    per_image="yes",
    source=_SOURCE,
    stage="network",
    layers=lambda module, values: len(weighted(module)),
    start=rounded,
    parameters=(Parameter("bits", bits, "a number from 2 to 16", (8, 8)),),
)
