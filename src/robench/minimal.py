"""Requirements of the minimal installation, which runs gate, compare, history, leaderboard, pool and show without torch.

    pip install --no-deps robench && python -m robench.minimal --install

Without `--install`, it prints them as a requirements file. The module holds names alone and imports none of them; the installed robench's
own requirements hold the versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires

__all__ = ["PARQUET_READER", "REQUIRED", "requirements"]

REQUIRED = ("numpy", "pandas", "typer", "rich", "filelock")
"""Distributions that robench imports; their own requirements follow from them."""

PARQUET_READER = "fastparquet>=2024.11"
"""Reader of per-image records, for paired tests. It is much smaller than pyarrow."""


def requirements() -> list[str]:
    """Return the lines of a requirements file: `REQUIRED` in order with versions, then `PARQUET_READER`."""
    lines = (line for line in requires("robench") or () if ";" not in line)
    versions = {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in lines}
    return [*(versions[name] for name in REQUIRED), PARQUET_READER]


def main(arguments: list[str]) -> int:
    """Print the requirements, or with `--install` let pip install them for this interpreter, and return the exit code."""
    if arguments not in ([], ["--install"]):
        print("error: the only option is --install", file=sys.stderr)  # noqa: T201
        return 2
    if arguments:
        command = [sys.executable, "-m", "pip", "install", "--no-compile", "--no-warn-conflicts", *requirements()]
        return subprocess.run(command, check=False).returncode
    print("\n".join(requirements()))  # noqa: T201 - the module's output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
