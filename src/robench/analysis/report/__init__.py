"""Report: runs on one self-contained HTML page."""

from __future__ import annotations

from robench.analysis.report.page import EXAMPLES, TITLE, write_page

__all__ = ["EXAMPLES", "TITLE", "write_page"]
