"""`python -m robench`: the command line."""

from __future__ import annotations

from robench.cli import main

main()
