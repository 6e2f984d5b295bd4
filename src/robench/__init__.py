"""Robustness benchmarks for image classifiers."""
