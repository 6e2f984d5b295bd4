"""A file of several models to be evaluated in one call: `robench evaluate jobs.toml`. Torch-free.

data = "imagenet/val"                # for all of them, as the option of the same name
suite = ["imagenet-c", "imagenet-p"]

[[job]]
model = "resnet50.pth"
arch = "torchvision:resnet50"

[[job]]
model = "timm:convnext_tiny"
adapt = ["bn-prior"]
out = "runs/convnext-adapted"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robench.errors import OptionError, unknown_name

__all__ = ["KEYS", "read_jobs"]

KEYS: dict[str, type] = {
    "model": str,
    "arch": str,
    "weights-key": str,
    "data": str,
    "class-map": str,
    "suite": list,
    "adapt": list,
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
