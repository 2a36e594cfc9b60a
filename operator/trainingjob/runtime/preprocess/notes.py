"""What the stage finds worth telling: warnings for status, and lines for the pod's log."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainingjob.api.v1alpha1.reasons import WARNINGS
from trainingjob.api.v1alpha1.reported import StageWarning

from ..base.log import log
from ..base.text import cut
from .names import printable

_MESSAGE_CHARS = 512


@dataclass
class Notes:
    """Of one run; warnings in the order in which they were found, and the input's rows, where
    reading has counted them. ``about`` begins the lines of the log."""

    rows: int | None = None
    warnings: list[StageWarning] = field(default_factory=list)
    about: str = ""
    names_below: str = ""  # where the names of the input's columns may stand instead

    def warn(self, reason: str, message: str) -> None:
        """Warn; ``reason`` is one of ``WARNINGS``."""
        self.add(StageWarning(reason=reason, message=cut(printable(message), _MESSAGE_CHARS)))

    def add(self, warning: StageWarning) -> None:
        """The same of a warning that is made."""
        if warning.reason not in WARNINGS:
            raise KeyError(f"{warning.reason} is not in WARNINGS")
        self.log(f"warning: {warning.message}")
        self.warnings.append(warning)

    def log(self, line: str) -> None:
        """Write a line to the pod's log."""
        log(printable(self.about + line))
