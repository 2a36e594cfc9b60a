"""Training that may be restored from the cache. Node 0 decides for the gang.

A gang of which some train and others do not would wait for ever, and only one node may write where
all do. So the others, when there is something that could be restored, wait for node 0's word.
"""

from __future__ import annotations

from collections.abc import Callable

from trainingjob.api.payload import CacheRef, StageResult, TrainPayload

from .. import cache
from ..base.log import log
from . import user_code, word


class Decision(word.Word):
    """Whether node 0 has restored the model."""

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
            if word.wait(ref.decision, Decision, payload).restored:
                return None
        return train()
    if payload.model is None and not user_code.begins_anew(payload):
        log("cache: not used: the code goes on from a checkpoint")
        entry = None
    result = entry.restore() if entry is not None else None
    if ref.decision is not None:
        decided = Decision(
            uid=payload.job.uid, attempt=payload.attempt, restored=result is not None
        )
        word.tell(ref.decision, decided)
    if result is None:
        result = train()
        if entry is not None and result is not None:
            entry.keep(result)
    return result
