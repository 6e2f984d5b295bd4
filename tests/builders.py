"""Common beginnings of tests: a tiny model, a tiny dataset, a finished run of both, and the files of a run that must be equal."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import robench
from robench.evaluation.options import Options
from robench.models import Classifier, Preprocessing

__all__ = ["RUN_OPTIONS", "among_1000", "each", "finished_run", "run_files", "tiny_classifier", "tiny_dataset"]

RUN_OPTIONS = Options(
    corruption=["gaussian_noise", "shot_noise", "contrast", "jpeg_compression"], severity=[1, 5], batch_size=7
)
"""Of `finished_run`: with and without draws, in batches that do not divide the images."""


def tiny_classifier() -> Classifier:
    """A small untrained network with three classes, on the CPU, always the same."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    preprocessing = Preprocessing(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    module = module.eval().requires_grad_(False)
    return Classifier("tiny", "test:tiny", module, preprocessing, 3, "0" * 64, torch.device("cpu"))


def among_1000(classifier: Classifier) -> Classifier:
    """Return a classifier with the same predictions among 1,000 classes, so that AlexNet's published values divide them."""
    return classifier.with_class_groups(tuple((number % classifier.classes,) for number in range(1000)))


def tiny_dataset(root: Path) -> Path:
    """Write and return a folder of 3 classes of 10 smooth random pictures at about 40 px, always the same."""
    rng = np.random.default_rng(0)
    for label in ("ant", "bee", "cow"):
        (root / label).mkdir(parents=True)
        for number in range(10):
            small = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
            small.resize((42, 40), Image.Resampling.BICUBIC).save(root / label / f"{number}.png")
    return root


def finished_run(classifier: Classifier, dataset: Path, out: Path) -> Path:
    """Evaluate cifar-c with `RUN_OPTIONS` into `out`: 9 conditions."""
    return robench.evaluate(classifier, dataset, ["cifar-c"], out, options=RUN_OPTIONS).path


def run_files(path: Path) -> dict[str, bytes]:
    """Return the files of a run that must be equal byte for byte however it was made, by name."""
    files = [path / "results.csv", path / "samples.parquet", *sorted((path / "records").rglob("*"))]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files if file.is_file()}


def each(names: str | Sequence[str], cases: Iterable[Any], ids: object = None) -> Callable[[Callable[..., None]], Any]:
    """Like `pytest.mark.parametrize`, but as one test that runs all cases; the error of a case names it.

    Every case has a folder of its own as `tmp_path`. For many cases of one kind that differ in their values alone.
    """
    keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    listed = list(cases)

    def wrap(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(**fixtures: Any) -> None:
            for number, case in enumerate(listed):
                values = (case,) if len(keys) == 1 else tuple(case)
                own = dict(fixtures)
                if "tmp_path" in own:
                    own["tmp_path"] = fixtures["tmp_path"] / str(number)
                    own["tmp_path"].mkdir()
                try:
                    test(**own, **dict(zip(keys, values, strict=True)))
                except BaseException as error:
                    error.add_note(f"case {number}: {dict(zip(keys, values, strict=True))!r:.300}")
                    raise

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return wrap


def mistake(stderr: str) -> str:
    """Return `problem; hint` of what the command line printed last: a line of each, and no other error."""
    *before, last = stderr.splitlines()
    hint = ""
    if last.startswith("hint: "):
        hint, last = last, before.pop()
    assert last.startswith("error: "), stderr
    assert not [line for line in before if line.startswith(("error:", "hint:"))], stderr
    return "; ".join(filter(None, (last.removeprefix("error: "), hint.removeprefix("hint: "))))
