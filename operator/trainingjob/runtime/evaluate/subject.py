"""A model, and the rows that it is judged on: those of the job, or of a fold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from trainingjob.api.payload import EvaluatePayload

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..dataset import seal, suitable
from ..dataset.manifest import DatasetManifest, verify
from ..dataset.manifest import require as require_dataset
from ..dataset.rows import Rows
from ..model.check import require
from ..model.folder import Kind
from ..storage import resolve, shown
from . import sources
from .judgement import Batch, Judge, Judgement
from .regression import Regression
from .report import ClassScores, MetricsFile, Source
from .scores import ScoreFile

if TYPE_CHECKING:
    from ..gang.collectives import Gang

# Numbers kept for a roc_auc that nobody asked for: 2 GiB on disk, a minute of sorting.
_UNASKED_SCORES = 2**28


class Subject:
    """What lies below the payload's URIs, the model in the folder ``name``, the dataset in
    ``part``; "" for themselves.

    Raises StageFailure: DatasetInvalid, LabelInvalid, ColumnNotFound, NoFeatures, MetricUndefined,
    SettingUnsuitable, ModelMissing, KeyUnavailable."""

    def __init__(self, payload: EvaluatePayload, name: str = "", part: str = "") -> None:
        self._payload = payload
        self.dataset_uri = f"{payload.dataset}/{part}" if part else payload.dataset
        self.model_uri = f"{payload.model_uri}/{name}" if name else payload.model_uri
        folder, task = resolve(self.dataset_uri), payload.task
        self.manifest = DatasetManifest.read(folder)
        if not part:  # it has the digests of those of folds
            require_dataset(self.manifest, folder)
        # It may have been prepared by another job.
        suitable.check(self.manifest, task, folder)
        if not self.manifest.folds:
            suitable.check_rows(self.manifest, "test", folder)
        sealed = seal.of(self.manifest, shown(folder), wanted=bool(payload.sealed))
        names = suitable.features(self.manifest, task)
        self._split = Rows(folder, self.manifest, "test", names, sealed)
        self._positive = suitable.positive(self.manifest, task, payload.metrics, payload.threshold)

    def verify(self) -> None:
        """Raises StageFailure(DatasetInvalid) when the rows are not as the manifest says."""
        with storage_errors("read the test split"):
            verify(self.manifest, resolve(self.dataset_uri), "test")

    @property
    def rows(self) -> int:
        """How many rows it is judged on."""
        return self._split.count

    @property
    def split(self) -> Rows:
        """The rows."""
        return self._split

    def judged_by(self, batches: Iterable[Batch]) -> Judgement:
        """What comes of these predictions for all rows. Raises StageFailure, OSError."""
        with ExitStack() as stack:
            judge = self._judge(stack)
            for batch in batches:
                judge.add(batch)
            return judge.judge()

    def judged(self, told: Callable[[int], None], gang: Gang | None = None) -> MetricsFile:
        """What comes of it; memory: a batch, and 8 bytes a row for roc_auc and average_precision.
        Of a ``gang`` all ranks call it, and rank 0 gets all metrics.

        ``told`` how many rows are done. Raises StageFailure: ModelMissing, ModelCorrupt,
        PredictionsInvalid, FeatureNotNumeric, FeatureHasNulls."""
        kind = self._kind()
        report = self.report(kind)
        with storage_errors("evaluate the model"):
            return _filled(report, self._judgement(kind, told, gang))

    def _kind(self) -> Kind:
        """Raises StageFailure(ModelMissing)."""
        return require(resolve(self.model_uri), texts=self.manifest.tokens is not None)

    def report(self, kind: Source) -> MetricsFile:
        """What is known before: what is judged, of this ``kind``.
        Raises StageFailure(PredictionsInvalid)."""
        model, manifest = resolve(self.model_uri), self.manifest
        if kind == "predictions" and manifest.sealed is not None:
            raise StageFailure(
                "PredictionsInvalid",
                f"{shown(model)} has predictions of code that cannot know the test split, which is "
                "sealed: leave model.onnx or model.pt2, which evaluation runs",
            )
        with storage_errors("read the model"):
            digest = digest_of_folder(model)
        return MetricsFile(
            task=manifest.task,
            samples=self.rows,
            metrics={},
            undefined={},
            classes=manifest.classes,
            positive_class=(
                None if self._positive is None else (manifest.classes or [])[self._positive]
            ),
            threshold=self._payload.threshold,
            source=kind,
            model_uri=self.model_uri,
            model_digest=digest,
            dataset_uri=self.dataset_uri,
            dataset_digest=manifest.digest,
        )

    def _judgement(self, kind: Kind, told: Callable[[int], None], gang: Gang | None) -> Judgement:
        """By the judge of the task's family."""
        model = resolve(self.model_uri)
        if self.manifest.tokens is not None:
            from . import language  # it needs torch

            return language.judge(model, self._split, told, gang)

        def batches() -> Iterator[Batch]:
            for batch in sources.predict(kind, model, self._split):
                yield batch
                told(len(batch.truth))

        return self.judged_by(batches())

    def _judge(self, stack: ExitStack) -> Judge:
        classes, positive = self._split.classes, self._positive
        if classes is None:
            return Regression()
        score_file = None
        columns = len(classes) if positive is None else 1
        asked = {"roc_auc", "average_precision"} & set(self._payload.metrics)
        if asked or self.rows * columns <= _UNASKED_SCORES:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            score_file = stack.enter_context(ScoreFile(Path(scratch) / "scores", columns))
        from .classification import Classification  # scikit-learn takes seconds to import

        return Classification(classes, score_file, positive, self._payload.threshold)


def _filled(report: MetricsFile, judgement: Judgement) -> MetricsFile:
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
            for label, row in zip(report.classes or (), judgement.per_class, strict=True)
        ]
    matrix = judgement.confusion
    return report.model_copy(
        update={
            "metrics": judgement.metrics,
            "undefined": judgement.undefined,
            "confusion_matrix": None if matrix is None else matrix.tolist(),
            "per_class": per_class,
        }
    )
