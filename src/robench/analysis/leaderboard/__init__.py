"""Results of many models -> one table, a row a model. Torch-free.

figures.py      which figure of the results stands in which column
rows.py         a run or results.csv -> rows
timm.py         published: timm's result files
robustbench.py  published: RobustBench's JSON
inputs.py       the kinds of files, in one explicit table
board.py        rows together: what may stand in one table, replacing, ranks
formats.py      csv, markdown, latex
build.py        all of it: `leaderboard`
"""

from __future__ import annotations

from robench.analysis.leaderboard.formats import FORMATS
from robench.analysis.leaderboard.leaderboard import leaderboard

__all__ = ["FORMATS", "leaderboard"]
