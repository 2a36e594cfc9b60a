"""The last accepted model: what the gates compare with, and when there is a new one.

Its record outlives the job: the next one of the name may have gates that compare with it.
"""

from __future__ import annotations

import json

from trainingjob.api import gates
from trainingjob.api.payload import Baseline, EvaluatePayload

from ..base.errors import storage_errors
from ..model.accepted import RECORD, AcceptedModel, read
from ..storage import resolve, write_file
from .report import MetricsFile


def baseline_of(payload: EvaluatePayload) -> Baseline | None:
    """What the gates compare with; None when they do not, or when no model was accepted yet.

    Raises StageFailure: BaselineInvalid, and those of the storage.
    """
    compared = gates.compared(payload.gates)
    if payload.accepted is None or not compared:
        return None
    record = read(payload.accepted)
    if record is None:
        return None
    if record.uid == payload.job.uid:
        # We have been here, and nobody heard of it: the verdict is that of the first time.
        return record.baseline
    known = {name: record.metrics[name] for name in compared if name in record.metrics}
    return Baseline(metrics=known, dataset_digest=record.dataset_digest)


def keep_if_accepted(
    payload: EvaluatePayload, report: MetricsFile, baseline: Baseline | None
) -> None:
    """Put the model on record if all gates passed. Raises StageFailure of the storage."""
    if payload.accepted is None:
        return
    judged = gates.judge(report.metrics, payload.gates, baseline.metrics if baseline else {})
    if not gates.accepts(judged):
        return
    record = AcceptedModel(
        uid=payload.job.uid,
        metrics=report.metrics,
        baseline=baseline,
        dataset_digest=report.dataset_digest,
        model_digest=report.model_digest,
    )
    text = json.dumps(record.to_dict(), indent=1, ensure_ascii=False)
    with storage_errors("write the record of the accepted model"):
        write_file(resolve(payload.accepted) / RECORD, text + "\n")
