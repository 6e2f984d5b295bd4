"""The decode cache: images are decoded once per dataset and geometry."""
