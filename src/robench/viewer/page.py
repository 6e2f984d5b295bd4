"""The page, as one HTML file with its script and style sheet."""

from __future__ import annotations

from functools import cache
from importlib import resources
from string import Template
from typing import Any

from robench.analysis.report.inline import inline_json, source_hash

__all__ = ["MARK", "policy", "render"]

MARK = "<!-- robench view -->"
"""Text near the beginning of the page, by which an existing bundle is recognised."""


def render(content: dict[str, Any]) -> str:
    """Return the page.

    Args:
        content: `overview` of the runs and `start`, the fields of the first query; for a bundle also `items`, `samples` and
            `images`. Without them the page asks its server.
    """
    return Template(_file("page.html")).substitute(
        mark=MARK,
        policy=policy(),
        style=_file("page.css"),
        script=_file("page.js"),
        content=inline_json(content),
    )


@cache
def policy() -> str:
    """Return the Content-Security-Policy: the page's own script and style, and files of its own origin or folder."""
    return (
        f"default-src 'none'; script-src {source_hash(_file('page.js'))}; style-src {source_hash(_file('page.css'))}; "
        "img-src 'self' file: data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )


@cache
def _file(name: str) -> str:
    return resources.files("robench.viewer").joinpath(name).read_text(encoding="utf-8")
