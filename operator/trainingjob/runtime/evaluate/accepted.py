"""The last accepted model: what the gates compare with, and when there is a new one.

Its record outlives the job: the next one of the name may have gates that compare with it.
"""

from __future__ import annotations

import json

from trainingjob.api import gates
from trainingjob.api.payload import Baseline, EvaluatePayload

from ..base.errors import StageFailure, storage_errors
from ..dataset.manifest import DatasetManifest
from ..model.accepted import KEPT, RECORD, AcceptedModel, read
from ..storage import resolve, write_file
from . import publication
from .report import MetricsFile


def baseline_of(payload: EvaluatePayload) -> Baseline | None:
    """What the gates compare with; None when they do not, or when no model was accepted yet.

    Raises StageFailure: BaselineInvalid, and those of the storage.
    """
    compared = gates.compared(payload.gates)
    if payload.accepted is None or not compared:
        return None
    record = read(payload.accepted)
    found = _on_record(record, payload.job.uid, compared) if record is not None else None
    return gates.held_to(found, payload.baseline)


def _on_record(record: AcceptedModel, uid: str, compared: list[str]) -> Baseline | None:
    if record.uid == uid:
        # We have been here, and nobody heard of it: the verdict is that of the first time.
        return record.baseline
    known = {name: record.metrics[name] for name in compared if name in record.metrics}
    return Baseline(metrics=known, dataset_digest=record.dataset_digest)


def keep_if_accepted(
    payload: EvaluatePayload,
    report: MetricsFile,
    baseline: Baseline | None,
    manifest: DatasetManifest | None,
) -> None:
    """If all gates passed, publish the model, then put it on record, then remove models that are
    not needed any more. Without a ``manifest``, of a dataset that is none of ours, there is nothing
    by which somebody could serve it, and it is not published. Raises StageFailure of the storage.

    Whoever dies on the way leaves the record of the model before, whose folder is still there."""
    if payload.accepted is None:
        return
    judged = gates.judge(report.metrics, payload.gates, baseline.metrics if baseline else {})
    if not gates.accepts(judged):
        return
    before = _recent(payload.accepted)
    published = [publication.publish(payload, report, manifest)] if manifest is not None else []
    recent = [*dict.fromkeys([*published, *(before or ())])][:KEPT]
    record = AcceptedModel(
        uid=payload.job.uid,
        metrics=report.metrics,
        baseline=baseline,
        dataset_digest=report.dataset_digest,
        model_digest=report.model_digest,
        recent=recent,
    )
    text = json.dumps(record.to_dict(), indent=1, ensure_ascii=False)
    with storage_errors("write the record of the accepted model"):
        write_file(resolve(payload.accepted) / RECORD, text + "\n")
    if before is not None:
        publication.sweep(payload, recent)


def _recent(folder: str) -> list[str] | None:
    """The models that were accepted last; None when the record does not say, and nothing that may
    be one of them is to be removed."""
    try:
        record = read(folder)
    except StageFailure as failure:
        if failure.reason != "BaselineInvalid":
            raise
        return None
    if record is None:
        return []
    return record.recent or []
