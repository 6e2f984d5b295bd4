"""The runs of one `robench evaluate` command, and job files that list several models.

A job file has shared options at the top and one table for each model:

    data = "imagenet/val"
    suite = ["imagenet-c", "imagenet-p"]
    limit = 5000

    [[job]]
    model = "resnet50.pth"
    arch = "torchvision:resnet50"

    [[job]]
    model = "timm:convnext_tiny"
    treatment = "bn-prior"
    label = "convnext-adapted"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache, partial
from numbers import Real
from pathlib import Path
from typing import Any

from robench.arguments import check_type, one_or_more, size_of
from robench.errors import OptionError, one_line, unknown_name
from robench.evaluation.images import is_cue_conflict, labelled_images
from robench.evaluation.input_size import default_class_names, default_input_size
from robench.evaluation.options import Options
from robench.evaluation.run import Job
from robench.models import load_classifier
from robench.runs.files import decode_text
from robench.suites import Preset, find_preset

__all__ = ["KEYS", "make_jobs", "read_jobs"]

_TEXTS = (
    "arch",
    "weights_key",
    "interpolation",
    "channels",
    "head",
    "reference",
    "features",
    "prompts",
    "label",
    "model",
    "data",
    "class_map",
    "labels",
    "preset",
    "out",
    "device",
)
_PIXELS = ("size", "resize", "crop")
_RANGE = "input_range"
_COLOURS = ("mean", "std", "data_range")
_NAMES = ("ignore_key", "suite", "class_names")
_HEADS = ("head", "reference", "features", "prompts", "class_names")
_LOADING = (
    "arch",
    "weights_key",
    "ignore_key",
    "interpolation",
    "label",
    _RANGE,
    "channels",
    *_HEADS,
    *_PIXELS,
    *_COLOURS,
)
"""Keys that are arguments of `load_classifier`."""

KEYS = (*_TEXTS, *_PIXELS, _RANGE, *_COLOURS, *_NAMES, *(field.name for field in fields(Options)))
"""Keys of a job, named as the options of `robench evaluate`, with `-` or `_`. Paths are relative to the current directory."""

_OF_COMMAND = ("engine", "address", "workers", "threads", "dry_run", "trust_pickle")
"""Options of `robench evaluate` that are no keys: those of the whole command, and the right to run code."""

_JOB_ONLY = ("model", "out", "label")
"""Keys that jobs cannot share."""
_DEMO = "demo"
"""Name of the demo model and of its images."""


def make_jobs(
    models: Sequence[str],
    shared: Mapping[str, Any],
    *,
    out: Path | None = None,
    device: str = "auto",
    trust_pickle: bool = False,
) -> list[Job]:
    """Return the runs of all models and job files; datasets are opened, but models are not loaded.

    Args:
        models: Models, or job files (.toml).
        shared: Values of `KEYS` for all runs; None is an omitted option. A job file takes precedence.
        out: Directory of the only run, or the parent directory of several runs.
        device: Device as `load_classifier` takes it.
        trust_pickle: Whether weights files may run code.

    Raises:
        OptionError: Options contradict each other.
        DatasetError: A dataset cannot be opened.
    """
    shared = {key: value for key, value in shared.items() if value is not None}
    tables = [
        {**shared, **table}
        for model in models
        for table in (read_jobs(Path(model)) if model.endswith(".toml") else [{"model": model}])
    ]
    for table in tables:
        if "preset" in table and "suite" in table:
            place = "--suite" if "suite" in shared else "suite in the job file"
            raise OptionError("--preset chooses the suite", f"omit {place}")
        if "label" in shared and len(tables) > 1:
            raise OptionError("--label names one model", "omit it, or write a label for each job in a job file")
    if out is not None and len(tables) > 1 and any("out" in table for table in tables):
        raise OptionError("--out conflicts with the out of a job", "omit --out")
    opened = cache(labelled_images)  # Jobs with the same images share one dataset.

    def job(table: Mapping[str, Any]) -> Job:
        demo, data, classes = table["model"] == _DEMO, table.get("data"), table.get("class_map")
        if data is None and not demo:
            raise OptionError("no images are given", "give --data (see `robench list datasets`)")
        options = Options(**{field.name: table[field.name] for field in fields(Options) if field.name in table})
        suites: list[str] | Preset | None = _names("suite", table["suite"]) if "suite" in table else None
        if "preset" in table:
            suites = find_preset(table["preset"])
            options = options.with_preset(suites)
        named = suites if isinstance(suites, list) else []
        images = opened(
            _DEMO if data is None else data,
            is_cue_conflict(named),
            None if classes is None else Path(classes),
            table.get("labels"),
        )
        return Job(
            load=partial(
                load_classifier,
                table["model"],
                device=table.get("device", device),
                trust_pickle=trust_pickle,
                **{key: table.get(key) for key in _LOADING},
                # A preset, like the default, chooses its suite by the input size.
                default_crop=default_input_size(named, images),
                default_class_names=default_class_names(images),
            ),
            dataset=images,
            suites=suites,
            out=table.get("out", out if len(tables) == 1 else None),
            options=options,
            folder=out if len(tables) > 1 else None,
            model=Path(table["model"]).name,
        )

    return [job(table) for table in tables]


def read_jobs(path: Path) -> list[dict[str, Any]]:
    """Return the values of each job in a job file by the names of `KEYS`, including the shared values.

    Raises:
        OptionError: The file cannot be read, or has an unknown key or a value of another type.
    """
    try:
        content = tomllib.loads(decode_text(path.read_bytes()))
    except OSError as error:
        raise OptionError(f"cannot read the job file {path}: {error.strerror}", "check its path") from error
    except ValueError as error:  # An invalid encoding or invalid TOML.
        raise OptionError(f"{path} is not TOML ({one_line(error)})", "correct it, and save it as UTF-8") from error
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
    """Return a table with underscores in its keys, after checking keys and values."""
    values: dict[str, Any] = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key in _OF_COMMAND:
            raise OptionError(f"{where}: {written} is no key", f"give --{key.replace('_', '-')} on the command line")
        if key not in KEYS:
            problem, hint = unknown_name("key", written, KEYS)
            raise OptionError(f"{where}: {problem}", hint)
        if key in values:
            raise OptionError(f"{where}: {key} has two values", "remove one")
        values[key] = value
        try:
            _check_value(key, value)
        except OptionError as error:
            raise OptionError(f"{where}: {error.problem.removeprefix('--')}", error.hint) from error
    return values


def _check_value(key: str, value: Any) -> None:
    if key in _TEXTS:
        check_type(key, value, str, "a text")
    elif key in _PIXELS:
        size_of(key, value)
    elif key == _RANGE:
        check_type(key, value, int, "1 or 255")
    elif key in _COLOURS:
        one_or_more(key, value, Real, "a list of numbers")
    elif key in _NAMES:
        _names(key, value)
    else:
        Options(**{key: value})


def _names(key: str, value: object) -> list[str]:
    return one_or_more(key, value, str, "a name or a list of names")
