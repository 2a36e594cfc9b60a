"""What people and pods try in order to get more than they have, made from tables.

``tests/integration/test_admission.py`` tries them on a real API server; ``python -m tests.probes``
prints what became of each.
"""
