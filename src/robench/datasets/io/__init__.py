"""Safe reading of files from unknown sources: bounded images, arrays, pickles, tar archives."""
