"""Provenance of the results of a run."""

from __future__ import annotations

import shlex

import pandas as pd

from robench.analysis.report.grouping import ReportedRun
from robench.analysis.report.words import last_part, without_folders
from robench.runs.progress import read_progress

__all__ = ["provenance"]


def provenance(subject: ReportedRun) -> list[tuple[str, str]]:
    """Return names and texts of the facts about a run, without folders of the machine."""
    first = subject.results.iloc[0]
    manifest = {} if subject.run is None else subject.run.manifest
    progress = None if subject.run is None else read_progress(subject.run.path)
    model, environment = (manifest.get(name) or {} for name in ("model", "environment"))
    command = [last_part(str(argument)) for argument in environment.get("command") or ()]
    images = subject.results.loc[subject.results["metric"] == "error_rate", "n"].max()
    versions = ("python", "torch", "torchvision", "numpy", "pillow")
    identity = manifest.get("identity", {})
    facts = {
        "Date": "" if progress is None else progress.updated[:16].replace("T", " ") + " UTC",
        "Command": shlex.join(["robench", *command]) if command else "",
        "Architecture": str(model.get("arch", "")),
        "Parameters": f"{model['parameters']:,}" if model.get("parameters") else "",
        "Weights": f"SHA-256 {model['sha256'][:12]}" if model.get("sha256") else "",
        "Treatment": "" if pd.isna(first["treatment"]) else str(first["treatment"]),
        "Dataset": f"{first['dataset']}{'' if pd.isna(images) else f', {images:,} images'}",
        "Samples": f"SHA-256 {str(first['data_sha'])[:12]}",
        "Seed": str(first["seed"]),
        "Device": str(identity.get("device", "")),
        "robench": " ".join(filter(None, (str(first["robench_version"]), str(environment.get("commit") or "")[:10]))),
        "Versions": ", ".join(f"{name} {environment[name]}" for name in versions if environment.get(name)),
        "Platform": str(environment.get("platform", "")),
        "Protocols": ", ".join(dict.fromkeys(subject.results["protocol"])),
    }
    return [(name, without_folders(text)) for name, text in facts.items() if text]
