"""Corruptions and perturbations of batches of images, and corruptions as torchvision transforms.

`Corrupt` and `RandomCorruption` are torchvision transforms (v2) for training and data loaders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench.transforms.training import Corrupt, RandomCorruption

__all__ = ["Corrupt", "RandomCorruption"]


def __getattr__(name: str) -> Any:
    """Import the transforms when they are first used, because kernels do not need torchvision's."""
    if name not in __all__:
        raise AttributeError(f"module 'robench.transforms' has no attribute {name!r}")
    from robench.transforms import training

    return getattr(training, name)
