"""Robustness benchmarks for image classifiers.

    classifier = robench.load_classifier("resnet50.pth", arch="torchvision:resnet50")
    run = robench.evaluate(classifier, "imagenet/val", suites=["imagenet-c"], out="runs/resnet50")
    noisy = robench.corrupt(images, "gaussian_noise", severity=3, suite="imagenet-c")
    verdict = robench.gate("runs/resnet50", "baseline.csv")
    robench.report(["runs/resnet50"], "report.html")

Python imports a name when it is first used. `import robench`, `compare`, `gate` and `leaderboard` therefore need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robench.analysis.comparison.compare import compare
    from robench.analysis.gate.gate import gate
    from robench.analysis.leaderboard.leaderboard import leaderboard
    from robench.analysis.scoring import score
    from robench.datasets import ImageDataset, ImageSet, open_dataset
    from robench.display.run import Run
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
    "compare": "robench.analysis.comparison.compare",
    "corrupt": "robench.transforms.training",
    "evaluate": "robench.evaluation.run",
    "gate": "robench.analysis.gate.gate",
    "leaderboard": "robench.analysis.leaderboard.leaderboard",
    "load_classifier": "robench.models",
    "open_dataset": "robench.datasets",
    "report": "robench.evaluation.report",
    "score": "robench.analysis.scoring",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("robench")
    if name not in _HOME:
        raise AttributeError(f"module 'robench' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
