"""Measure the groups of a million records: 20 conditions of 50,000 images, two attributes with seven groups.

python benchmarks/groups.py [--images 50000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from gate import write_run

from robench.analysis.scoring import read_groups
from robench.analysis.scoring.image_groups import group_rows
from robench.runs.directory import RunDirectory
from robench.runs.parquet import write_parquet
from robench.runs.schema import GROUPS

_CONDITIONS = 20


def main() -> None:
    """Write a synthetic run, give it groups, and time their metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", images, 0.0, _CONDITIONS)
        rng = np.random.default_rng(0)
        table = pd.DataFrame({"path": np.arange(images).astype(str)})
        table["site"], table["sex"] = rng.choice(list("abcde"), images), rng.choice(["f", "m"], images)
        table.to_csv(Path(folder) / "groups.csv", index=False)
        start = time.process_time()
        write_parquet(GROUPS, read_groups(run.read_samples(), f"{folder}/groups.csv"), run.groups_path)
        read = time.process_time() - start
        start = time.process_time()
        rows = list(group_rows(RunDirectory.open(run.path), 0))
        seconds = time.process_time() - start
    records = images * _CONDITIONS
    print(
        f"{records:,} records, {len(rows):,} rows: {seconds:.1f} s of CPU time, and {read:.1f} s for the table of groups"
    )


if __name__ == "__main__":
    main()
