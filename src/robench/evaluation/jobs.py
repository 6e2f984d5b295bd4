"""What `robench evaluate` is given -> the runs to be made; and files of several models for one call: `robench evaluate jobs.toml`.

data = "imagenet/val"                # for all of them, as the option of the same name
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

KEYS: dict[str, type] = {
    "model": str,
    "arch": str,
    "weights-key": str,
    "data": str,
    "class-map": str,
    "suite": list,
    "treatment": list,
    "calibration": str,
    "mean": list,
    "std": list,
    "resize": int,
    "crop": int,
    "interpolation": str,
    "out": str,
}
"""What a job may say, by the names of the options of `robench evaluate`, and of which type. Paths are seen from where the
command is given."""

_TYPES = {str: "a text", int: "a whole number", list: "a list"}
_OWN = ("model", "out")
"""Keys that no two jobs can share."""
_DEMO = "demo"
"""The model, and its images."""


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
    """Return the runs of all models, and of the jobs in those that are files of jobs; datasets are opened, models not loaded yet.

    shared: what `KEYS` name, for all of them; what a file says goes before it, and before `options`.
    preset: chooses the suites, and of the options what they leave open.
    out: directory of the only run, or the folder of several.  device, trust_pickle: as `load_classifier` takes them.
    Raises OptionError where these do not go together, and what `open_dataset` raises.
    """
    found = [
        {**shared, **one}
        for model in models
        for one in (read_jobs(Path(model)) if model.endswith(".toml") else [{"model": model}])
    ]
    if preset and any(one.get("suite") for one in found):
        place = "--suite out" if shared.get("suite") else "suite out of the file of jobs"
        raise OptionError(f"--preset chooses the suite by the model's input: leave {place}")
    if out is not None and len(found) > 1 and any("out" in one for one in found):
        raise OptionError("--out is for jobs that name none of their own: leave it out")
    if preset:
        options = _completed(options, preset)
    images = cache(open_dataset)  # One of all jobs with the same images.

    def job(one: Mapping[str, Any]) -> Job:
        demo, data, classes = one["model"] == _DEMO, one.get("data"), one.get("class-map")
        if data is None and not demo:
            raise OptionError(
                "no images were named: give --data, a folder of class folders or another of `robench list datasets`"
            )
        return Job(
            load=partial(
                load_classifier,
                one["model"],
                one.get("arch"),
                device,
                mean=one.get("mean"),
                std=one.get("std"),
                resize=one.get("resize"),
                crop=one.get("crop"),
                interpolation=one.get("interpolation"),
                trust_pickle=trust_pickle,
                weights_key=one.get("weights-key"),
            ),
            dataset=images(_DEMO if data is None else data, None if classes is None else Path(classes)),
            suites=preset or one.get("suite") or ["cifar-c" if demo else "clean"],
            out=one.get("out", out if len(found) == 1 else None),
            options=replace(
                options,
                treatments=one.get("treatment", options.treatments),
                calibration=one.get("calibration", options.calibration),
            ),
            folder=out if len(found) > 1 else None,
        )

    return [job(one) for one in found]


def _completed(options: Options, preset: Preset) -> Options:
    """The options, with what a preset chooses where they choose nothing themselves."""
    samples_chosen = (options.limit, options.per_class, options.subset) != (None, None, None)
    return replace(
        options,
        corruptions=options.corruptions or preset.corruptions,
        severities=options.severities or preset.severities,
        limit=options.limit if samples_chosen else preset.limit,
    )


def read_jobs(path: Path) -> list[dict[str, Any]]:
    """Return the options of each job, those of all jobs included; OptionError that says what is wrong with the file."""
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise OptionError(f"no file of jobs {path}: check the path") from None
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the text's encoding, or of TOML
        raise OptionError(f"{path} is not TOML: {error}") from error
    jobs = content.pop("job", None)
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in jobs):
        raise OptionError(f"{path} has no jobs: write a [[job]] with a model for each")
    shared = _checked(content, f"{path}")
    for key in _OWN:
        if key in shared:
            raise OptionError(f"{path}: {key} belongs into a [[job]], not above all of them")
    found = [{**shared, **_checked(job, f"{path}, job {number}")} for number, job in enumerate(jobs, 1)]
    for number, job in enumerate(found, 1):
        if not job.get("model"):
            raise OptionError(f"{path}, job {number} names no model: write model = …")
    return found


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, value in values.items():
        if key not in KEYS:
            raise OptionError(f"{where}: {unknown_name('key', key, KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise OptionError(f"{where}: {key} takes {_TYPES[KEYS[key]]}, not {value!r}")
        kind = float | int if key in ("mean", "std") else str
        if isinstance(value, list) and not all(isinstance(one, kind) and not isinstance(one, bool) for one in value):
            raise OptionError(f"{where}: {key} takes a list of {'numbers' if key in ('mean', 'std') else 'texts'}")
    return dict(values)
