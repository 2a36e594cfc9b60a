"""A language model's dataset: texts to rows of tokens of one length."""
