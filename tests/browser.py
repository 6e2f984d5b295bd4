"""A headless Chromium of the system for tests of pages, without network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on this machine")


@contextmanager
def open_page(address: str, **context: Any) -> Iterator[tuple[Page, list[str]]]:
    """Yield the page at an address and the messages of its console, which grow."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=address.startswith("file:"), **context).new_page()
        messages: list[str] = []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(address)
        yield page, messages
        browser.close()
