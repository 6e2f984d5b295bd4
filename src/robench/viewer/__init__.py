"""A local page that browses the samples of runs, and the same page as static files."""
