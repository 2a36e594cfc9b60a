"""A server of an accepted model: raw columns in, what evaluation would have judged out.

served.py    the model with its pipeline, and the proof that they give what was judged
protocol.py  requests and answers of the Open Inference Protocol, version 2
language.py  a language model, and its proof
completions.py   requests and answers of OpenAI's completions
turns.py     texts that are generated take turns
pieces.py    JSON of large requests, read so that others are answered meanwhile
batches.py   requests that wait are answered together
app.py       HTTP
page.py      the model's card
process.py   from the start to the end of the process
"""

from __future__ import annotations

from trainingjob.api.payload import ServePayload, StageResult
from trainingjob.api.v1alpha1.reported import Outputs

from ..base.log import log


def run(payload: ServePayload) -> StageResult | None:
    """Serve until SIGTERM or SIGINT, and answer what was accepted before; or only see whether the
    model proves itself, with a result.

    Raises StageFailure: ModelMissing, ModelCorrupt, SelfTestFailed, SettingUnsuitable for a port
    that is taken, and those of the storage."""
    from .process import proved, serve

    if not payload.prove_only:
        serve(payload)
        return None
    model, rows = proved(payload)
    digest = model.card.model_digest
    log(f"the model gives what was judged: {rows} rows of the evaluation have the same outputs")
    return StageResult(outputs=Outputs(uri=payload.model_uri, digest=digest))
