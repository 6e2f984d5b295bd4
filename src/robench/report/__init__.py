"""Runs -> one page of HTML that needs nothing else. Torch-free but for the gallery, which reads the images again.

page.py      runs in, a file out
subjects.py  the runs, and which of them compare
sections.py  which figures stand in which part of the page
names.py     classes in words
charts.py    figures -> plots (Vega-Lite, through Altair)
gallery.py   images as the models saw them, with what they were taken for
page.html style.css page.js   what the browser gets
"""

from __future__ import annotations

from robench.report.page import report

__all__ = ["report"]
