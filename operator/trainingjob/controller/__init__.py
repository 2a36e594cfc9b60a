"""The operator: kopf's events into a queue, and one reconcile that the core decides."""
