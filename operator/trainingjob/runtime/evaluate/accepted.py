"""``accepted/metrics.json``: the last model of this name that passed all gates.

It outlives the job: the next one of the name may have gates that compare with it.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, ValidationError

from trainingjob.api import gates
from trainingjob.api.base import Model
from trainingjob.api.payload import Baseline, EvaluatePayload

from ..base.errors import StageFailure, storage_errors
from ..storage import fetch, resolve, write_file
from .report import METRICS, MetricsFile


class AcceptedModel(Model):
    """The file's content."""

    version: Literal[1] = 1
    uid: str = Field(description="Of the job that made it.")
    metrics: dict[str, float] = Field(description="All that were computed.")
    baseline: Baseline | None = Field(None, description="What it was compared with itself.")
    dataset_digest: str
    model_digest: str


def baseline_of(payload: EvaluatePayload) -> Baseline | None:
    """What the gates compare with; None when they do not, or when no model was accepted yet.

    Raises StageFailure: BaselineInvalid, and those of the storage.
    """
    compared = gates.compared(payload.gates)
    if payload.accepted is None or not compared:
        return None
    record = _read(f"{payload.accepted}/{METRICS}")
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
        write_file(resolve(payload.accepted) / METRICS, text + "\n")


def _read(uri: str) -> AcceptedModel | None:
    with storage_errors("read the record of the last accepted model"):
        try:
            text = fetch(uri).read_bytes()
        except FileNotFoundError:
            return None
    try:
        return AcceptedModel.model_validate_json(text)
    except ValidationError as error:
        raise StageFailure(
            "BaselineInvalid",
            f"{uri}, the record of the last accepted model, is damaged or of another version",
        ) from error
