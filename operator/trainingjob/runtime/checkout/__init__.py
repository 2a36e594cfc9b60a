"""The container that fetches own code from git: it alone has the credentials, and ends before the
stage's own container, which finds the files, begins."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

from trainingjob.api.payload import CODE_FILES, GIT_CA, GIT_PASSWORD, GIT_USERNAME, CheckoutPayload

from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.text import size_in_words
from ..storage.code import NOTES, TREE
from . import tree
from .repository import Source, fetch

# Beside what the process has taken already: an object of the repository is in memory as a whole.
_MEMORY = 2**30
# Of the processor, and until the server has sent all.
_SECONDS, _FETCH_SECONDS = 120.0, 300.0


def run(payload: CheckoutPayload) -> None:
    """Leave the commit's files in $TRAININGJOB_CODE_FILES. Raises StageFailure: RepositoryInvalid,
    RepositoryUnreachable, ScriptMissing, ScriptInvalid, StorageFailed, DiskFull."""
    git, target = payload.git, Path(os.environ[CODE_FILES])
    _bound(git.url)
    source = Source(
        git.url,
        git.commit,
        os.environ.get(GIT_USERNAME, ""),
        os.environ.get(GIT_PASSWORD, ""),
        os.environ.get(GIT_CA, ""),
    )
    try:
        with storage_errors("fetch the code"), tempfile.TemporaryDirectory() as folder:
            objects = fetch(source, Path(folder))
            signal.setitimer(signal.ITIMER_REAL, 0)
            # A kubelet may start it once more in the same pod.
            shutil.rmtree(target / TREE, ignore_errors=True)
            (target / TREE).mkdir()
            written = tree.write(objects, git, target / TREE)
            objects.close()
            (target / NOTES).write_text("\n".join(written.notes), encoding="utf-8")
    except MemoryError:
        raise _large(git.url, f"more than {_MEMORY >> 20} MiB of memory") from None
    log(f"{written.files} files ({size_in_words(written.size)}) of {git.url} at {git.commit}")


def _bound(url: str) -> None:
    """What others have packed takes no more of this machine than that."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, taken + _MEMORY))

    def late(*_: object) -> NoReturn:
        raise _large(url, f"more than {_SECONDS:.0f} s")

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)

    def slow(*_: object) -> NoReturn:
        words = f"cannot fetch {url}: it has not sent all within {_FETCH_SECONDS:.0f} s"
        raise StageFailure("RepositoryUnreachable", words)

    signal.signal(signal.SIGALRM, slow)
    signal.setitimer(signal.ITIMER_REAL, _FETCH_SECONDS)


def _large(url: str, what: str) -> StageFailure:
    words = f"the commit takes {what} to unpack ({url})"
    return StageFailure("RepositoryInvalid", f"{words}: keep large files elsewhere")
