"""What goes wrong with a node."""


class NodeError(RuntimeError):
    """Something is missing or has failed; the message says what, and what to do about it."""
