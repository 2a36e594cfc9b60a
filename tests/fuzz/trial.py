"""One input in bounds: what a reader may take of memory and time, however odd the input is."""

from __future__ import annotations

import faulthandler
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .targets import Target

# Beyond what the process has: no good input here takes a tenth of it.
MOST_BYTES = 2 * 2**30
# Ours take milliseconds; the machine may be busy.
MOST_SECONDS = 20.0


def tried(target: Target, data: bytes) -> None:
    """Raises what is a finding."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, _bounded():
        try:
            target.run(data, Path(folder))
        except target.words as words:
            assert str(words).strip(), "refused without a word"


@contextmanager
def _bounded() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))
    # What never comes back ends the process, with where it stands.
    faulthandler.dump_traceback_later(3 * MOST_SECONDS, exit=True)
    began = time.monotonic()
    try:
        yield
        took = time.monotonic() - began
        assert took < MOST_SECONDS, f"took {took:.0f} s"
    finally:
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
