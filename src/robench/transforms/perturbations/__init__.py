"""All perturbations, in one explicit table.

To add a perturbation, write its kernel in the file of its kind and add it here, with `perturbation`.
"""

from __future__ import annotations

from dataclasses import replace

from robench.errors import OptionError, unknown_name
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Perturbation, perturbation
from robench.transforms.perturbations.blur import gaussian_blur, motion_blur, stored_motion_blur
from robench.transforms.perturbations.degradations import DEGRADATIONS
from robench.transforms.perturbations.geometry import rotate, scale, shear, tilt, translate, zoom_blur
from robench.transforms.perturbations.noise import gaussian_noise, shot_noise, speckle_noise
from robench.transforms.perturbations.occlusion import grid, noise_rectangle, rectangle
from robench.transforms.perturbations.resolution import best_of_k, information, network, untreated
from robench.transforms.perturbations.shift import circular, crop, diagonal, offset_map
from robench.transforms.perturbations.weather import brightness, snow, spatter
from robench.transforms.warps import PaddedBatch

__all__ = ["PERTURBATIONS", "Draws", "PaddedBatch", "Perturbation", "find_perturbation", "perturbation"]

PERTURBATIONS: dict[str, Perturbation] = {
    entry.name: entry
    for entry in (
        gaussian_noise,
        shot_noise,
        motion_blur,
        zoom_blur,
        snow,
        brightness,
        translate,
        rotate,
        tilt,
        scale,
        speckle_noise,
        gaussian_blur,
        spatter,
        shear,
        crop,
        circular,
        diagonal,
        replace(offset_map, name="map"),
        *DEGRADATIONS,
        rectangle,
        noise_rectangle,
        grid,
        information,
        network,
        untreated,
        best_of_k,
    )
}

_STORED = {"motion_blur": replace(stored_motion_blur, name="motion_blur")}


def find_perturbation(name: str, constants: str) -> Perturbation:
    """Return a perturbation of a set of constants.

    Raises:
        OptionError: If the name is unknown; the message suggests a similar one.
    """
    if name not in PERTURBATIONS:
        raise OptionError(*unknown_name("perturbation", name, PERTURBATIONS))
    return _STORED[name] if constants == "64" and name in _STORED else PERTURBATIONS[name]
