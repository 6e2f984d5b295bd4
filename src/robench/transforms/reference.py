"""The published implementation on a CPU, as an oracle: the only importer of the `imagecorruptions` package (1.1.2).

That version imports `pkg_resources`, which setuptools no longer has, and calls functions under names that NumPy, SciPy and
scikit-image have dropped. What it misses is given to it alone: two stand-in modules while it is imported, and other values
for the names `np`, `sk` and `gaussian` in its own namespace. Its random numbers come from a generator of the call's own.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from robench.errors import OptionError, unknown_name
from robench.transforms.corruptions.base import MINIMUM_SIDE
from robench.transforms.corruptions.imagecorruptions import CONSTANTS as PACKAGE_CONSTANTS
from robench.types import Images

__all__ = ["CONSTANTS", "check_reference", "keyed_state", "package", "reference_corrupt", "reference_version"]

_PACKAGE = "imagecorruptions"

CONSTANTS = (PACKAGE_CONSTANTS, "224")
"""Sets of constants that the package's functions use; with the second, some of them compute it in their own way."""


def check_reference(suite: str, constants: str) -> None:
    """Raise OptionError where the package is not installed, or does not have the constants of a suite."""
    _module()
    if constants not in CONSTANTS:
        raise OptionError(
            f"the {_PACKAGE} package has ImageNet's constants at 224 pixels alone, not those of {suite}: "
            f"give --suite {_PACKAGE} or --suite imagenet-c with --backend reference"
        )


def reference_version() -> str:
    """Name and version of the package, for a protocol."""
    return f"{_PACKAGE} {version(_PACKAGE)}"


def reference_corrupt(images: Images, corruption: str, severity: int, *, index: Sequence[int], seed: int = 0) -> Images:
    """Corrupt (b, 3, h, w) uint8 on a CPU with the package's own function, one image at a time.

    The package knows one set of constants, ImageNet's at 224. Each image has a generator keyed by (seed, index, corruption,
    severity), so a result does not depend on the batch. Raises OptionError where the package is not installed, and for
    what it does not take.
    """
    if corruption not in _module().corruption_dict:
        raise OptionError(unknown_name(f"corruption of the {_PACKAGE} package", corruption, _module().corruption_dict))
    if severity not in range(1, 6):
        raise OptionError(f"severity {severity} does not exist: use 1 to 5")
    if images.dtype != torch.uint8 or images.device.type != "cpu" or min(images.shape[2:]) < MINIMUM_SIDE:
        given = f"{tuple(images.shape)} {images.dtype} on {images.device.type}"
        raise OptionError(f"the {_PACKAGE} package takes (b, 3, h, w) uint8 on a CPU, sides of 32 or more, not {given}")
    result = torch.empty_like(images)
    for target, position, image in zip(result, index, images.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
        with package(keyed_state(seed, int(position), corruption, severity)) as published, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            corrupted = np.array(published.corrupt(image, severity, corruption))
        target.copy_(torch.from_numpy(corrupted).permute(2, 0, 1))
    return result


@lru_cache(maxsize=1)
def _module() -> Any:
    """Import the package with what it misses; nothing of that is seen by other importers."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise OptionError("the reference implementation is not installed: pip install 'robench[reference]'")
    folder = Path(found.origin).parent
    resources = ModuleType("pkg_resources")
    resources.resource_filename = lambda _, path: str(folder / path)  # type: ignore[attr-defined]
    interpolation = ModuleType("scipy.ndimage.interpolation")
    from scipy import ndimage

    interpolation.map_coordinates = ndimage.map_coordinates  # type: ignore[attr-defined]
    with _modules({resources.__name__: resources, interpolation.__name__: interpolation}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import imagecorruptions
        import imagecorruptions.corruptions as functions
    functions.gaussian = _gaussian(functions.gaussian)
    return imagecorruptions


@contextmanager
def _modules(stand_ins: dict[str, ModuleType]) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _gaussian(current: Callable[..., Any]) -> Callable[..., Any]:
    """scikit-image's filter under its former argument: `multichannel` is `channel_axis` now."""

    def gaussian(image: Any, sigma: float, multichannel: bool = False, **options: Any) -> Any:
        return current(image, sigma=sigma, channel_axis=-1 if multichannel else None, **options)

    return gaussian


def keyed_state(*key: object) -> np.random.RandomState:
    """Return a generator of the kind that the package draws from, seeded by a hash of `key`."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=4).digest()
    return np.random.RandomState(int.from_bytes(digest, "little"))


@contextmanager
def package(state: np.random.RandomState) -> Iterator[Any]:
    """Yield the package; within, its functions draw from `state`, not from the global generators."""
    module = _module()
    functions = sys.modules[f"{module.__name__}.corruptions"]
    numpy, skimage = functions.np, functions.sk
    util = SimpleNamespace(
        random_noise=lambda image, mode, amount: skimage.util.random_noise(
            image, mode=mode, amount=amount, rng=np.random.default_rng(state.randint(2**31))
        )
    )
    functions.np = _Names(numpy, random=state, float_=np.float64)  # type: ignore[attr-defined]
    functions.sk = _Names(skimage, util=util)  # type: ignore[attr-defined]
    try:
        yield module
    finally:
        functions.np, functions.sk = numpy, skimage  # type: ignore[attr-defined]


class _Names:
    """A module's names, some of them replaced."""

    def __init__(self, module: ModuleType, **replaced: object) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
