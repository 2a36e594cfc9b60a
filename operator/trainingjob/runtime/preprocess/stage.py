"""The stage itself: read -> script -> steps -> checks -> write.

Rows get their identity as they were read, or as the script left them, and are divided before the
first step that learns. The engines give the same rows, types, values
and order; see ``engines/frame.py`` for the seam between them.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainingjob.api.payload import PreprocessPayload, StageResult
from trainingjob.api.v1alpha1.status import Outputs

from .. import storage
from ..base.outcome import with_findings
from ..base.progress import Reporter
from .account import Account
from .checks import check, choose_columns
from .engines.frame import Engine, Frame
from .input.files import DATA, Source, find_all
from .input.read import read_input
from .likeness import likeness, lines
from .notes import Notes
from .profile import warn_of_features
from .script import run_script
from .split import split_rows
from .steps import run_steps
from .write import write_dataset


def run_stage(
    engine: Engine,
    payload: PreprocessPayload,
    reporter: Reporter,
    found: Mapping[str, Source] | None = None,
) -> StageResult:
    """Make the dataset, of the files of the inputs that were ``found`` already, if they were;
    raises StageFailure."""
    task, target = payload.task, storage.resolve(payload.output)
    reporter.report(0.05)
    notes = Notes()
    found = found or find_all(payload)
    tables = {
        name: read_input(engine, one, found[name], Notes(warnings=notes.warnings))
        for name, one in payload.inputs.items()
    }
    raw_files = found[DATA].paths if payload.input.format == "raw" else None
    given = raw_files or read_input(engine, payload.input, found[DATA], notes)
    reporter.report(0.3)
    if payload.script is not None:
        given = run_script(engine, given, payload, tables, notes)
    assert isinstance(given, Frame)
    frame = engine.hashed(given)
    drops = payload.split.rare == "drop"
    account = Account(engine, frame, None if payload.script else notes.rows, notes, drops)
    frame, pipeline = run_steps(
        engine,
        frame,
        payload.steps,
        task,
        lambda frame, where: split_rows(engine, frame, payload.split, task, where, notes.add),
        account,
        lambda share: reporter.report(0.35 + 0.3 * share),
        tables,
    )
    frame = choose_columns(engine, frame, task)
    frame, summary = check(engine, frame, task, payload.split, payload.numeric_features, notes.add)
    raw = account.raw
    if raw is None or raw.columns.get(task.label) != frame.columns[task.label]:
        raw = frame
    features = [name for name in frame.columns if name != task.label]
    warn_of_features(engine, raw, task, features, notes)
    alike = likeness(engine, frame, summary)
    for line in lines(alike):
        notes.log(line)
    reporter.report(0.7)
    manifest = write_dataset(engine, frame, task, summary, pipeline, target)
    reporter.report(1.0)
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
    return with_findings(result, notes.warnings, account.lines)
