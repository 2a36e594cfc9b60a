"""The processes of a stage that work together, over one pod or several: started by a launcher on
each node, which watches and ends them, and connected by torch.distributed.

``place``, ``node``, ``processes``, ``reports``, ``blame`` and ``ranks`` need no torch.
"""
