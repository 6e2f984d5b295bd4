"""What a package can add to robench: a corruption, a suite that uses it, a family of models."""

from torch import nn

from robench.corruption import corruption, severities
from robench.draws import Draws
from robench.geometry import Geometry
from robench.models import Family, Preprocessing
from robench.suites import Suite
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
