"""Records -> results. Torch-free.

scorer.py   the run; the figures of images (errors, mCE, calibration)
groups.py   which conditions are averaged together
divisors.py what CE, mCE, FR and mFR are divided by
notes.py    what a reader of the figures must know
reading.py  records as arrays, checked
doubts.py   what the records themselves say against a run
confusions.py which classes are taken for which
pooling.py  several seeds as one model
frames.py   the figures of frames (flips, consistency, curves over scale, strength and resolution)
choices.py  who chooses an input size for every image: oracle, chance, luck, cascade
rows.py     a figure with its interval as a row
"""

from __future__ import annotations

from robench.analysis.scoring.notes import notes
from robench.analysis.scoring.pooling import pool, pooled_rows
from robench.analysis.scoring.sanity import Permutation, check_clean_records, nonfinite_notes
from robench.analysis.scoring.score import score, score_rows

__all__ = [
    "Permutation",
    "check_clean_records",
    "nonfinite_notes",
    "notes",
    "pool",
    "pooled_rows",
    "score",
    "score_rows",
]
