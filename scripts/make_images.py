"""Make the images of docs/images from scikit-learn's sample photographs (CC BY 2.0) and the demo; a minute.

    python scripts/make_images.py [FOLDER]

The grids are those of `robench preview`, stored smaller. The images of the report and of the terminal need Chromium, and are left as
they are without it.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sklearn.datasets
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI

import robench
from robench.display.summary import run_summary
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

SHOTS = ("report", "terminal")
"""Images that Chromium draws."""

TERMINAL = """<style>pre {{ width: max-content; padding: 14px 20px; border-radius: 6px; font: 14px/1.35 "DejaVu Sans Mono", monospace;
color: {foreground}; background: {background}; }}</style><pre>{code}</pre>"""


def main() -> None:
    """Make all images."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for grid in GRIDS:
            draw(grid, folder, target)
        shoot(folder, target)
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


def store(image: Image.Image, file: Path, widths: Sequence[int] = WIDTHS) -> None:
    """Store an image as WebP, as wide and as good as its limit of bytes allows."""
    image = image.convert("RGB")
    for width in widths:
        height = round(image.height * width / image.width)
        small = image if width >= image.width else image.resize((width, height), Image.Resampling.LANCZOS)
        for quality in (85, 75, 65):
            small.save(file, quality=quality, method=6)
            if file.stat().st_size <= LARGEST:
                return
    raise SystemExit(f"{file} is larger than {LARGEST} bytes")


def shoot(folder: Path, target: Path) -> None:
    """Store the first screen of a report on the demo and its adapted network, and the demo's summary in a terminal."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium: the images of the report and of the terminal stay as they are")
        return
    demo = robench.evaluate("demo", "demo", out=folder / "demo")
    adapted = robench.evaluate("demo", "demo", treatment="bn-prior", out=folder / "adapted")
    page_file = Path(robench.report([demo.path, adapted.path], folder / "report.html", examples=0))
    terminal = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    terminal.print("$ robench evaluate demo", style="bold")
    terminal.print(run_summary(demo.directory, demo.results))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, device_scale_factor=1.5)
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]")
        page.screenshot(path=folder / "report.png")
        page = browser.new_page(device_scale_factor=1.5)  # The policy of the report allows no other styles.
        page.set_content(terminal.export_html(theme=MONOKAI, inline_styles=True, code_format=TERMINAL))
        page.locator("pre").screenshot(path=folder / "terminal.png")
        browser.close()
    for name in SHOTS:
        store(Image.open(folder / f"{name}.png"), target / f"{name}.webp", (1280, *WIDTHS))


if __name__ == "__main__":
    main()
