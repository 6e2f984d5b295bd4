"""What the manifest of a run says: the model, the images, every option, and what must be equal to go on with it."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from robench.analysis.baselines import BASELINES
from robench.datasets import ImageDataset
from robench.evaluation.environment import Machine
from robench.evaluation.options import Options
from robench.evaluation.plan import Plan
from robench.evaluation.provenance import packages_of_run
from robench.runs.schema import SCHEMA_VERSION
from robench.transforms.draws import DRAWS_VERSION
from robench.treatments import Adaptation

__all__ = ["make_manifest"]


def make_manifest(
    adaptation: Adaptation,
    images: ImageDataset,
    samples: pd.DataFrame,
    suites: Sequence[str],
    options: Options,
    plan: Plan,
    machine: Machine,
) -> dict[str, Any]:
    """Return the manifest of a run that has not begun, in JSON's types.  machine: that computes it."""
    classifier = adaptation.classifier
    model = {
        "label": classifier.label,
        "arch": classifier.arch,
        "sha256": classifier.sha256,
        "classes": classifier.classes,
        "preprocessing": _json_types(classifier.preprocessing.facts()),
    }
    data = {
        "name": images.name,
        "sha256": _fingerprint(samples),
        "samples": len(samples),
        "total_samples": len(images),
        "classes": list(images.classes),
        # Where a report finds the images again; not part of the identity.
        "root": None if images.root is None else str(images.root.absolute()),
    }
    return {
        "schema": SCHEMA_VERSION,
        "robench_version": version("robench"),
        # What resuming must not depend on stands beside the identity's model: older runs lack it.
        "model": {**model, "parameters": sum(one.numel() for one in classifier.module.parameters()) or None},
        "data": data,
        "treatment": adaptation.label,
        "seed": options.seed,
        "normalize_by": _lasting(options.normalize_by),
        "options": _json_types(asdict(options)),
        "suites": list(dict.fromkeys(suites)),
        "conditions": [asdict(condition) for condition in plan.listed],
        "notes": [*classifier.notes, *images.notes, *plan.notes],
        "environment": {
            "commit": _commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": machine.threads or torch.get_num_threads(),
            "torchvision": version("torchvision"),
            "pillow": version("pillow"),
            "numpy": version("numpy"),
            # Of `robench` or `python -m robench`; other programs call the library.
            "command": sys.argv[1:] if "robench" in Path(sys.argv[0]).parts[-2:] else None,
        },
        # What must be equal for records of two invocations to stand in one run.
        "identity": {
            "model": model,
            **adaptation.fingerprint(),
            "data": {"sha256": data["sha256"]},
            "options": {
                "seed": options.seed,
                "batch_size": options.batch_size,
                "precision": options.precision,
            },
            "conditions": {condition.name: condition.protocol for condition in plan.listed},
            "sizes": {one.name: list(one.axis_values) for one in plan.conditions if one.axis_values is not None},
            "draws_version": DRAWS_VERSION,
            "robench_version": version("robench"),
            "torch": torch.__version__,
            "device": machine.device,
            **({"threads": machine.threads} if machine.threads else {}),
            # Beside the protocols, which name the packages of suites; older runs, and most, have none.
            **({"packages": names} if (names := packages_of_run(classifier.arch, adaptation.plugin_names)) else {}),
        },
    }


def _lasting(normalize_by: str | None) -> str | None:
    """Name a run by its absolute path, so that it is found from wherever the results are computed again."""
    if normalize_by is None or normalize_by in (*BASELINES, "none") or not Path(normalize_by).is_dir():
        return normalize_by
    return str(Path(normalize_by).absolute())


def _json_types(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's types only, so that a manifest in memory equals the one read back."""
    return {
        key: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }


def _fingerprint(samples: pd.DataFrame) -> str:
    lines = "\n".join(
        f"{index}\t{path}\t{label}\t{sha}" for index, path, label, sha in samples.itertuples(index=False, name=None)
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def _commit() -> str | None:
    """Commit of a source checkout of robench; None where it is installed from a package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
