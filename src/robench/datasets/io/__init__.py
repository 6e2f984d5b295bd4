"""Safe reading of files from unknown sources."""
