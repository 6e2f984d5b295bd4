"""Transforms from images to images: corruptions, perturbations, resizing, filters and keyed random draws."""
