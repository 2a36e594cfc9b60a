"""An operator as a process of its own that starts in a moment: forked from one that has imported
all there is. It can be killed as any other, and is then as dead."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "trainingjob.controller.operator"])


class Process:
    """``arguments`` of ``trainingjob-operator``; ``times``: settings.Options beside them."""

    def __init__(self, arguments: Sequence[str], times: Mapping[str, float], log: Path) -> None:
        self._process = _CONTEXT.Process(
            target=_serve, args=([*arguments], dict(times), str(log)), daemon=True
        )
        self._process.start()

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL: no line of it runs after this."""
        self._process.kill()

    def end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def bury(self) -> None:
        """Wait until it is gone."""
        self._process.join(30)
        self._process.close()


def _serve(arguments: list[str], times: dict[str, float], log: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    from trainingjob.controller import main, settings

    parse = settings.parse
    settings.parse = lambda _=None: replace(parse(arguments), **times)
    sys.argv = ["trainingjob-operator", *arguments]
    main.main()
