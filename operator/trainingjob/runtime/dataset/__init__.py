"""A prepared dataset: its manifest, whether it fits the task, and its rows."""
