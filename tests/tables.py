"""Situations side by side: how soon status told each, and in which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainingjob.api.v1alpha1 import REASONS

# What status says while nothing is wrong.
STATES = {
    "Starting",
    "Running",
    "RollingOut",
    "Restarting",
    "Resized",
    "Suspended",
    "Deleting",
    "Rerun",
    "Completed",
}
rows: list[str] = []
# Tables of other things, with their headings.
others: list[str] = []


def tell(what: str, seconds: float, status: Mapping[str, Any]) -> None:
    """A row of the table that is printed when all tests have run. None is without a reason."""
    phase, reason, message = status["phase"], status["reason"], status["message"]
    assert reason in REASONS or reason in STATES, f"{what}: {phase}/{reason}: {message}"
    rows.append(f"{what:50} {seconds:5.1f}  {f'{phase}/{reason}: {message}'[:150]}")


def table() -> Sequence[str]:
    """Its lines; none when nothing was told."""
    situations = [f"{'situation':50} {'s':>5}  phase/reason: message", *rows] if rows else []
    return [*situations, *others]


def add(what: str, found: str, lines: Sequence[str]) -> None:
    """A table of another kind."""
    if lines:
        others.extend(["", f"{what:52} {found}", *lines])
