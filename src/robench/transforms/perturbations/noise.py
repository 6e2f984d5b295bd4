"""Independent noise in each frame; frame 0 is the image itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Perturbation, perturbation
from robench.transforms.perturbations.geometry import SOURCE
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images, Shape

__all__ = ["gaussian_noise", "shot_noise", "speckle_noise"]


def _noise(name: str, summary: str, constant: str, sets: Mapping[str, tuple[float, float, float]]) -> Perturbation:
    """Return 31 frames of a corruption at each of three difficulties, with independent draws for each frame."""

    def kernel(
        batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int], **params: float
    ) -> Iterator[Images]:
        images = crop(batch, input_size)
        for frame in frames:
            yield CORRUPTIONS[name](images, draws.scoped(str(frame)), params) if frame else images

    kernel.__name__, kernel.__doc__ = name, summary
    levels = {
        constants: tuple({"frames": tuple(range(31)), constant: value} for value in values)
        for constants, values in sets.items()
    }
    return perturbation(levels=levels, axis="frame", source=SOURCE, independent=True)(kernel)


gaussian_noise = _noise(
    "gaussian_noise",
    "Add Gaussian noise, independent for each frame; `sigma` is a fraction of full scale.",
    "sigma",
    {
        "224": (0.03, 0.05, 0.08),
        "299": (0.035, 0.055, 0.085),
        "64": (0.025, 0.05, 0.075),
        "32": (0.02, 0.04, 0.06),
    },
)
shot_noise = _noise(
    "shot_noise",
    "Replace every value by a Poisson count, independent for each frame; `photons` is the expected count at full scale.",
    "photons",
    {"224": (300, 120, 60), "299": (250, 100, 50), "64": (500, 250, 125), "32": (700, 400, 200)},
)
speckle_noise = _noise(
    "speckle_noise",
    "Multiply by one plus Gaussian noise of standard deviation `sigma`, independent for each frame.",
    "sigma",
    {"224": (0.05, 0.10, 0.15), "299": (0.06, 0.11, 0.16), "64": (0.05, 0.10, 0.15), "32": (0.05, 0.07, 0.10)},
)
