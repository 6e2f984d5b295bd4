"""Evaluation of a classifier on a dataset: options, plan, evaluator, engines and the run."""
