"""The runs of one `robench evaluate` command, and job files that list several models.

A job file has shared options at the top and one table for each model:

    data = "imagenet/val"
    suite = ["imagenet-c", "imagenet-p"]

    [[job]]
    model = "resnet50.pth"
    arch = "torchvision:resnet50"

    [[job]]
    model = "timm:convnext_tiny"
    treatment = ["bn-prior"]
    out = "runs/convnext-adapted"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from robench.datasets import open_dataset
from robench.errors import OptionError, unknown_name
from robench.evaluation.options import Options
from robench.evaluation.run import Job
from robench.models import load_classifier
from robench.suites import Preset

__all__ = ["KEYS", "make_jobs", "read_jobs"]

_TEXT, _INTEGER, _TEXTS, _NUMBERS = "a text", "a whole number", "a list of texts", "a list of numbers"

KEYS: dict[str, str] = {
    "model": _TEXT,
    "arch": _TEXT,
    "weights-key": _TEXT,
    "ignore-key": _TEXTS,
    "data": _TEXT,
    "class-map": _TEXT,
    "suite": _TEXTS,
    "treatment": _TEXTS,
    "calibration": _TEXT,
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "resize": _INTEGER,
    "crop": _INTEGER,
    "interpolation": _TEXT,
    "out": _TEXT,
}
"""Type of each key of a job, named as the options of `robench evaluate`. Paths are relative to the current directory."""

_TYPES: dict[str, tuple[type, ...]] = {_TEXT: (str,), _INTEGER: (int,), _TEXTS: (str,), _NUMBERS: (int, float)}
"""Python's types of a value, or of the items of a list."""

_JOB_ONLY = ("model", "out")
"""Keys that jobs cannot share."""
_DEMO = "demo"
"""Name of the demo model and of its images."""


def make_jobs(
    models: Sequence[str],
    shared: Mapping[str, Any],
    options: Options,
    *,
    preset: Preset | None = None,
    out: Path | None = None,
    device: str = "auto",
    trust_pickle: bool = False,
) -> list[Job]:
    """Return the runs of all models and job files; datasets are opened, but models are not loaded.

    Args:
        models: Models, or job files (.toml).
        shared: Values of `KEYS` for all runs; a job file takes precedence over them and over `options`.
        options: Options for all runs.
        preset: Chooses the suites, and the options that are not given.
        out: Directory of the only run, or the parent directory of several runs.
        device: Device as `load_classifier` takes it.
        trust_pickle: Whether weights files may run code.

    Raises:
        OptionError: Options contradict each other.
        DatasetError: A dataset cannot be opened.
    """
    tables = [
        {**shared, **table}
        for model in models
        for table in (read_jobs(Path(model)) if model.endswith(".toml") else [{"model": model}])
    ]
    if preset and any(table.get("suite") for table in tables):
        place = "--suite" if shared.get("suite") else "suite in the job file"
        raise OptionError("--preset chooses the suite", f"omit {place}")
    if out is not None and len(tables) > 1 and any("out" in table for table in tables):
        raise OptionError("--out conflicts with the out of a job", "omit --out")
    if preset:
        options = _with_preset(options, preset)
    opened = cache(open_dataset)  # Jobs with the same images share one dataset.

    def job(table: Mapping[str, Any]) -> Job:
        demo, data, classes = table["model"] == _DEMO, table.get("data"), table.get("class-map")
        if data is None and not demo:
            raise OptionError("no images are given", "give --data (see `robench list datasets`)")
        return Job(
            load=partial(
                load_classifier,
                table["model"],
                table.get("arch"),
                device,
                trust_pickle=trust_pickle,
                weights_key=table.get("weights-key"),
                ignore_keys=table.get("ignore-key") or (),
                **{key: table.get(key) for key in ("mean", "std", "resize", "crop", "interpolation")},
            ),
            dataset=opened(_DEMO if data is None else data, None if classes is None else Path(classes)),
            suites=preset or table.get("suite") or ["cifar-c" if demo else "clean"],
            out=table.get("out", out if len(tables) == 1 else None),
            options=replace(
                options,
                treatments=table.get("treatment", options.treatments),
                calibration=table.get("calibration", options.calibration),
            ),
            folder=out if len(tables) > 1 else None,
        )

    return [job(table) for table in tables]


def _with_preset(options: Options, preset: Preset) -> Options:
    """Add a preset's choices to options that do not choose themselves."""
    samples_chosen = (options.limit, options.per_class, options.subset) != (None, None, None)
    return replace(
        options,
        corruptions=options.corruptions or preset.corruptions,
        severities=options.severities or preset.severities,
        limit=options.limit if samples_chosen else preset.limit,
    )


def read_jobs(path: Path) -> list[dict[str, Any]]:
    """Return the values of each job in a job file, including the shared values.

    Raises:
        OptionError: The file cannot be read, or has an unknown key or a value of another type.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise OptionError(f"cannot read the job file {path}: {error.strerror}") from error
    except ValueError as error:  # An invalid encoding or invalid TOML.
        raise OptionError(f"{path} is not TOML: {error}") from error
    jobs = content.pop("job", None)
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in jobs):
        raise OptionError(f"{path} has no jobs", "write a [[job]] table with a model for each")
    for key in _JOB_ONLY:
        if key in content:
            raise OptionError(f"{path}: jobs cannot share {key}", f"move {key} into a [[job]] table")
    shared = _checked(content, f"{path}")
    tables = [{**shared, **_checked(job, f"{path}, job {number}")} for number, job in enumerate(jobs, 1)]
    for number, table in enumerate(tables, 1):
        if not table.get("model"):
            raise OptionError(f"{path}, job {number} has no model", "write model = …")
    return tables


def _checked(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a table after checking its keys and types."""
    for key, value in table.items():
        if key not in KEYS:
            problem, hint = unknown_name("key", key, KEYS)
            raise OptionError(f"{where}: {problem}", hint)
        is_list = KEYS[key] in (_TEXTS, _NUMBERS)
        items = value if isinstance(value, list) else [value]
        if isinstance(value, list) != is_list or not all(type(item) in _TYPES[KEYS[key]] for item in items):
            raise OptionError(f"{where}: {key} takes {KEYS[key]}, not {value!r}")
    return dict(table)
