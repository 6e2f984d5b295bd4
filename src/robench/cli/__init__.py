"""The command line: one file for each verb."""

from __future__ import annotations

from robench.cli.entry import app, main

__all__ = ["app", "main"]
