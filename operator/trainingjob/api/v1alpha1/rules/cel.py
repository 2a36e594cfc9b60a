"""What several rules say in CEL, where `self` is the spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...base import Rule
from ..code import OWN

SPLIT = "self.preprocess.split"
# As Task.label has it.
LABEL = (
    "(has(self.task.label) ? self.task.label : has(self.task.text) ? self.task.text : "
    "has(self.task.messages) ? self.task.messages : '')"
)
PRETRAINED = "(has(self.train.model) && has(self.train.model.pretrained))"
OWN_JUDGE = OWN.replace("self.", "self.evaluate.")


def trained(
    *,
    cel: str | None,
    message: str,
    holds: Callable[[Any], bool],
    schema: dict[str, Any] | None = None,
    about: Callable[[Any], str] | None = None,
) -> Rule:
    """A rule about jobs that train: one that only deploys has neither train nor task."""
    return Rule(
        cel=cel and f"!has(self.train) || ({cel})",
        message=message,
        holds=lambda self: self.train is None or self.task is None or holds(self),
        schema=schema,
        about=about,
    )
