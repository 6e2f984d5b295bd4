"""Corruptions of images in any form: a function, and torchvision transforms for training and data loaders.

An image is a PIL image in RGB, or a uint8 or float tensor, (3, h, w) or (b, 3, h, w). The values are 0..255 or 0..1.
The output has the type, dtype and device of the input.

The constants follow the shorter side of the image. Below 48 px they are those of CIFAR-10-C, and below 128 px those of
Tiny ImageNet-C. Below 262 px they are those of ImageNet-C, and above those of ImageNet-C at 299 px. Corruptions of C-bar have
those of CIFAR-10-C-bar below 128 px, and those of ImageNet-C-bar above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from robench.arguments import ArgumentError, check_type, one_or_more
from robench.errors import OptionError, unknown_name
from robench.plugins import is_own
from robench.suites import Suite, find_suite
from robench.suites.imagenet_c import IMAGENET_C
from robench.transforms.corruptions import OWN, Corruption, constants_at, find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip
from robench.transforms.draws import KeyedDraws
from robench.transforms.own import own_corruption, provide_function
from robench.types import Images, Ints

__all__ = ["Corrupt", "RandomCorruption", "corrupt"]

AnyImage: TypeAlias = "Tensor | PIL.Image.Image"
Named: TypeAlias = "str | Callable[..., Any] | Corruption"

_EXPECTED = "a PIL image, or a tensor (3, h, w) or (b, 3, h, w) of dtype uint8 or float"
_LARGEST_SEED = 2**63 - 1


def corrupt(
    images: AnyImage,
    corruption: Named,
    severity: float,
    suite: str | None = None,
    *,
    seed: int | None = None,
    index: Tensor | Ints | Sequence[int] | int | None = None,
    release: bool = False,
) -> Any:
    """Corrupt an image or a batch of images.

    Without `seed` and `index`, each call and each image has fresh randomness from torch's generator. With both, the pixels
    are those of an evaluation with this seed, in which the images have these positions in the dataset.

    Args:
        images: A PIL image in RGB, or a tensor (3, h, w) or (b, 3, h, w): uint8 in 0..255, or float in 0..1. Sides are at
            least 32 pixels.
        corruption: Name of a corruption (`robench list corruptions`), `file.py:function`, or a function.
        severity: 1 to 5. Values between them, such as 2.5, are valid if the corruption interpolates its constants.
        suite: Name of the suite with the constants; None for those that fit the shorter side of the image.
        seed: Seed of the draws.
        index: (b,) position of each image in its dataset; one number for a single image.
        release: Whether to add the JPEG pass of the suite's released files.

    Returns:
        An image of the same type, shape, dtype and device.

    Raises:
        ArgumentError: An argument has a wrong type; also a TypeError.
        OptionError: A name is unknown, the images have another shape, or only one of `seed` and `index` is given.
    """
    severity = _severity(severity)
    chosen = None if suite is None else _suite(suite)
    found = _Named(corruption, None if chosen is None else chosen.names)
    pixels, restore = _pixels(images, found.name)
    if (seed is None) != (index is None):
        raise OptionError(
            "seed and index belong together: equal seeds without positions would give all batches the same draws",
            "give both for the pixels of an evaluation, or neither for fresh draws",
        )
    key = _fresh_seed() if seed is None else int(check_type("seed", seed, int, "a whole number"))
    positions = torch.arange(len(pixels)) if index is None else _positions(index)
    if len(positions) != len(pixels):
        raise OptionError(f"index has {len(positions)} positions for {len(pixels)} images", "give one for each image")
    constants = None if chosen is None else chosen.constants
    corrupted = found.apply(pixels, severity, constants, key, positions)
    if release and (quality := (chosen or IMAGENET_C).release_jpeg) is not None:
        corrupted = jpeg_round_trip(corrupted, quality)
    return restore(corrupted)


class _CorruptionTransform(v2.Transform):  # type: ignore[misc]
    """A torchvision transform of images; masks, boxes and labels pass through."""

    _transformed_types = (functional.is_pure_tensor, tv_tensors.Image, PIL.Image.Image)

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        if seed is not None and not 0 <= check_type("seed", seed, int, "a whole number or None") <= _LARGEST_SEED:
            raise OptionError(f"seed must be from 0 to 2^63 - 1, not {seed}")
        self.seed = seed
        self._calls = 0

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Raise ArgumentError if no input is an image that the transform changes."""
        if any(isinstance(one, tv_tensors.Video) for one in flat_inputs) or not any(
            self._needs_transform_list(flat_inputs)
        ):
            kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in flat_inputs)) or "nothing"
            hint = "give v2.ToImage() before it" if any(type(one).__name__ == "ndarray" for one in flat_inputs) else ""
            raise ArgumentError(f"{type(self).__name__} takes {_EXPECTED}, not {kinds}", hint)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the generator of this call, which all images of a sample share."""
        del flat_inputs
        if self.seed is None:
            return {"seed": _fresh_seed()}
        worker = get_worker_info()
        self._calls += 1
        return {"seed": hash((self.seed, -1 if worker is None else worker.id, self._calls)) & _LARGEST_SEED}


class Corrupt(_CorruptionTransform):
    """Corrupt images with one corruption at one severity.

    Each call and each image of a batch has its own randomness.

    Args:
        corruption: Name of a corruption (`robench list corruptions`), `file.py:function`, or a function.
        severity: 1 to 5.
        seed: Seed of this transform's own draws: in each process, the k-th call always draws the same. None for torch's
            generator, which `torch.manual_seed` seeds and which each worker of a DataLoader has for itself.

    Raises:
        ArgumentError: An argument has a wrong type.
        OptionError: The corruption or the severity does not exist.
    """

    def __init__(self, corruption: Named, severity: float, *, seed: int | None = None) -> None:
        super().__init__(seed)
        self._corruption = _Named(corruption)
        self.corruption, self.severity = self._corruption.name, _severity(severity)
        self._corruption.check(self.severity)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Corrupt one image or batch."""
        pixels, restore = _pixels(inpt, self.corruption)
        index = torch.arange(len(pixels))
        return restore(self._corruption.apply(pixels, self.severity, None, params["seed"], index))


