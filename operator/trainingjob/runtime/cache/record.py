"""What the cache remembers of a stage: a small JSON file, written aside and renamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

from trainingjob.api.base import Model
from trainingjob.api.payload import StageResult

from ..base.digest import digest_of
from ..storage import read as read_file
from ..storage import resolve, write_file


class Record(Model):
    """``<key>.json``. The result tells where the artefact lies, and its digest."""

    version: Literal[1] = 1
    key: str
    result: StageResult
    digest: str = ""

    @property
    def whole(self) -> str:
        """Digest of the rest."""
        return digest_of(self.model_copy(update={"digest": ""}).to_dict())


def read(uri: str, key: str | Callable[[str], bool]) -> StageResult | None:
    """The result that is recorded under the ``key``, or under one that fits; None when there is no
    record, or none that fits. Raises OSError, StageFailure, and ValueError for what is not such a
    record."""
    try:
        found = Record.model_validate_json(read_file(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{uri} is no record") from error
    if found.digest != found.whole or (isinstance(key, str) and found.key != key):
        raise ValueError(f"{uri} is not as it was written")
    return found.result if isinstance(key, str) or key(found.key) else None


def write(uri: str, key: str, result: StageResult) -> None:
    """Record it. Raises OSError, StageFailure."""
    new = Record(key=key, result=result)
    new = new.model_copy(update={"digest": new.whole})
    write_file(resolve(uri), json.dumps(new.to_dict(), indent=1) + "\n")
