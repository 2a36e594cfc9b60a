"""The cache: a stage whose inputs are those of an earlier run is restored, not computed.

``<storage>/<namespace>/.cache/<stage>/<key>.json`` records where the artefact of an earlier run
lies, and its result. The key counts all that the outcome depends on (``key.py``, ``inputs.py``),
and the artefact is trusted only once its content is as recorded (``artefact.py``). What goes wrong
with the cache is written to the log, and the stage computed.
"""

from __future__ import annotations

from collections.abc import Callable

from trainingjob.api.payload import StageResult

from ..base.errors import StageFailure
from ..base.log import log
from . import artefact, record
from .inputs import Inputs, inputs_of_preprocess, inputs_of_train
from .key import Cacheable, key_of, packages

__all__ = ["Entry", "entry_of", "inputs_of_preprocess", "inputs_of_train", "through"]


def through(
    payload: Cacheable, read: Callable[[], Inputs], make: Callable[[], StageResult]
) -> StageResult:
    """The stage's result: restored, or made and kept. Raises what ``make`` raises."""
    entry = entry_of(payload, read)
    result = entry.restore() if entry is not None else None
    if result is None:
        result = make()
        if entry is not None:
            entry.keep(result)
    return result


def entry_of(payload: Cacheable, read: Callable[[], Inputs]) -> Entry | None:
    """The stage's place in the cache; None when its inputs cannot be read: the stage will tell."""
    try:
        return Entry(payload, read())
    except (StageFailure, OSError) as error:
        _log("not used", error)
        return None


class Entry:
    """One key. Its methods raise nothing that is the cache's own."""

    def __init__(self, payload: Cacheable, inputs: Inputs) -> None:
        if payload.cache is None:
            raise ValueError("the stage is not to be cached")
        self._payload, self._inputs = payload, inputs
        self.key = key_of(payload, inputs.digests, packages())
        self.uri = f"{payload.cache.records}/{self.key}.json"

    def known(self) -> bool:
        """Whether there is a record; its artefact may be gone."""
        try:
            return record.read(self.uri, self.key) is not None
        except (StageFailure, OSError, ValueError):
            return False

    def restore(self) -> StageResult | None:
        """The recorded result, once its artefact is in the stage's own place; None when there is
        none that can be trusted."""
        try:
            result = record.read(self.uri, self.key)
            if result is None:
                log(f"cache: no result is known yet under {self.key}")
                return None
            mine = artefact.restore(self._payload, result)
        except (StageFailure, OSError, ValueError) as error:
            _log(f"{self.key} is not restored", error)
            return None
        log(f"cache: restored {result.outputs.uri}")
        return mine

    def keep(self, result: StageResult) -> None:
        """Record the result, unless what it was made of has changed meanwhile."""
        if not self._inputs.unchanged():
            log("cache: the result is not kept: the input has changed meanwhile")
            return
        try:
            record.write(self.uri, self.key, result)
        except (StageFailure, OSError) as error:
            _log("the result is not kept", error)


def _log(what: str, why: Exception) -> None:
    log(f"cache: {what}: {' '.join(str(why).split())}")
