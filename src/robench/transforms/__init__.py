"""From pixels to pixels: corruptions, perturbations, resizing, filters and keyed random draws."""
