"""How a rank is asked to stop."""

from __future__ import annotations

import signal


class StopRequest:
    """SIGTERM, from now on, asks for a checkpoint. Until now it ends the process at once: there
    is nothing to save, and the others may not have come yet."""

    def __init__(self) -> None:
        self._requested = False
        signal.signal(signal.SIGTERM, self._note)

    def requested(self) -> bool:
        """Whether SIGTERM has come."""
        return self._requested

    def _note(self, *_: object) -> None:
        self._requested = True
