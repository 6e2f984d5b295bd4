"""The manifest of a run: model, images, options, and the identity that a resumed run must have."""

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
from robench.datasets import ImageDataset, LabelSets
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
    """Return the manifest of a new run in JSON's types.

    Args:
        adaptation: The model and its treatments.
        images: The dataset.
        samples: The table SAMPLES.
        suites: Names of the suites.
        options: Options of the run.
        plan: The conditions.
        machine: The machine that computes the run.
    """
    classifier = adaptation.classifier
    model = {
        "label": classifier.label,
        "arch": classifier.arch,
        "sha256": classifier.sha256,
        "classes": classifier.classes,
        "preprocessing": _json_types(classifier.preprocessing.facts()),
        # Only what chooses among the tensors of a file, whose SHA-256 does not tell them apart.
        **{key: value for key in ("weights_key", "ignore_key") if (value := (classifier.origin or {}).get(key))},
        **({"head": _json_types(classifier.head_facts)} if classifier.head_facts else {}),
    }
    data = {
        "name": images.name,
        "sha256": _fingerprint(samples, images.several_labels),
        "samples": len(samples),
        "total_samples": len(images),
        "classes": list(images.classes),
        # Whether images have several classes.
        **({"multi_label": True} if images.several_labels is not None else {}),
        # Fewer than the model's if its outputs are limited to the classes of the dataset.
        "predicted_classes": classifier.classes if classifier.groups is None else len(classifier.groups),
        # Outputs of the model for each class, if they are not the classes in order.
        "outputs": None if classifier.groups is None else [list(group) for group in classifier.groups],
        # For reports, which read the images again; not part of the identity.
        "root": None if images.root is None else str(images.root.absolute()),
    }
    return {
        "schema": SCHEMA_VERSION,
        "robench_version": version("robench"),
        # The number of parameters is not part of the identity.
        "model": {
            **model,
            "parameters": sum(parameter.numel() for parameter in classifier.module.parameters()) or None,
        },
        "data": data,
        "treatment": adaptation.label,
        "seed": options.seed,
        "normalize_by": _lasting(options.normalize_by),
        "options": _json_types(asdict(options)),
        "suites": list(dict.fromkeys(suites)),
        "conditions": [asdict(condition) for condition in plan.listed],
        "notes": [*classifier.notes, *images.notes, *images.label_notes, *plan.notes],
        "warnings": [*classifier.warnings],
        "environment": {
            "commit": _commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": machine.threads or torch.get_num_threads(),
            "torchvision": version("torchvision"),
            "pillow": version("pillow"),
            "numpy": version("numpy"),
            # None if another program calls the library.
            "command": sys.argv[1:] if "robench" in Path(sys.argv[0]).parts[-2:] else None,
        },
        # Records of two invocations belong to one run only if their identities are equal.
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
            "sizes": {
                condition.name: list(condition.axis_values)
                for condition in plan.conditions
                if condition.axis_values is not None
            },
            "draws_version": DRAWS_VERSION,
            "robench_version": version("robench"),
            "torch": torch.__version__,
            "device": machine.device,
            **({"threads": machine.threads} if machine.threads else {}),
            # Protocols name the packages of suites; these are the packages of models and treatments.
            **(
                {"packages": packages}
                if (packages := packages_of_run(classifier.arch, adaptation.plugin_names))
                else {}
            ),
        },
    }


def _lasting(normalize_by: str | None) -> str | None:
    """Return a baseline run as an absolute path, so that results can be computed again in any directory."""
    if normalize_by is None or normalize_by in (*BASELINES, "none") or not Path(normalize_by).is_dir():
        return normalize_by
    return str(Path(normalize_by).absolute())


def _json_types(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to JSON's types, so that a manifest in memory equals the manifest in the file."""
    return {
        key: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }


def _fingerprint(samples: pd.DataFrame, sets: LabelSets | None) -> str:
    lines = "\n".join(
        f"{index}\t{path}\t{label if sets is None else sets[index]}\t{sha}"
        for index, path, label, sha in samples.itertuples(index=False, name=None)
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def _commit() -> str | None:
    """Return the commit of a source checkout of robench; None for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
