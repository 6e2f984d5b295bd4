"""Make the images of docs/images from scikit-learn's sample photographs (CC BY 2.0) and the demo; a minute.

    python scripts/make_images.py [FOLDER]

The grids are those of `robench preview`, stored smaller. The image of the report needs Chromium, and is left as it is without it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import sklearn.datasets
from PIL import Image

import robench
from robench.evaluation.preview import preview
from robench.suites import CATEGORIES
from robench.suites.imagenet_c import CORRUPTIONS

TARGET = Path(__file__).parents[1] / "docs/images"
PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"
LARGEST = 150_000
"""Most bytes of an image."""
WIDTHS = (960, 800, 640)
"""Widths of a grid in pixels, the widest first; the text column of a page is narrower. Noise needs the smallest."""


@dataclass(frozen=True)
class Grid:
    """A grid of `robench preview`."""

    photograph: str
    suite: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...] | None = None


def _category(name: str) -> Grid:
    return Grid("china.jpg", "imagenet-c", tuple(one for one in CATEGORIES[name] if one in CORRUPTIONS), (1, 3, 5))


GRIDS = {
    **{name: _category(name) for name in CATEGORIES},
    "sequences": Grid("flower.jpg", "imagenet-p", ("snow", "zoom_blur", "tilt", "scale")),
    "occlusion": Grid("flower.jpg", "occlusion", ("rectangle", "grid")),
    "degradations": Grid("flower.jpg", "noise", ("gaussian", "salt_and_pepper", "gain", "offset")),
}
"""Grids by the name of their file."""

REPORT = "report"


def main() -> None:
    """Make all images."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for grid in GRIDS:
            draw(grid, folder, target)
        shoot_report(folder, target)
    for file in sorted(target.glob("*.webp")):
        print(f"{file.name}: {file.stat().st_size:,} bytes")


def draw(name: str, folder: Path, target: Path) -> None:
    """Draw a grid and store it smaller."""
    grid = GRIDS[name]
    sheet = folder / f"{name}.png"
    preview(
        PHOTOGRAPHS / grid.photograph,
        sheet,
        suite=grid.suite,
        corruptions=grid.corruptions,
        severities=grid.severities,
        crop=None if grid.suite.startswith("imagenet") else 96,
    )
    store(Image.open(sheet), target / f"{name}.webp")


def store(image: Image.Image, file: Path) -> None:
    """Store an image as WebP, as wide and as good as its limit of bytes allows."""
    image = image.convert("RGB")
    for width in WIDTHS:
        height = round(image.height * width / image.width)
        small = image if width >= image.width else image.resize((width, height), Image.Resampling.LANCZOS)
        for quality in (85, 75, 65):
            small.save(file, quality=quality, method=6)
            if file.stat().st_size <= LARGEST:
                return
    raise SystemExit(f"{file} is larger than {LARGEST} bytes")


def shoot_report(folder: Path, target: Path) -> None:
    """Store the first screen of a report on the demo and its adapted network, as Chromium draws it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium: the image of the report stays as it is")
        return
    runs = [
        robench.evaluate("demo", "demo", out=folder / "demo").path,
        robench.evaluate("demo", "demo", treatment="bn-prior", out=folder / "adapted").path,
    ]
    page = robench.report(runs, folder / "report.html", examples=0)
    subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=10000",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1280,1000", f"--screenshot={folder / 'report.png'}",
            Path(page).resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    store(Image.open(folder / "report.png"), target / f"{REPORT}.webp")


if __name__ == "__main__":
    main()
