"""The model folder: what lies in one, and the built-in network."""
