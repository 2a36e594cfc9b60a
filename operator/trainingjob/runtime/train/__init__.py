"""The train stage: a gang of processes, over the nodes, that learns from a prepared dataset.

``launcher`` runs once a node, without torch, and starts the node's processes: ``worker`` for
built-in models, else the user's own code.
"""

from .launcher import run

__all__ = ["run"]
