"""The page in a real browser, from the command to Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robench.cli.entry import run_cli
from robench.viewer.items import items
from robench.viewer.query import find, parse_query
from robench.viewer.samples import SampleTable

pytestmark = pytest.mark.slow(minutes=0.5)


def cards(tab: Any, texts: dict[str, str], table: SampleTable) -> None:
    """Wait until the page shows what Python finds for a query."""
    found = find(table, parse_query(texts, table))
    tab.wait_for_function(
        "text => document.getElementById('count').textContent.startsWith(text)",
        arg=f"{found.images:,} image{'' if found.images == 1 else 's'} of {len(found.rows):,} sample",
    )
    shown = [link.rpartition("sample=")[2] for link in hrefs(tab, ".card")]
    wanted = [f"{one['sample']}&image={one['condition']}%2F{one['frame']}" for one in items(table, found, 0, 48)]
    assert shown == wanted


def hrefs(tab: Any, selector: str) -> list[str]:
    found: list[str] = tab.locator(selector).evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    return found


def check_images(tab: Any) -> None:
    """Wait until all images of the cards are decoded."""
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.card img')].filter((one) => one.getBoundingClientRect().top < innerHeight)"
        ".every((one) => one.complete && one.naturalWidth === 32)"
    )


def test_click_filter_link_and_end(pair: list[Path], table: SampleTable, tab: Any) -> None:
    command = [sys.executable, "-m", "robench", "view", *map(str, pair), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            tab.goto(address)
            # The first screen: where the models disagree.
            cards(tab, {"runs": "differ", "order": "disagreement"}, table)
            check_images(tab)
            # One click: images of a cell.
            tab.get_by_label("Snow, severity 5: disagreement").click()
            cell = {
                "runs": "differ",
                "order": "disagreement",
                "corruption": "snow",
                "severity": "5",
                "suite": "cifar-c",
            }
            cards(tab, cell, table)
            check_images(tab)
            tab.get_by_label("Snow, severity 5: disagreement").click()
            cards(tab, {"runs": "differ", "order": "disagreement"}, table)
            # Filters.
            tab.get_by_role("link", name="Clear").click()
            tab.locator("select[name=outcome0]").select_option("wrong")
            tab.locator("select[name=outcome1]").select_option("right")
            tab.locator("select[name=label]").select_option(label="cow")
            tab.locator("select[name=order]").select_option("doubt")
            filters = {"outcome": "wrong,right", "label": "2", "order": "doubt"}
            cards(tab, filters, table)
            # A sample, its neighbours by keys, and its link.
            tab.locator(".card").first.click()
            first = items(table, find(table, parse_query(filters, table)), 0, 2)
            tab.get_by_text(f"Sample {first[0]['sample']}: cow/").wait_for()
            tab.keyboard.press("ArrowRight")
            tab.get_by_text(f"Sample {first[1]['sample']}: cow/").wait_for()
            link, rows = tab.url, tab.locator(".facts").inner_text()
            tab.keyboard.press("Escape")
            tab.wait_for_function("() => !document.querySelector('dialog').open")
            assert "sample=" not in tab.url
            other = tab.context.new_page()
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
            tab.set_viewport_size({"width": 390, "height": 844})
            tab.goto(address)
            tab.wait_for_selector(".card")
            assert tab.evaluate("document.documentElement.scrollWidth") == 390
        finally:
            server.send_signal(signal.SIGINT)
            errors = server.communicate(timeout=30)[1]
    assert server.returncode == 0
    assert errors.splitlines()[-1] == "The page has ended."
    assert "Traceback" not in errors


def test_a_bundle_from_the_disk_finds_what_the_server_finds(
    pair: list[Path], table: SampleTable, tab: Any, tmp_path: Path
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
        tab.goto("about:blank")
        tab.goto(f"{start}#{'&'.join(f'{name}={text}' for name, text in texts.items())}")
        tab.wait_for_function("() => document.documentElement.dataset.shown !== undefined")
        cards(tab, texts, table)
        check_images(tab)
    tab.locator(".card").first.click()
    tab.get_by_text("Every condition of this sample").or_(tab.get_by_text("In each cell")).first.wait_for()
    tab.get_by_label("Contrast, severity 1: tiny").first.click()
    tab.wait_for_function("() => document.querySelector('#sample-title').textContent.includes('Contrast, severity 1')")
    tab.wait_for_function("() => [...document.querySelectorAll('.large img')].every((one) => one.naturalWidth === 32)")
