"""Readers of dataset layouts, one module for each; `robench.datasets.READERS` lists them."""
