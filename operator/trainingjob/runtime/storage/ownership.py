"""Whose checkpoints a folder holds: jobs of the same name follow each other.

A file ``.job`` in the folder names the uid. A folder without one may be the user's own work, put
there to start from: it is used, and nothing is removed; ``.given`` then names what was there.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..base.log import log
from ..base.within import content
from . import entries, remove, store, write_file

MARKER = ".job"
GIVEN = ".given"
_MOST_BYTES = 1024


def is_ours(folder: Path, uid: str) -> bool:
    """Whether the job ``uid`` may go on from what lies in ``folder``."""
    try:
        return content(folder / MARKER, _MOST_BYTES) == uid.encode()
    except FileNotFoundError:
        return True
    except ValueError:
        return False


def claim(folder: Path, uid: str) -> None:
    """Make it this job's; what is another job's is removed. Raises OSError, StageFailure."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER
    if not is_ours(folder, uid):
        log(f"removing the checkpoints of an earlier run of this name in {folder}")
        for entry in folder.iterdir():
            if entry.name == MARKER:
                continue  # last: until all is gone it is not ours
            remove(entry)
    elif not marker.exists() and (given := entries(folder)):
        write_file(folder / GIVEN, json.dumps([name.rstrip("/") for name in given]))
    if not marker.exists() or not is_ours(folder, uid):
        marker.write_text(uid, encoding="utf-8")
        store(marker)
