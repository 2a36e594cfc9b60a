"""A server of an accepted model: raw columns in, what evaluation would have judged out.

served.py    the model with its pipeline, and the proof that they give what was judged
protocol.py  requests and answers of the Open Inference Protocol, version 2
batches.py   requests that wait are answered together
app.py       HTTP
page.py      the model's card
process.py   from the start to the end of the process
"""

from __future__ import annotations

from trainingjob.api.payload import ServePayload


def run(payload: ServePayload) -> None:
    """Serve until SIGTERM or SIGINT, and answer what was accepted before.

    Raises StageFailure: ModelMissing, ModelCorrupt, SelfTestFailed, SettingUnsuitable for a port
    that is taken, and those of the storage."""
    from .process import serve

    serve(payload)
