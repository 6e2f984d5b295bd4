"""Heads that robench puts on a backbone: nearest neighbours, a linear probe, or the weights of a file."""
