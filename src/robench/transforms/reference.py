"""Run the published implementation, the `imagecorruptions` package 1.1.2, on a CPU as an oracle.

That version imports `pkg_resources`, which setuptools no longer has. It also uses names that NumPy, SciPy and
scikit-image have dropped. This module, its only importer, patches it in isolation. During the import, two stand-in
modules exist. In the package's own namespace, `np`, `sk` and `gaussian` have other values. Each call has its own random
generator.
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
from robench.transforms.corruptions.base import MINIMUM_SIZE
from robench.types import Images

__all__ = ["CONSTANTS", "check_reference", "keyed_state", "package", "reference_corrupt", "reference_version"]

_PACKAGE = "imagecorruptions"

CONSTANTS = ("imagecorruptions", "224")
"""Sets of constants of the package's functions. For "224", some of its functions differ from the published code."""


def check_reference(suite: str, constants: str) -> None:
    """Raise OptionError if the package is not installed, or lacks the constants of a suite."""
    _module()
    if constants not in CONSTANTS:
        raise OptionError(
            f"the {_PACKAGE} package has only ImageNet's constants for 224 px, not those of {suite}",
            f"combine --backend reference with --suite {_PACKAGE} or --suite imagenet-c",
        )


def reference_version() -> str:
    """Return name and version of the package, for a protocol."""
    return f"{_PACKAGE} {version(_PACKAGE)}"


def reference_corrupt(images: Images, corruption: str, severity: int, *, index: Sequence[int], seed: int = 0) -> Images:
    """Corrupt images with the package's own function, one image at a time.

    The package has one set of constants, ImageNet's for 224 pixels. Each image has a generator keyed by (seed, index,
    corruption, severity), so a result does not depend on the batch.

    Args:
        images: (b, 3, h, w) uint8 on a CPU, sides of at least 32 pixels.
        corruption: Name of a function of the package.
        severity: 1 to 5.
        index: Position of each image in its dataset.
        seed: Seed of the run.

    Returns:
        (b, 3, h, w) uint8.

    Raises:
        OptionError: If the package is not installed, or does not accept an argument.
    """
    if corruption not in _module().corruption_dict:
        raise OptionError(*unknown_name(f"corruption of the {_PACKAGE} package", corruption, _module().corruption_dict))
    if severity not in range(1, 6):
        raise OptionError(f"severity {severity} does not exist", "use 1 to 5")
    if images.dtype != torch.uint8 or images.device.type != "cpu" or min(images.shape[2:]) < MINIMUM_SIZE:
        kind = f"{tuple(images.shape)} {images.dtype} on {images.device.type}"
        raise OptionError(f"the {_PACKAGE} package takes (b, 3, h, w) uint8 on a CPU, sides of 32 or more, not {kind}")
    result = torch.empty_like(images)
    for target, position, image in zip(result, index, images.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
        with package(keyed_state(seed, int(position), corruption, severity)) as published, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            corrupted = np.array(published.corrupt(image, severity, corruption))
        target.copy_(torch.from_numpy(corrupted).permute(2, 0, 1))
    return result


@lru_cache(maxsize=1)
def _module() -> Any:
    """Import the package with patches that no other importer sees."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise OptionError("the reference implementation is not installed", "pip install 'robench[reference]'")
    folder = Path(spec.origin).parent
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
    """Accept scikit-image's former argument `multichannel`, which is `channel_axis` now."""

    def gaussian(image: Any, sigma: float, multichannel: bool = False, **options: Any) -> Any:
        return current(image, sigma=sigma, channel_axis=-1 if multichannel else None, **options)

    return gaussian


def keyed_state(*key: object) -> np.random.RandomState:
    """Return a generator of the package's kind, seeded by a hash of `key`."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=4).digest()
    return np.random.RandomState(int.from_bytes(digest, "little"))


@contextmanager
def package(state: np.random.RandomState) -> Iterator[Any]:
    """Yield the package, whose functions draw from `state` inside the context."""
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
    """The names of a module with replacements."""

    def __init__(self, module: ModuleType, **replaced: object) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
