"""What node 0 tells the other nodes of a gang in an attempt, by a file on the storage.

The gang has no connection yet, or none any more: its code makes its own. Where node 0 fails instead
of telling, the gang is ended.
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from trainingjob.api.base import Model
from trainingjob.api.payload import TrainPayload
from trainingjob.api.uris import is_remote

from ..base.errors import storage_errors
from ..storage import read as read_file
from ..storage import resolve, write_file

# A look at a mounted file is cheap, one at a store is a request of every node.
_LOOK_SECONDS, _LOOK_SECONDS_REMOTE = 0.1, 0.5


class Word(Model):
    """In one attempt of one run."""

    uid: str
    attempt: int


W = TypeVar("W", bound=Word)


def tell(uri: str, word: Word) -> None:
    """Raises StageFailure of the storage."""
    with storage_errors("tell the gang of its progress"):
        write_file(resolve(uri), json.dumps(word.to_dict()) + "\n")


def read(uri: str, kind: type[W]) -> W | None:
    """The word of any attempt and run; None without one."""
    try:
        return kind.model_validate_json(read_file(uri))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def wait(uri: str, kind: type[W], payload: TrainPayload) -> W:
    """The word of this attempt, once it is told."""
    while True:
        word = read(uri, kind)
        if word is not None and (word.uid, word.attempt) == (payload.job.uid, payload.attempt):
            return word
        if is_remote(uri):
            time.sleep(_LOOK_SECONDS_REMOTE)
        else:
            time.sleep(_LOOK_SECONDS)
            _look_anew(resolve(uri).parent)


def _look_anew(folder: Path) -> None:
    """A client of NFS believes for half a minute that a file is not there, unless it learns that
    the folder has changed: by a change of its own (nfs(5), "Directory entry caching")."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
