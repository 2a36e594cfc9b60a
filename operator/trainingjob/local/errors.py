"""What can go wrong around a local run, told in one line.

LocalError        something on this machine is in the way
└── Refused       the request itself is: another run, another spec, an unknown claim
"""

from __future__ import annotations


class LocalError(Exception):
    """The message says what happened, to whom, and what to do."""


class Refused(LocalError):
    """Nothing was done; the request has to change."""
