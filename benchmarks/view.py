"""Measure `robench view` over two runs of 50,000 samples and 76 conditions: loading, memory, every address, and clicks in a browser.

    python benchmarks/view.py [--samples 50000] [--repeats 20]

The runs are synthetic: images of 32 pixels in an array, predictions among ten classes, one run a little worse. Times of addresses
are from the request to the whole answer, times of clicks from the click until all cards are there and their visible images are
decoded. Clicks need Chromium. Prints hardware and versions, then the median and the largest time in ms.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
from common import hardware
from rich.console import Console
from rich.table import Table

from robench.analysis.scoring import score_rows
from robench.datasets import open_dataset
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN

CLASSES = 10
_WANTED = {(suite, metric) for suite in (CLEAN, "cifar-c") for metric in ("accuracy", "error_rate", "mean_error")}


def main() -> None:
    """Write two runs, serve them and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    console = Console(width=120)
    console.print(hardware(1), soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root / "images.npy", options.samples)
        runs = [root / "first", root / "second"]
        for run, extra in zip(runs, (0.0, 0.02), strict=True):
            write_run(run, root / "images.npy", options.samples, extra)
        command = [sys.executable, "-m", "robench", "view", *map(str, runs), "--no-open"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            loaded = time.perf_counter() - begun
            table = Table(title=f"{options.samples:,} samples: ms", title_justify="left")
            for column in ("address or click", "median", "largest"):
                table.add_column(column, justify="left" if column.startswith("address") else "right")
            with httpx.Client() as client:
                for name, path in addresses(options.samples).items():
                    table.add_row(name, *spread(partial(get, client, address + path), options.repeats))
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            if chromium is not None:
                for name, took in clicks(address, chromium, options.repeats).items():
                    table.add_row(name, f"{statistics.median(took):.0f}", f"{max(took):.0f}")
            peak = next(line.split()[1] for line in status(server.pid) if line.startswith("VmHWM"))
            server.terminate()
        console.print(f"start to first answer {loaded:.1f} s, peak memory {int(peak) / 1024:.0f} MB")
        console.print(table)


def write_images(file: Path, samples: int) -> None:
    """Write smooth random images of 32 pixels, and their labels, as arrays."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (samples, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    np.save(file, images)
    np.save(file.with_name("labels.npy"), (np.arange(samples) % CLASSES).astype(np.uint8))


def write_run(path: Path, data: Path, samples: int, extra: float) -> None:
    """Write a run of cifar-c whose errors grow with the severity, and with `extra`."""
    preprocessing = Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.25,) * 3)
    images, plan = open_dataset(data), make_plan(["cifar-c"], Options(), preprocessing)
    label = (np.arange(samples) % CLASSES).astype(np.int32)
    manifest = {
        "schema": SCHEMA_VERSION,
        "model": {"label": path.name, "classes": CLASSES, "preprocessing": asdict(preprocessing)},
        "data": {
            "name": images.name,
            "sha256": "abc",
            "samples": samples,
            "total_samples": samples,
            "classes": list(images.classes),
            "root": str(data),
        },
        "identity": {},
        "options": {},
        "treatment": None,
        "seed": 0,
        "normalize_by": None,
        "conditions": [asdict(one) for one in plan.listed],
    }
    listed = {"index": np.arange(samples), "path": list(images.paths), "label": label, "sha": "0"}
    run = RunDirectory.create(path, manifest, pd.DataFrame(listed))
    rng = np.random.default_rng(1)
    hard, other = rng.random(samples), rng.integers(1, CLASSES, samples).astype(np.int32)
    noise = np.random.default_rng(round(1000 * extra))
    for one in plan.listed:
        wrong = hard + 0.2 * noise.standard_normal(samples) < 0.1 + 0.1 * one.severity + extra
        pred = np.where(wrong, (label + other) % CLASSES, label).astype(np.int32)
        columns = {
            "suite": one.suite,
            "corruption": one.corruption,
            "severity": np.int16(one.severity),
            **dict.fromkeys(("axis_value", "dx", "dy"), np.nan),
            "frame": np.int32(0),
            "resolution": np.int32(32),
            "sample": np.arange(samples),
            "label": label,
            "pred": pred,
            "top5": list((pred[:, None] + np.arange(5, dtype=np.int32)) % CLASSES),
            "confidence": noise.random(samples, np.float32),
            **dict.fromkeys(("prob_label", "max_logit", "entropy", "sum_p2", "gen"), np.float32(0.5)),
        }
        run.write_records(one.name, pd.DataFrame(columns))
    rows = ({name: row.get(name) for name in RESULTS.names} for row in score_rows(run, None, _WANTED))
    run.write_results(rows_to_frame(RESULTS, rows))


def addresses(samples: int) -> dict[str, str]:
    """Return the measured addresses by their names."""
    return {
        "the page": "",
        "samples of all conditions": "samples",
        "where the runs disagree, all conditions": "samples?runs=differ&order=disagreement",
        "broken by both, most confident first": "samples?outcome=broken,broken&order=confidence",
        "most flips": "samples?order=flips",
        "class, prediction and confidence": "samples?label=3&predicted=5&low=0.9&order=doubt",
        "one cell": "samples?corruption=fog&severity=5",
        "last samples of all conditions": f"samples?start={samples - 48}",
        "one sample": "samples/7",
        "an image": "images/cifar-c-glass_blur-5-32px/7/0",
    }


def get(client: httpx.Client, address: str) -> None:
    """Request an address and read the whole answer."""
    assert client.get(address).status_code == 200, address


def spread(function: Callable[[], None], repeats: int) -> tuple[str, str]:
    """Return the median and the largest time of a function in ms."""
    took = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        took.append(1000 * (time.perf_counter() - begun))
    return f"{statistics.median(took):.0f}", f"{max(took):.0f}"


_SHOWN = """async (fragment) => {
  const begun = performance.now(), before = document.documentElement.dataset.shown;
  location.hash = fragment;
  while (document.documentElement.dataset.shown === before) await new Promise((resume) => setTimeout(resume));
  const visible = [...document.querySelectorAll(".card img")].filter((one) => one.getBoundingClientRect().top < innerHeight);
  await Promise.all(visible.map((one) => one.decode()));
  return performance.now() - begun;
}"""


def clicks(address: str, chromium: str, repeats: int) -> dict[str, list[float]]:
    """Return the times of changed fragments, which is what every click does, in ms."""
    from playwright.sync_api import sync_playwright

    views = {
        "click on a cell, until its images are visible": "order=disagreement&runs=differ&corruption={}&severity={}",
        "click on a cell, all images of it": "corruption={}&severity={}&order=sample",
        "change of a filter over all conditions": "outcome=broken,right&order=confidence&low=0.{1}&map={1}&label={1}",
    }
    names = [name for name, _ in make_cells()]
    took: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector(".card")
        for name, view in views.items():
            for repeat in range(repeats):
                fragment = view.format(names[(7 * repeat) % len(names)], repeat % 5 + 1)
                if f"low=0.{repeat % 5 + 1}" in fragment:
                    fragment = fragment.replace("outcome=", f"of={repeat % 2}&outcome=")
                took.setdefault(name, []).append(page.evaluate(_SHOWN, fragment))
        browser.close()
    return took


def make_cells() -> list[tuple[str, int]]:
    """Return corruption and severity of the cells."""
    plan = make_plan(["cifar-c"], Options(), Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.25,) * 3))
    return [(one.corruption, one.severity) for one in plan.conditions if not one.is_clean]


def status(pid: int) -> list[str]:
    """Return the lines that Linux has on a process."""
    return Path(f"/proc/{pid}/status").read_text().splitlines()


if __name__ == "__main__":
    main()
