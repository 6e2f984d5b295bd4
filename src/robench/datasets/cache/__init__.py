"""The decode cache: each image is decoded once for each geometry."""
