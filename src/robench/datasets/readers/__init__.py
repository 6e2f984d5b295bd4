"""Readers of dataset layouts, one file a layout; `robench.datasets.READERS` lists them."""
