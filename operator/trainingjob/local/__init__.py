"""``trainingjob run``: the core's second backend, where pods are processes of this machine.

A tiny kubelet keeps records that read like v1 Pods, so that the core sees what it sees in a
cluster. State lies on disk: a run that was stopped goes on where it was.
"""
