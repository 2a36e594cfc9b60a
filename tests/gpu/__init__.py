"""What only a GPU can show, in a few minutes: ``python -m tests.gpu``."""
