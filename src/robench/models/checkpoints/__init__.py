"""Weights in files: safe reading, state dicts, sharded files, fitting them to a network."""
