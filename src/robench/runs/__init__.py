"""Runs on disk: the table schema, the run directory, progress and status. Torch-free."""
