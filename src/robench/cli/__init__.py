"""The command line: one file a verb, no logic. `main` turns errors into exit codes: 0 ok, 2 the user's mistake, 3 internal,
130 interrupted."""

from __future__ import annotations

from robench.cli.entry import app, main

__all__ = ["app", "main"]
