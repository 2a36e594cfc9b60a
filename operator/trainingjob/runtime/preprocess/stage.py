"""The stage itself: read -> script -> steps -> checks -> write.

Rows get their identity as they were read, or as the script left them, and are divided before the
first step that learns. The engines give the same rows, types, values
and order; see ``frame.py`` for the seam between them.
"""

from __future__ import annotations

from trainingjob.api.payload import PreprocessPayload, StageResult
from trainingjob.api.v1alpha1.status import Outputs, StageWarning

from .. import storage
from ..progress import Reporter
from ..result import with_findings
from ..train.log import log
from .checks import check, choose_columns
from .frame import Engine
from .likeness import likeness, lines
from .read import read_input
from .script import run_script
from .source import Source
from .split import split_rows
from .steps import run_steps
from .write import write_dataset


def run_stage(
    engine: Engine, payload: PreprocessPayload, reporter: Reporter, found: Source | None = None
) -> StageResult:
    """Make the dataset, of the input's files that were ``found`` already, if they were; raises
    StageFailure."""
    task, target = payload.task, storage.resolve(payload.output)
    reporter.report(0.05)
    frame = read_input(engine, payload.input, found)
    reporter.report(0.3)
    if payload.script is not None:
        frame = run_script(engine, frame, payload)
    warnings: list[StageWarning] = []
    frame, pipeline = run_steps(
        engine,
        engine.hashed(frame),
        payload.steps,
        task.label,
        lambda frame, where: split_rows(engine, frame, payload.split, task, where, warnings.append),
        lambda share: reporter.report(0.35 + 0.3 * share),
    )
    frame = choose_columns(engine, frame, task)
    frame, summary = check(
        engine, frame, task, payload.split, payload.numeric_features, warnings.append
    )
    alike = likeness(engine, frame, summary)
    reporter.report(0.7)
    manifest = write_dataset(engine, frame, task, summary, pipeline, target)
    reporter.report(1.0)
    for line in lines(alike):
        log(line)
    for warning in warnings:
        log(f"warning: {warning.message}")
    result = StageResult(
        outputs=Outputs(
            uri=payload.output,
            digest=manifest.digest,
            rows={str(split): count for split, count in summary.rows.items()},
            splits=alike,
            features=len(manifest.features),
            classes=None if manifest.classes is None else len(manifest.classes),
        )
    )
    return with_findings(result, warnings, [])
