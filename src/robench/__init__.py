"""Robustness benchmarks for image classifiers.

Evaluate any module or model file, and read the result:

    run = robench.evaluate(net, "cifar10/test", suite="cifar-c", mean=mean, std=std, size=32)
    run.table("cifar-c")

Corrupt images in training:

    transform = v2.Compose([robench.transforms.RandomCorruption(severity=(1, 3)), ...])

Python imports a name when it is first used. `Run.open`, `compare`, `gate`, `score` and `leaderboard` therefore need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench import transforms
    from robench.datasets import ImageDataset, ImageSet, open_dataset
    from robench.display.run import Run
    from robench.display.tables import compare, gate, leaderboard, score
    from robench.errors import RobenchError
    from robench.evaluation.options import Options
    from robench.evaluation.report import report
    from robench.evaluation.run import evaluate
    from robench.models import Classifier, Preprocessing, load_classifier
    from robench.runs.directory import RunDirectory
    from robench.transforms.training import corrupt

__all__ = [
    "Classifier",
    "ImageDataset",
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
    "report",
    "score",
    "transforms",
]

_HOME = {
    "Classifier": "robench.models",
    "ImageDataset": "robench.datasets",
    "ImageSet": "robench.datasets",
    "Options": "robench.evaluation.options",
    "Preprocessing": "robench.models",
    "RobenchError": "robench.errors",
    "Run": "robench.display.run",
    "RunDirectory": "robench.runs.directory",
    "compare": "robench.display.tables",
    "corrupt": "robench.transforms.training",
    "evaluate": "robench.evaluation.run",
    "gate": "robench.display.tables",
    "leaderboard": "robench.display.tables",
    "load_classifier": "robench.models",
    "open_dataset": "robench.datasets",
    "report": "robench.evaluation.report",
    "score": "robench.display.tables",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("robench")
    if name == "transforms":
        return import_module("robench.transforms")
    if name not in _HOME:
        raise AttributeError(f"module 'robench' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
