"""Measure start-up, time and peak memory of `robench gate` over 95 cells of 50,000 images, each in its own process.

python benchmarks/gate.py [--images 50000]
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from robench.analysis.scoring import score_rows
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN, SUITES

_WANTED = {
    (suite, metric) for suite in (CLEAN, "imagenet-c") for metric in ("accuracy", "error_rate", "mean_error", "mce")
}


def write_run(path: Path, images: int, extra: float, conditions: int | None = None) -> RunDirectory:
    """Write a synthetic run of 19 corruptions x 5 severities: 1,000 classes, worse with severity, by `extra` more.

    Args:
        path: The run directory.
        images: Number of images.
        extra: Additional error.
        conditions: Number of conditions; None for all.
    """
    suite = SUITES["imagenet-c"]
    cells = [(CLEAN, CLEAN, 0), *((suite.name, *cell) for cell in suite.select(extra=True))]
    cells = cells[:conditions]
    clean = "clean-clean-0-224px"
    planned = [
        ConditionEntry(
            clean if one == CLEAN else f"{one}-{name}-{severity}-224px",
            *(one, name, severity, 224, f"{one}#1", "computed", clean),
        )
        for one, name, severity in cells
    ]
    label = (np.arange(images) % 1000).astype(np.int32)
    rng = np.random.default_rng(0)
    hard = rng.random(images)
    manifest = {
        "schema": SCHEMA_VERSION,
        "model": {"label": path.name, "classes": 1000},
        "data": {"name": "images", "sha256": "abc", "samples": images},
        "identity": {},
        "options": {},
        "treatment": None,
        "seed": 0,
        "normalize_by": None,
        "conditions": [asdict(one) for one in planned],
    }
    samples = pd.DataFrame(
        {"index": np.arange(images), "path": np.arange(images).astype(str), "label": label, "sha": "0"}
    )
    run = RunDirectory.create(path, manifest, samples)
    for one in planned:
        wrong = hard + 0.1 * rng.standard_normal(images) < 0.2 + 0.1 * one.severity + extra
        pred = np.where(wrong, (label + 1) % 1000, label).astype(np.int32)
        top5 = (pred[:, None] + np.arange(5, dtype=np.int32)) % 1000
        columns = {
            "suite": one.suite,
            "corruption": one.corruption,
            "severity": np.int16(one.severity),
            "axis_value": np.nan,
            "dx": np.nan,
            "dy": np.nan,
            "frame": np.int32(0),
            "resolution": np.int32(224),
            "sample": np.arange(images),
            "label": label,
            "pred": pred,
            "top5": list(top5),
            "confidence": rng.random(images, np.float32),
            "prob_label": np.float32(0.5),
            "max_logit": np.float32(2),
            "entropy": np.float32(0.5),
            "sum_p2": np.float32(0.5),
            "gen": np.float32(1),
        }
        run.write_records(one.name, pd.DataFrame(columns))
    rows = ({name: row.get(name) for name in RESULTS.names} for row in score_rows(run, None, _WANTED))
    run.write_results(rows_to_frame(RESULTS, rows))
    return run


_CODE = """
import sys
from robench.cli.entry import command
code = command(sys.argv[1:])
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
sys.exit(code)
"""
"""The process reports its own peak; the peak that its parent sees includes the parent's memory before the start."""


def measure(name: str, arguments: list[str]) -> None:
    """Print wall and processor seconds, the best of three, and peak memory of one command in its own process."""
    wall, processor, peak = [], [], 0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _CODE, *arguments], capture_output=True, text=True, check=False)
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        peak = max(peak, int(done.stderr.split()[-1]))
    print(f"| {name} | {min(wall):.2f} | {min(processor):.2f} | {peak / 1024:.0f} | {done.returncode} |", flush=True)


def main() -> None:
    """Write two runs and compare them with each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    images = parser.parse_args().images
    print(
        f"{platform.processor() or platform.machine()}; python {platform.python_version()}",
        end="",
    )
    print(
        "".join(f", {name} {version(name)}" for name in ("numpy", "pandas", "pyarrow")),
        f"{images:,} images, 95 cells",
        sep="; ",
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_run(root / "base", images, 0.0)
        write_run(root / "run", images, 0.002)
        rules = root / "cells.toml"
        rules.write_text('[[rules]]\nmetric = "error_rate"\n')
        run, base = str(root / "run"), str(root / "base")
        print("\n| command | seconds | processor | peak MB | exit |\n|---|--:|--:|--:|--:|")
        measure("gate --help", ["gate", "--help"])
        measure("gate against a CSV", ["gate", run, "--baseline", f"{base}/results.csv"])
        measure("gate against a run: headlines", ["gate", run, "--baseline", base])
        measure("gate against a run: all 96 cells", ["gate", run, "--baseline", base, "--rules", str(rules)])
        measure("compare with flips", ["compare", base, run, "--flips", str(root / "flips.csv")])


if __name__ == "__main__":
    main()
