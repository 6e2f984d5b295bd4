"""Runs -> one page of HTML that needs nothing else. Torch-free.

page.py         runs in, a file out
grouping.py     the runs, and which of them compare
sections.py     the parts of the page
confusions.py   which classes a model predicts as which others
class_names.py  classes in words
charts.py       values -> plots (Vega-Lite, through Altair)
page.html style.css page.js   the page's template, style and script
"""

from __future__ import annotations

from robench.analysis.report.page import EXAMPLES, TITLE, write_page

__all__ = ["EXAMPLES", "TITLE", "write_page"]
