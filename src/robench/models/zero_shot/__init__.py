"""Zero-shot classifiers: names of classes in prompts, encoded by the text tower of a vision-language model."""
