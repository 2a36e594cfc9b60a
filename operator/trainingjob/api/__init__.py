"""The contracts: the resource, its status, and what the operator and its pods tell each other.

Imported by everything else; imports pydantic alone.
"""
