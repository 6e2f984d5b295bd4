"""The page in a real browser, from the command to Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robench.cli.entry import run_cli
from robench.viewer.items import items
from robench.viewer.query import find, parse_query
from robench.viewer.samples import SampleTable

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow(minutes=0.5),
    pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must neither log, nor fail, nor ask another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, problems = context.new_page(), []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url) if is_foreign(request.url) else None)
    opened.set_default_timeout(20_000)
    yield opened
    context.close()
    assert not problems


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file://", "data:"))


def cards(page: Any, texts: dict[str, str], table: SampleTable) -> None:
    """Wait until the page shows what Python finds for a query."""
    found = find(table, parse_query(texts, table))
    page.wait_for_function(
        "text => document.getElementById('count').textContent.startsWith(text)",
        arg=f"{found.images:,} image{'' if found.images == 1 else 's'} of {len(found.rows):,} sample",
    )
    shown = [link.rpartition("sample=")[2] for link in hrefs(page, ".card")]
    wanted = [f"{one['sample']}&image={one['condition']}%2F{one['frame']}" for one in items(table, found, 0, 48)]
    assert shown == wanted


def hrefs(page: Any, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    return found


def check_images(page: Any) -> None:
    """Wait until all images of the cards are decoded."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card img')].filter((one) => one.getBoundingClientRect().top < innerHeight)"
        ".every((one) => one.complete && one.naturalWidth === 32)"
    )


def test_click_filter_link_and_end(pair: list[Path], table: SampleTable, page: Any) -> None:
    command = [sys.executable, "-m", "robench", "view", *map(str, pair), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            page.goto(address)
            # The first screen: where the models disagree.
            cards(page, {"runs": "differ", "order": "disagreement"}, table)
            check_images(page)
            # One click: images of a cell.
            page.get_by_label("Snow, severity 5: disagreement").click()
            cell = {
                "runs": "differ",
                "order": "disagreement",
                "corruption": "snow",
                "severity": "5",
                "suite": "cifar-c",
            }
            cards(page, cell, table)
            check_images(page)
            page.get_by_label("Snow, severity 5: disagreement").click()
            cards(page, {"runs": "differ", "order": "disagreement"}, table)
            # Filters.
            page.get_by_role("link", name="Clear").click()
            page.locator("select[name=outcome0]").select_option("wrong")
            page.locator("select[name=outcome1]").select_option("right")
            page.locator("select[name=label]").select_option(label="cow")
            page.locator("select[name=order]").select_option("doubt")
            filters = {"outcome": "wrong,right", "label": "2", "order": "doubt"}
            cards(page, filters, table)
            # A sample, its neighbours by keys, and its link.
            page.locator(".card").first.click()
            first = items(table, find(table, parse_query(filters, table)), 0, 2)
            page.get_by_text(f"Sample {first[0]['sample']}: cow/").wait_for()
            page.keyboard.press("ArrowRight")
            page.get_by_text(f"Sample {first[1]['sample']}: cow/").wait_for()
            link, rows = page.url, page.locator(".facts").inner_text()
            page.keyboard.press("Escape")
            page.wait_for_function("() => !document.querySelector('dialog').open")
            assert "sample=" not in page.url
            other = page.context.new_page()
            other.goto(link)
            other.get_by_text(f"Sample {first[1]['sample']}: cow/").wait_for()
            assert other.locator(".facts").inner_text() == rows
            assert other.locator(".inside .heat a").count() == sum(
                len(row["cells"]) for suite in other.evaluate("data.overview.suites") for row in suite["rows"]
            )
            # Frames of a sequence.
            other.goto(f"{address}#condition=cifar-p-tilt-1-32px&sample=4&image=cifar-p-tilt-1-32px/3")
            other.wait_for_function("() => document.querySelectorAll('.strip img').length === 31")
            other.close()
            # A narrow screen does not scroll sideways.
            page.set_viewport_size({"width": 390, "height": 844})
            page.goto(address)
            page.wait_for_selector(".card")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
        finally:
            server.send_signal(signal.SIGINT)
            errors = server.communicate(timeout=30)[1]
    assert server.returncode == 0
    assert errors.splitlines()[-1] == "The page has ended."
    assert "Traceback" not in errors


def test_a_bundle_from_the_disk_finds_what_the_server_finds(
    pair: list[Path], table: SampleTable, page: Any, tmp_path: Path
) -> None:
    """Oracle: Python's own filters; the bundle has all images, so that both see the same."""
    out = tmp_path / "bundle"
    assert (
        run_cli(["view", *map(str, pair), "--bundle", str(out), "-n", "30", "--suite", "cifar-c", "--order", "sample"])
        == 0
    )
    start = out.joinpath("index.html").as_uri()
    for texts in (
        {"suite": "cifar-c"},
        {"suite": "cifar-c", "runs": "differ", "order": "disagreement"},
        {"corruption": "contrast", "severity": "5", "suite": "cifar-c"},
        {"outcome": "broken,", "suite": "cifar-c", "order": "confidence"},
        {"outcome": ",flip", "suite": "cifar-c", "of": "1", "order": "doubt"},
        {"label": "1", "predicted": "2", "suite": "cifar-c"},
        {"low": "0.4", "high": "0.7", "of": "1", "suite": "cifar-c"},
        {"order": "flips", "suite": "cifar-c"},
    ):
        page.goto("about:blank")
        page.goto(f"{start}#{'&'.join(f'{name}={text}' for name, text in texts.items())}")
        page.wait_for_function("() => document.documentElement.dataset.shown !== undefined")
        cards(page, texts, table)
        check_images(page)
    page.locator(".card").first.click()
    page.get_by_text("Every condition of this sample").or_(page.get_by_text("In each cell")).first.wait_for()
    page.get_by_label("Contrast, severity 1: tiny").first.click()
    page.wait_for_function("() => document.querySelector('#sample-title').textContent.includes('Contrast, severity 1')")
    page.wait_for_function("() => [...document.querySelectorAll('.large img')].every((one) => one.naturalWidth === 32)")
