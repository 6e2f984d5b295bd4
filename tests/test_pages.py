"""The pages of the documentation: their programs and commands run, their tables are current, and the site builds."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.pages import ROOT, blocks, pages, run_page, write_files

IMAGES = sorted((ROOT / "docs" / "images").glob("*.webp"))
WITH_PROGRAMS = [page for page in pages() if any(block.runs for block in blocks(page))]


@pytest.mark.slow(minutes=0.3)
@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=lambda page: page.stem)
def test_the_programs_of_a_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On small files in place of real data. Oracle: the outputs that the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "88")
    write_files(tmp_path)
    assert run_page(page, capsys) > 0


def test_blocks_that_do_not_run_hold_no_program() -> None:
    """A program without a language or with a wrong one would never run."""
    for page in pages():
        for block in blocks(page):
            known = block.runs or block.language in ("sh", "toml", "yaml", "text", "bibtex")
            assert known, f"{page.name}:{block.line}: {block.language!r}"
            for program in re.findall(r'python -c "(.*)"', block.text):
                compile(program, page.name, "exec")
            if block.language == "sh":
                assert not re.search(r"^(\$|>>>|import|from) ", block.text, re.MULTILINE), f"{page.name}:{block.line}"


def test_tables_are_those_of_the_code() -> None:
    with_tables = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))["with_tables"]
    places = 0
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert with_tables(text) == text, f"make tables writes {page.name}"
        places += text.count("<!-- begin ")
    assert places == 10


def test_images_are_those_of_the_script(tmp_path: Path) -> None:
    """The smallest grid is drawn again; other versions of the encoder may differ by a grey level."""
    script = runpy.run_path(str(ROOT / "scripts" / "make_images.py"))
    assert {file.stem for file in IMAGES} == {*script["GRIDS"], *script["SHOTS"]}
    script["draw"]("occlusion", tmp_path, tmp_path)
    with Image.open(tmp_path / "occlusion.webp") as drawn, Image.open(ROOT / "docs/images/occlusion.webp") as kept:
        assert drawn.size == kept.size
        assert np.abs(np.asarray(drawn, np.int16) - np.asarray(kept, np.int16)).mean() < 1


def test_images_are_small() -> None:
    assert sum(file.stat().st_size for file in IMAGES) < 1_000_000
    for file in IMAGES:
        assert file.stat().st_size <= 150_000, file.name
        with Image.open(file) as image:
            assert image.format == "WEBP", file.name


def test_the_citation_is_of_the_package() -> None:
    import tomllib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert citation["authors"]
    assert "version" not in citation  # pyproject.toml alone has it.


@pytest.mark.slow(minutes=0.2)
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Oracle: mkdocs, whose strict mode fails at links and anchors without a target."""
    pytest.importorskip("mkdocs", reason="the site needs robench[docs]")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = re.compile(
        r'<(?:script|img|iframe|link rel="(?:stylesheet|icon|preconnect)")[^>]* (?:src|href)="?(https?:)?//'
    )
    found = list(site.rglob("*.html"))
    assert len(found) > 20
    for page in found:
        text = page.read_text(encoding="utf-8")
        assert not loaded.search(text), page.name
        for name in re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="([^":#?]+)"', text):
            assert (site / name.lstrip("/") if name.startswith("/") else page.parent / name).exists(), (
                f"{page.name}: {name}"
            )
        for image in re.findall(r"<img [^>]*>", text):
            assert re.search(r' alt="[^"]+"', image), f"{page.name}: {image}"
