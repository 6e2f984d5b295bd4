"""What gate, compare, leaderboard, pool and show need: robench without torch, for jobs that judge results made elsewhere.

    pip install --no-deps robench
    python -m robench.minimal > light.txt
    pip install --no-compile --no-warn-conflicts -r light.txt

Names alone stand here; their versions are those of the installed robench's own requirements. Imports nothing of them.
"""

from __future__ import annotations

import re
from importlib.metadata import requires

__all__ = ["PARQUET_READER", "REQUIRED", "requirements"]

REQUIRED = ("numpy", "pandas", "typer", "rich")
"""Distributions, beside what they need themselves."""

PARQUET_READER = "fastparquet>=2024.11"
"""Reads the records of single images, for paired tests, where pyarrow is not installed, which is larger than all the rest."""


def requirements() -> list[str]:
    """Return the lines of a requirements file, in the order of NEEDED, then the READER."""
    found = {re.split(r"[^\w.-]", one, maxsplit=1)[0]: one for one in requires("robench") or () if ";" not in one}
    return [*(found[name] for name in REQUIRED), PARQUET_READER]


if __name__ == "__main__":
    print("\n".join(requirements()))  # noqa: T201 - the lines are what it is run for
