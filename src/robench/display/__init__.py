"""Consoles, progress and tables that a person sees in a terminal or a notebook."""
