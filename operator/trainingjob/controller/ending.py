"""The end of the process: asked for once it is orderly, asked for twice at once, and in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """SIGTERM and SIGINT, from ``listen`` on.

    Python's own handlers and not the event loop's: they work while it is blocked, or is not there
    yet, and the first process of a container does not die of a signal that it has no handler for.
    """

    def __init__(self) -> None:
        self.asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._seconds, self._code = 0.0, 0
        self._deadline: threading.Timer | None = None

    def listen(self) -> None:
        """From now on a signal ends the process; at once, as long as it does nothing yet."""
        for number in _SIGNALS:
            signal.signal(number, self._signalled)

    def orderly(self, event: asyncio.Event, seconds: float) -> None:
        """From now on the first signal sets the event of this loop, and the process ends within
        so many seconds of it, whatever it hangs in."""
        self._seconds = seconds
        self._loop, self._event = asyncio.get_running_loop(), event

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is done in here, as by kopf, the signals stay ours, and none is lost."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            for number in _SIGNALS:
                if self._loop is not None:
                    self._loop.remove_signal_handler(number)
            self.listen()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def begin(self, code: int) -> None:
        """The end begins: the process is gone within the seconds of ``orderly``."""
        if self._deadline is None:
            self._code = code
            self._deadline = threading.Timer(self._seconds, self._late)
            self._deadline.daemon = True
            self._deadline.start()

    def now(self) -> NoReturn:
        """The end, without a look at what else runs."""
        os._exit(self._code)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self._loop is None or self._event is None or self.asked:
            self.now()
        self.asked = True
        self.begin(0)
        # Closed: the loop has done its part, and what follows takes no time.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    def _late(self) -> None:
        # Whoever hangs may do so while it holds the log.
        words = "did not end within %.0f s: ends now, whatever it was about"
        told = threading.Thread(target=logger.error, args=(words, self._seconds), daemon=True)
        told.start()
        told.join(1.0)
        self.now()
