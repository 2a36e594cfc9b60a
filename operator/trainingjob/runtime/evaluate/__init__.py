"""The evaluate stage: the model's metrics on the test split."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from trainingjob.api.payload import EvaluatePayload, StageResult
from trainingjob.api.v1alpha1.status import MetricValue, Outputs

from ..base.digest import digest_of_folder, sha256
from ..base.errors import StageFailure, storage_errors
from ..base.progress import Reporter
from ..dataset import suitable
from ..dataset.manifest import DatasetManifest
from ..dataset.rows import Rows
from ..model.check import require
from ..model.folder import Kind
from ..storage import fetch, resolve, write_aside
from . import accepted, sources
from .classification import Classification
from .judgement import Batch, Judge, Judgement
from .regression import Regression
from .report import ClassScores, MetricsFile
from .scores import ScoreFile

# Numbers kept for a roc_auc that nobody asked for: 2 GiB on disk, a minute of sorting.
_UNASKED_SCORES = 2**28


def run(payload: EvaluatePayload) -> StageResult:
    """Judge the model, write ``metrics.json`` and, if all gates pass, the accepted model's record.

    Raises StageFailure: DatasetInvalid, SplitEmpty, ModelMissing, ModelCorrupt,
    PredictionsInvalid, FeatureNotNumeric, FeatureHasNulls, MetricUndefined, BaselineInvalid.
    """
    if payload.task.type == "languageModel":
        from . import language

        return language.run(payload)
    folder = fetch(payload.dataset)
    manifest = DatasetManifest.read(folder)
    # It may have been prepared by another job.
    suitable.check(manifest, payload.task, folder)
    suitable.check_rows(manifest, "test", folder)
    split = Rows(folder, manifest, "test", suitable.features(manifest, payload.task))
    positive = suitable.positive(manifest, payload.task, payload.metrics, payload.threshold)
    baseline = accepted.baseline_of(payload)
    model = fetch(payload.model_uri)
    kind = require(model)
    with storage_errors("read the model"):
        model_digest = digest_of_folder(model)
    with storage_errors("evaluate the model"):
        judgement = _judge(sources.predict(kind, model, split), split, payload, positive)
    for name in payload.metrics:
        if name not in judgement.metrics:
            why = judgement.undefined.get(name, f"it is no metric of {payload.task.type}")
            raise StageFailure("MetricUndefined", f"{name} is undefined: {why}")
    report = _report(payload, split, judgement, kind, model_digest, positive)
    output = resolve(payload.output)
    with storage_errors("write the metrics"), write_aside(output) as aside:
        digest = sha256(report.write(aside))
    accepted.keep_if_accepted(payload, report, baseline)
    return StageResult(
        outputs=Outputs(uri=payload.output, digest=digest),
        metrics=[MetricValue(name=name, value=judgement.metrics[name]) for name in payload.metrics],
        samples=split.count,
        dataset_digest=report.dataset_digest,
        model_digest=model_digest,
        baseline=baseline,
    )


def _judge(
    batches: Iterable[Batch], split: Rows, payload: EvaluatePayload, positive: int | None
) -> Judgement:
    """Run through the batches; memory: a batch, and 8 bytes a row for roc_auc and
    average_precision."""
    reporter = Reporter()
    done = 0
    with ExitStack() as stack:
        stack.callback(reporter.close)
        judge = _make_judge(stack, split, payload, positive)
        for batch in batches:
            judge.add(batch)
            done += len(batch.truth)
            if reporter.due():
                reporter.report(done / split.count)
        return judge.judge()


def _make_judge(
    stack: ExitStack, split: Rows, payload: EvaluatePayload, positive: int | None
) -> Judge:
    classes = split.classes
    if classes is None:
        return Regression()
    score_file = None
    columns = len(classes) if positive is None else 1
    asked = {"roc_auc", "average_precision"} & set(payload.metrics)
    if asked or split.count * columns <= _UNASKED_SCORES:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        score_file = stack.enter_context(ScoreFile(Path(scratch) / "scores", columns))
    return Classification(classes, score_file, positive, payload.threshold)


def _report(
    payload: EvaluatePayload,
    split: Rows,
    judgement: Judgement,
    kind: Kind,
    model_digest: str,
    positive: int | None,
) -> MetricsFile:
    manifest = split.manifest
    per_class = None
    if judgement.per_class is not None:
        per_class = [
            ClassScores(
                label=label,
                precision=row["precision"],
                recall=row["recall"],
                f1=row["f1"],
                support=int(row["support"] or 0),
            )
            for label, row in zip(manifest.classes or (), judgement.per_class, strict=True)
        ]
    matrix = judgement.confusion
    return MetricsFile(
        task=manifest.task,
        samples=split.count,
        metrics=judgement.metrics,
        undefined=judgement.undefined,
        classes=manifest.classes,
        positive_class=None if positive is None else (manifest.classes or [])[positive],
        threshold=payload.threshold,
        confusion_matrix=None if matrix is None else matrix.tolist(),
        per_class=per_class,
        source=kind,
        model_uri=payload.model_uri,
        model_digest=model_digest,
        dataset_uri=payload.dataset,
        dataset_digest=manifest.digest,
    )
