"""The run directory on disk: tables, progress, status."""
