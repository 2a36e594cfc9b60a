"""Training that may be restored from the cache. Node 0 decides for the gang.

A gang of which some train and others do not would wait for ever, and only one node may write where
all do. So the others, when there is something that could be restored, wait for node 0's word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from trainingjob.api.base import Model
from trainingjob.api.payload import CacheRef, StageResult, TrainPayload

from .. import cache
from ..base.errors import storage_errors
from ..base.log import log
from ..storage import fetch, resolve, write_file
from . import user_code

_LOOK_SECONDS = 0.5


class Decision(Model):
    """Node 0's word, in one attempt of one run."""

    uid: str
    attempt: int
    restored: bool


def through(
    payload: TrainPayload,
    ref: CacheRef,
    node: int,
    train: Callable[[], StageResult | None],
) -> StageResult | None:
    """What ``train`` returns, or what the cache has instead; None where node 0 has restored the
    model. Raises what ``train`` raises, and StageFailure when the gang cannot be told."""
    entry = cache.entry_of(payload, lambda: cache.inputs_of_train(payload))
    if node > 0:
        if ref.decision is not None and entry is not None and entry.known():
            log("cache: there is a result; waiting for node 0 to restore it")
            if _wait(payload, ref.decision):
                return None
        return train()
    if payload.model is None and not user_code.begins_anew(payload):
        log("cache: not used: the code goes on from a checkpoint")
        entry = None
    result = entry.restore() if entry is not None else None
    if ref.decision is not None:
        _tell(payload, ref.decision, result is not None)
    if result is None:
        result = train()
        if entry is not None and result is not None:
            entry.keep(result)
    return result


def _tell(payload: TrainPayload, uri: str, restored: bool) -> None:
    word = Decision(uid=payload.job.uid, attempt=payload.attempt, restored=restored)
    with storage_errors("tell the gang what is in the cache"):
        write_file(resolve(uri), json.dumps(word.to_dict()) + "\n")


def _wait(payload: TrainPayload, uri: str) -> bool:
    """Whether node 0 has restored the model. It says so or fails, and then the gang is ended."""
    while True:
        try:
            word = Decision.model_validate_json(fetch(uri).read_bytes())
        except (FileNotFoundError, ValueError):
            word = None
        if word is not None and (word.uid, word.attempt) == (payload.job.uid, payload.attempt):
            return word.restored
        time.sleep(_LOOK_SECONDS)
