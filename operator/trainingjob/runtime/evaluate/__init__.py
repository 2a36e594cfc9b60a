"""The evaluate stage: the model's metrics on the test split, or those of the models of folds."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from trainingjob.api.payload import (
    DATASET_DIGEST,
    MODEL_DIGEST,
    Baseline,
    EvaluatePayload,
    StageResult,
)
from trainingjob.api.v1alpha1.evaluate import MOST_METRICS
from trainingjob.api.v1alpha1.reported import Outputs, ScoreValue

from ..base.digest import digest_of_folder, sha256
from ..base.errors import StageFailure, of_fold, storage_errors
from ..base.progress import Reporter
from ..base.text import listed
from ..dataset.manifest import ROWS, fold_name
from ..gang import ranks
from ..gang.node import Node
from ..storage import fetch, resolve, shown, write_aside
from . import accepted, own_code, variants
from .cross import across
from .report import METRICS, MetricsFile
from .subject import Subject

if TYPE_CHECKING:
    from ..gang.collectives import Gang

WORKER = [sys.executable, "-P", "-m", "trainingjob.runtime.evaluate.worker"]
# Where the final model's metrics lie beside those of folds.
_TEST = "test"
# And what own code has written beside its metrics.
_FILES = "files"


def run(payload: EvaluatePayload) -> StageResult | None:
    """Judge the model, write ``metrics.json`` and, if all gates pass, the accepted model's record.
    Of a gang node 0 returns the result, the others None.

    Raises StageFailure: DatasetInvalid, SplitEmpty, ModelMissing, ModelCorrupt,
    PredictionsInvalid, FeatureNotNumeric, FeatureHasNulls, MetricUndefined, BaselineInvalid; the
    message begins with the fold that it is about. Of own code, what ``own_code.judged`` raises.
    """
    if payload.own_code:
        return _by_own_code(payload)
    fetch(payload.dataset, but=ROWS)  # which are read from where they lie
    final = Subject(payload)
    baseline = accepted.baseline_of(payload)
    _require_model(fetch(payload.model_uri))
    _verify_rows(payload, final)
    nodes, processes = payload.nodes or 1, payload.procs_per_node or 1
    if nodes * processes == 1:
        return judge(payload, final, baseline)
    node = Node.from_env(nodes, processes, os.environ)
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        return ranks.run(node, WORKER, Path(folder))


def _by_own_code(payload: EvaluatePayload) -> StageResult:
    baseline = accepted.baseline_of(payload)  # before the code has run
    model = fetch(payload.model_uri)
    _require_model(model)
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        report, manifest, output = own_code.judged(payload, model, Path(folder))
        shown_first = payload.metrics or [*report.metrics][:MOST_METRICS]
        names = [*dict.fromkeys([*shown_first, *(gate.metric for gate in payload.gates)])]
        for name in names:
            if name not in report.metrics:
                words = f"{METRICS} has no {name}, which evaluate asks for; it has "
                raise StageFailure("MetricsInvalid", f"{words}{listed(report.metrics)}")
        result = _written(payload, {"": report}, names, output)
        accepted.keep_if_accepted(payload, report, baseline, manifest)
        return result.model_copy(update={"baseline": baseline})


def _require_model(folder: Path) -> None:
    """Raises StageFailure(ModelCorrupt) unless it is the model that the job's status has."""
    wanted = os.environ.get(MODEL_DIGEST)
    if not wanted or not folder.is_dir():
        return
    with storage_errors("read the model"):
        found = digest_of_folder(folder)
    if found != wanted:
        message = (
            f"the model at {shown(folder)} is not the one that train has left: its digest is "
            f"{found}, status has {wanted}: somebody has changed it since"
        )
        raise StageFailure("ModelCorrupt", message)


def _verify_rows(payload: EvaluatePayload, final: Subject) -> None:
    """Those that are held out, by the digests in the manifests: once, and not by each rank. A
    manifest that nobody vouches for proves nothing."""
    if not os.environ.get(DATASET_DIGEST):
        return
    final.verify()
    for number, part in enumerate(final.manifest.parts, 1):
        with of_fold(number):
            Subject(payload, fold_name(number), part).verify()


def judge(
    payload: EvaluatePayload,
    final: Subject,
    baseline: Baseline | None,
    gang: Gang | None = None,
) -> StageResult | None:
    """As ``run``, of a model that was brought; of a ``gang`` rank 0 writes, the others help."""
    reports = _reports(payload, final, gang)
    if gang is not None and gang.rank > 0:
        return None
    report = reports[""]
    for name in payload.metrics:
        if name not in report.metrics:
            why = report.undefined.get(name, f"it is no metric of {payload.task.type}")
            raise StageFailure("MetricUndefined", f"{name} is undefined: {why}")
    found = variants.judged(payload, final, report.metrics)
    if found is not None:
        report = reports[""] = report.model_copy(update={"variants": found})
    result = _written(payload, reports, payload.metrics)
    accepted.keep_if_accepted(payload, report, baseline, final.manifest)
    return result.model_copy(update={"variants": found, "baseline": baseline})


def _written(
    payload: EvaluatePayload,
    reports: Mapping[str, MetricsFile],
    names: Sequence[str],
    beside: Path | None = None,
) -> StageResult:
    """Write the reports, and what own code has left ``beside`` its own; the result, with the
    metrics of these ``names``."""
    output, report = resolve(payload.output), reports[""]
    with storage_errors("write the metrics"), write_aside(output) as aside:
        for name, one in reports.items():
            (aside / name).mkdir(exist_ok=True)
            one.write(aside / name)
        if beside is not None:
            own_code.keep(beside, aside / _FILES)
        digest = sha256(aside / METRICS)
    return StageResult(
        outputs=Outputs(uri=payload.output, digest=digest),
        metrics=[_score(report, name) for name in names],
        samples=report.samples,
        dataset_digest=report.dataset_digest or None,
        model_digest=report.model_digest,
    )


def _reports(payload: EvaluatePayload, final: Subject, gang: Gang | None) -> dict[str, MetricsFile]:
    """The report under "", and those that it sums up, by their folders."""
    with ExitStack() as stack:
        reporter = Reporter()
        stack.callback(reporter.close)
        done, total = 0, 0

        def told(rows: int) -> None:
            nonlocal done
            done += rows
            if (gang is None or gang.rank == 0) and reporter.due():
                reporter.report(min(1.0, done / total))

        folds = {}
        for number, part in enumerate(final.manifest.parts, 1):
            name = fold_name(number)
            with of_fold(number):
                folds[name] = Subject(payload, name, part)
        total = final.rows + sum(fold.rows for fold in folds.values())
        if not folds:
            return {"": final.judged(told, gang)}
        found = {}
        for number, (name, fold) in enumerate(folds.items(), 1):
            with of_fold(number):
                found[name] = fold.judged(told)
        test = final.judged(told) if final.rows else None
        # A model that is not judged may be of any kind.
        about = test or final.report(kind=next(iter(found.values())).source)
        report = across([*found.values()], test, about)
    return {"": report, **found, **({_TEST: test} if test else {})}


def _score(report: MetricsFile, name: str) -> ScoreValue:
    """As many digits as a termination message has room for; the file has all."""
    deviation = (report.deviation or {}).get(name)
    test = report.test.metrics.get(name) if report.test else None
    return ScoreValue(
        name=name,
        value=report.metrics[name],
        deviation=None if deviation is None else float(f"{deviation:.4g}"),
        test=None if test is None else float(f"{test:.6g}"),
    )
