"""What is wrong with what the user gave us.

CliError
├── UsageError     arguments, or the objects in a file
└── ManifestError  a file that cannot be read as manifests
"""

from __future__ import annotations


class CliError(Exception):
    """The message is one line, or several faults of a line each."""


class UsageError(CliError):
    """Nothing was done; arguments or manifest have to change."""


class ManifestError(CliError):
    """The message begins with ``FILE:LINE:``, as far as known."""


def last_words(log: str) -> str:
    """What a process that runs a model has said at its end."""
    lines = log.strip().splitlines() or ["the model could not be run"]
    if (missing := lines[-1]).startswith("ModuleNotFoundError: "):
        what = missing.removeprefix("ModuleNotFoundError: ")
        return f"{what}; trainingjob-operator[local] brings what models need"
    return lines[-1]
