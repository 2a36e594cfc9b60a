"""Results that are held, so that none is lost with the pod that had it.

The operator reads a result from its pod. When that goes unread, with its node or while no operator
runs, the next attempt of the same run finds the record that the stage left beside its artefact, and
reports the result again. So does the first attempt of a job whose status was erased. Evaluations
leave none: they cost little, and the code that they judge can write where the record would be.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from trainingjob.api.payload import PreprocessPayload, StageResult, TrainPayload

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure
from ..base.log import log
from ..dataset.manifest import ROWS, DatasetManifest
from ..storage import fetch
from . import record
from .key import Cacheable


def through(payload: object, run: Callable[[], StageResult | None]) -> StageResult | None:
    """The result of an attempt before this one, if its artefact is there and as it was; else what
    ``run`` returns, which is held. Raises what ``run`` raises."""
    if not isinstance(payload, PreprocessPayload | TrainPayload) or not _first():
        return run()
    result = _found(payload)
    if result is not None:
        log(f"an attempt before this one has made {result.outputs.uri}; its result counts")
        return result
    result = run()
    if result is not None:
        _hold(payload, result)
    return result


def place(payload: Cacheable) -> str:
    """URI of the record, in the job's folder."""
    return f"{_output(payload).rpartition('/')[0]}/.results/{payload.stage}.json"


def _first() -> bool:
    """Whether this pod is the one of its gang that reports the result."""
    return os.environ.get("NODE_RANK", "0") == "0"


def _output(payload: Cacheable) -> str:
    return payload.output if isinstance(payload, PreprocessPayload) else payload.model_uri


def _found(payload: Cacheable) -> StageResult | None:
    try:
        result = record.read(place(payload), lambda uid: _same_run(uid, payload.job.uid))
        if result is None or result.outputs.uri != _output(payload):
            return None
        return result if _digest(payload) == result.outputs.digest else None
    except (StageFailure, OSError, ValueError) as error:
        log(f"no result of an attempt before this one is used: {' '.join(str(error).split())}")
        return None


def _same_run(theirs: str, ours: str) -> bool:
    """A job that was run again has a number behind its uid, unless its status was lost since."""
    return theirs == ours or theirs.startswith(f"{ours}-")


def _digest(payload: Cacheable) -> str:
    """Of what lies in the stage's place. Of a dataset, the files are there and of their sizes."""
    if isinstance(payload, PreprocessPayload):
        return DatasetManifest.read(fetch(payload.output, but=ROWS)).digest
    return digest_of_folder(fetch(payload.model_uri))


def _hold(payload: Cacheable, result: StageResult) -> None:
    try:
        record.write(place(payload), payload.job.uid, result)
    except (StageFailure, OSError) as error:
        log(f"the result is not held: {' '.join(str(error).split())}")
