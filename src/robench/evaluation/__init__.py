"""The evaluation of models, from options to a finished run."""
