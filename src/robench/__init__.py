"""Robustness benchmarks for image classifiers.

    classifier = robench.load_classifier("resnet50.pth", arch="torchvision:resnet50")
    run = robench.evaluate(classifier, "imagenet/val", suites=["imagenet-c"], out="runs/resnet50")
    foggy = robench.corrupt(images, "gaussian_noise", severity=3, suite="imagenet-c")
    verdict = robench.gate.gate("runs/resnet50", "baseline.csv")

Names are imported when they are first used, so that `import robench` needs no torch; `compare`, `gate` and `leaderboard` are
modules with a function of that name each, and need none either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench import compare, gate, leaderboard
    from robench.conditions import corrupt
    from robench.data import ImageSet, open_dataset
    from robench.errors import RobenchError
    from robench.models import Classifier, Preprocessing, load_classifier
    from robench.plan import Options
    from robench.run import Run, evaluate
    from robench.rundir import RunDirectory
    from robench.scoring import score

__all__ = [
    "Classifier",
    "ImageSet",
    "Options",
    "Preprocessing",
    "RobenchError",
    "Run",
    "RunDirectory",
    "compare",
    "corrupt",
    "evaluate",
    "gate",
    "leaderboard",
    "load_classifier",
    "open_dataset",
    "score",
]

_HOME = {
    "Classifier": "robench.models",
    "ImageSet": "robench.data",
    "Options": "robench.plan",
    "Preprocessing": "robench.models",
    "RobenchError": "robench.errors",
    "Run": "robench.run",
    "RunDirectory": "robench.rundir",
    "corrupt": "robench.conditions",
    "evaluate": "robench.run",
    "load_classifier": "robench.models",
    "open_dataset": "robench.data",
    "score": "robench.scoring",
}

_MODULES = ("compare", "gate", "leaderboard")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("robench")
    if name in _MODULES:
        return import_module(f"robench.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'robench' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