class RandomCorruption(_CorruptionTransform):
    """Corrupt each image with a random corruption at a random severity.

    Args:
        corruptions: A name, a function, or a list of them, as in `Corrupt`; None for the fifteen of ImageNet-C.
        severity: Least and greatest severity, both possible; or one severity.
        p: Probability that an image is corrupted.
        seed: As in `Corrupt`.

    Raises:
        ArgumentError: An argument has a wrong type.
        OptionError: A corruption or a severity does not exist, or `p` is no probability.
    """

    def __init__(
        self,
        corruptions: Named | Sequence[Named] | None = None,
        severity: int | tuple[int, int] = (1, 3),
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        names = IMAGENET_C.corruptions if corruptions is None else corruptions
        listed: list[Any] = [*names] if isinstance(names, list | tuple) else [names]
        if not listed:
            raise OptionError("corruptions is an empty list", "give None for the fifteen of ImageNet-C")
        self._corruptions = [_Named(name) for name in listed]
        ends = one_or_more("severity", severity, int, "one whole number, or a pair of them")
        if len(ends) > 2 or ends[0] > ends[-1]:
            raise OptionError(f"severity must be one number, or least and greatest, not {severity}")
        self.corruptions = tuple(one.name for one in self._corruptions)
        self.severity = ends[0], ends[-1]
        for one in self._corruptions:
            for end in self.severity:
                one.check(end)
        self.p = float(check_type("p", p, Real, "a probability"))
        if not 0 <= self.p <= 1:
            raise OptionError(f"p must be from 0 to 1, not {p}")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Corrupt one image or each image of a batch."""
        pixels, restore = _pixels(inpt, type(self).__name__)
        index = torch.arange(len(pixels))
        draws = KeyedDraws(params["seed"], index, "RandomCorruption")
        is_chosen = draws.uniform("p", (1,))[:, 0] < self.p
        which = draws.integers("corruption", 0, len(self._corruptions), (1,))[:, 0]
        level = draws.integers("severity", self.severity[0], self.severity[1] + 1, (1,))[:, 0]
        corrupted = pixels.clone()
        cells = {(int(a), int(b)) for a, b in zip(which[is_chosen], level[is_chosen], strict=True)}
        for number, severity in sorted(cells):
            rows = torch.nonzero(is_chosen & (which == number) & (level == severity))[:, 0]
            part = self._corruptions[number].apply(pixels[rows.to(pixels.device)], severity, None, params["seed"], rows)
            corrupted[rows.to(pixels.device)] = part
        return restore(corrupted)


class _Named:
    """A corruption by name or as a function, for any set of constants. A worker builds it again from the name or function."""

    def __init__(self, corruption: Named, known: Sequence[str] | None = None) -> None:
        self._given = corruption
        if isinstance(corruption, str) and not is_own(corruption):
            if known is not None and corruption not in known:
                raise OptionError(*unknown_name("corruption of the suite", corruption, known))
            self.name, self._own = find_corruption(corruption, "").name, None
            return
        text = corruption if isinstance(corruption, str) else provide_function(corruption)
        self._own = own_corruption(text)
        self.name = self._own.name

    def __reduce__(self) -> tuple[type[_Named], tuple[Named]]:
        return _Named, (self._given,)

    def check(self, severity: float) -> None:
        """Raise OptionError if the corruption has no such severity."""
        found, constants = self._found(constants_at(self.name, 32))
        found.params(constants, severity)

    def apply(self, images: Images, severity: float, constants: str | None, seed: int, index: Tensor) -> Images:
        """Corrupt (b, 3, h, w) uint8.

        Args:
            images: The images.
            severity: The severity.
            constants: Name of the set of constants; None for that of the shorter side.
            seed: Seed of the draws.
            index: Key of each image among the draws of the seed.
        """
        found, constants = self._found(constants or constants_at(self.name, min(images.shape[2:])))
        draws = KeyedDraws(seed, index.to(images.device, torch.int64), self.name)
        return found(images, draws, found.params(constants, severity))

    def _found(self, constants: str) -> tuple[Corruption, str]:
        return (find_corruption(self.name, constants), constants) if self._own is None else (self._own, OWN)


def _fresh_seed() -> int:
    return int(torch.randint(0, _LARGEST_SEED, ()))


def _severity(severity: object) -> float:
    kinds: Any = (int, float, Real)
    number: Any = check_type("severity", severity, kinds, "a number, 1 to 5")
    return int(number) if number == int(number) else float(number)


def _positions(index: Tensor | Ints | Sequence[int] | int) -> Tensor:
    # A copy, because torch warns about read-only arrays.
    values = index if isinstance(index, Tensor) else torch.from_numpy(np.array(index))
    if values.dtype.is_floating_point or values.dtype == torch.bool:
        raise ArgumentError(f"index must be whole numbers, not {values.dtype}")
    return values.to(torch.int64).reshape(-1)


def _suite(name: str) -> Suite:
    chosen = find_suite(check_type("suite", name, str, "the name of a suite"))
    if chosen.family.has_frames or not chosen.names:
        raise OptionError(f"the suite {name} has no corruptions", "choose a suite such as imagenet-c")
    return chosen


def _pixels(image: Any, name: str) -> tuple[Images, Callable[[Images], Any]]:
    """Return an image as (b, 3, h, w) uint8, and the function that turns such a batch back into the image's type."""
    if isinstance(image, PIL.Image.Image):
        if image.mode != "RGB":
            raise OptionError(f"{name} takes RGB images, not mode {image.mode}", 'convert it, image.convert("RGB")')
        return functional.pil_to_tensor(image)[None], lambda batch: functional.to_pil_image(batch[0])
    if not isinstance(image, Tensor):
        raise ArgumentError(f"{name} takes {_EXPECTED}, not a {type(image).__name__}")
    shape = tuple(image.shape)
    if len(shape) not in (3, 4) or shape[-3] != 3:
        grey = " of a grey image" if len(shape) in (3, 4) and shape[-3] == 1 else ""
        hint = "v2.RGB() before it repeats the channel" if grey else ""
        raise OptionError(f"{name} takes tensors (3, h, w) or (b, 3, h, w), not {shape}{grey}", hint)
    tensor = image.as_subclass(Tensor)
    batch = tensor if len(shape) == 4 else tensor[None]
    if image.dtype == torch.uint8:
        return batch, lambda corrupted: _wrapped(corrupted.reshape(shape), image)
    if not image.is_floating_point():
        raise OptionError(f"{name} takes uint8 or float tensors, not {image.dtype}", "convert it to uint8")
    if batch.numel() and not (float(batch.amin()) >= 0 and float(batch.amax()) <= 1):
        raise OptionError(
            f"{name} takes float images in 0..1, and these reach from {float(batch.amin()):.3g} to {float(batch.amax()):.3g}",
            "corrupt before Normalize, or give uint8",
        )
    return (batch.float() * 255).round().to(torch.uint8), lambda corrupted: _wrapped(
        (corrupted.float() / 255).to(image.dtype).reshape(shape), image
    )


def _wrapped(tensor: Tensor, like: Tensor) -> Tensor:
    return tv_tensors.wrap(tensor, like=like) if isinstance(like, tv_tensors.Image) else tensor
