"""The stage itself: read -> script -> steps -> checks -> write.

Rows get their identity as they were read, or as the script left them, and are divided before the
first step that learns; with folds, the steps from there on run once more for each of them. The
engines give the same rows, types, values and order; see ``engines/frame.py`` for the seam between
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainingjob.api.payload import PreprocessPayload, StageResult
from trainingjob.api.v1alpha1.reported import Outputs

from .. import storage
from ..base.errors import storage_errors
from ..base.outcome import with_findings
from ..base.progress import Reporter
from ..dataset import seal
from ..dataset.manifest import MANIFEST
from .account import Account
from .checks import check, choose_columns
from .cross import Cross
from .engines.frame import Engine, Frame
from .input.called import called
from .input.files import Source
from .input.read import read_input
from .input.scratch import Scratch
from .input.splits import DATA, find_inputs, warn_of_parts
from .likeness import likeness, lines, warn_of_shared
from .notes import Notes
from .profile import warn_of_features
from .raw import Raw
from .script import Own, run_script
from .split import keys_of, split_rows, warn_of_groups
from .steps import run_steps
from .write import manifest_of, write_splits


def run_stage(
    engine: Engine,
    payload: PreprocessPayload,
    reporter: Reporter,
    scratch: Scratch,
    own: Own,
    found: Mapping[str, Source] | None = None,
) -> StageResult:
    """Make the dataset, of the files of the inputs that were ``found`` already, if they were;
    ``own`` code has its place. Raises StageFailure."""
    task, target = payload.task, storage.resolve(payload.output)
    # Before the work is done.
    sealed = seal.ask() if payload.sealed else None
    reporter.report(0.05)
    notes = Notes()
    split = payload.split
    found = found or find_inputs(payload)
    tables = {}
    for name, one in payload.inputs.items():
        with called(f"preprocess.inputs.{name}"):
            other = Notes(warnings=notes.warnings)
            tables[name] = read_input(engine, one, found[name], other, scratch)
    given = (
        found[DATA].paths
        if payload.input.format == "raw"
        else read_input(
            engine,
            payload.input,
            found[DATA],
            notes,
            scratch,
            hashes=not payload.own_code,
            as_json=task.messages,
        )
    )
    if isinstance(given, Frame):
        warn_of_parts(found[DATA], split, notes)
    reporter.report(0.3)
    if payload.own_code:
        given = run_script(engine, given, payload, tables, own, notes)
    assert isinstance(given, Frame)
    if task.messages is not None:
        from .tokens import messages

        given = messages.canonical(engine, given, task.messages)
    keys = keys_of(engine, split)
    frame = keys.remember(engine.hashed(given))
    drops = split.rare == "drop"
    account = Account(engine, frame, None if payload.own_code else notes.rows, notes, drops)
    cross = None if split.folds is None else Cross(engine, payload, split.folds, tables)

    raw_rows = Raw(engine, payload)

    def divide(frame: Frame, where: str, done: int) -> tuple[Frame, str]:
        divided, words = split_rows(engine, frame, split, task, where, notes.add, keys)
        divided = divided if cross is None else cross.divided(divided, done)
        raw_rows.divided(divided)
        return divided, words

    frame, pipeline = run_steps(
        engine,
        frame,
        payload.steps,
        task,
        payload.sample_weight,
        divide,
        account,
        lambda share: reporter.report(0.35 + 0.3 * share),
        tables,
        divided_first=split.files is not None,
        seen=raw_rows.seen,
    )
    if payload.tokenize is not None:
        from .tokens import stage as tokens

        result, line = tokens.finish(
            engine, frame, payload, payload.tokenize, pipeline, notes, reporter
        )
        notes.log(line)
        return with_findings(result, notes.warnings, [*account.lines, line])
    frame, features = choose_columns(engine, frame, task, payload.sample_weight, notes.names_below)
    frame = engine.computed(frame)
    numeric = features if payload.numeric_features else []
    frame, summary = check(engine, frame, task, split, numeric, notes.add)
    raw = account.raw
    if raw is None or raw.columns.get(task.label) != frame.columns[task.label]:
        raw = frame
    warn_of_features(engine, raw, task, features, notes)
    warn_of_groups(split, features, notes)
    shown = raw_rows.told(frame, features, pipeline, notes)
    alike = likeness(engine, frame, summary)
    warn_of_shared(split, alike, summary.rows["test"], notes)
    for line in lines(alike):
        notes.log(line)
    reporter.report(0.7)
    with storage_errors("write the dataset"), storage.publishing(target, MANIFEST) as new:
        splits = write_splits(engine, frame, summary, new.place, sealed)
        folds = None
        if cross is not None:
            folds = cross.write(
                new.place, pipeline, notes, lambda share: reporter.report(0.7 + 0.3 * share)
            )
        manifest = manifest_of(
            frame,
            task,
            features,
            summary,
            pipeline,
            splits,
            folds=folds,
            stamp=new.place.stamp,
            writer=payload.job.uid,
            sealed=sealed and sealed.id,
            raw=shown,
        )
        manifest.publish(new, cross.names if cross is not None else ())
    reporter.report(1.0)
    result = StageResult(
        outputs=Outputs(
            uri=payload.output,
            digest=manifest.digest,
            rows={str(split): count for split, count in summary.rows.items()},
            folds=cross.rows if cross is not None else None,
            splits=alike,
            features=len(manifest.features),
            classes=None if manifest.classes is None else len(manifest.classes),
        )
    )
    return with_findings(result, notes.warnings, account.lines)
