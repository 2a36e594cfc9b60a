"""The predict stage: rows of files through the accepted model with its pipeline.

rows.py      rows to predictions, some at a time
written.py   the folder of the predictions
command.py   `trainingjob predict`, which writes one file
"""

from __future__ import annotations

from contextlib import closing

from pydantic import ValidationError

from trainingjob.api.payload import PredictPayload, ServePayload, StageResult
from trainingjob.api.v1alpha1.reported import Outputs

from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.outcome import with_findings
from ..base.progress import Reporter
from ..preprocess.input.called import called
from ..preprocess.notes import Notes
from ..serve.served import Served, load
from ..storage import Place, publishing, resolve
from .rows import Rows, opened
from .written import MANIFEST, Parts, Predictions, is_ours


def run(payload: PredictPayload) -> StageResult:
    """Predict all rows of the input, and write ``predictions.json`` once all are there.

    Raises StageFailure: ModelMissing, ModelCorrupt, VariantUnavailable, SelfTestFailed,
    SettingUnsuitable, ColumnNotFound, StepFailed for a row of which the model makes nothing,
    StorageFailed, StorageUnavailable, and those of reading an input."""
    model = ServePayload(
        model_uri=payload.model_uri,
        digest=payload.digest,
        variant=payload.variant,
        name=payload.job.name,
    )
    with closing(load(model)) as served, called("predict.input"):
        proven = served.prove()
        log(f"the model gives what was judged: {proven} rows of the evaluation")
        return _predicted(payload, served)


def _predicted(payload: PredictPayload, served: Served) -> StageResult:
    _refuse_other_types(payload, served)
    notes = Notes()
    target = resolve(payload.output)
    mode = payload.unpredictable or "fail"
    with (
        closing(Reporter()) as reporter,
        opened(served, payload.input, payload.keep, mode, notes) as rows,
        storage_errors("write the predictions"),
        publishing(target, MANIFEST, is_ours) as new,
    ):
        with Parts(new.place) as parts:
            for table in rows.tables():
                parts.write(table)
                if reporter.due():
                    reporter.report(*_progress(rows))
            parts.close()
        schema = parts.schema or ()
        made = Predictions(
            model_uri=payload.model_uri,
            model_digest=payload.digest,
            variant=payload.variant,
            input=payload.input.uri,
            rows=rows.done,
            unpredicted=rows.unpredicted,
            columns={field.name: str(field.type) for field in schema},
            files=parts.files,
            stamp=new.place.stamp,
            writer=payload.job.uid,
        )
        text = made.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n"
        if not new.commit(text, [file.name for file in parts.files]):
            raise _not_first(new.place, payload.job.uid)
    if rows.unpredicted:
        what = f"{rows.unpredicted} of {made.rows} rows have no prediction; the first is "
        notes.warn("RowsUnpredicted", what + rows.first_words)
    counts = {"predicted": rows.predicted, "unpredicted": rows.unpredicted}
    outputs = Outputs(uri=payload.output, digest=made.digest, rows=counts)
    return with_findings(StageResult(outputs=outputs), notes.warnings, ())


def _progress(rows: Rows) -> tuple[float, dict[str, float]]:
    """Which share of the rows is done, and the numbers that status shows; a share of 0 where nobody
    has counted them."""
    done, total = rows.done, rows.total
    if not total:
        return 0.0, {"rows": done}
    return min(1.0, done / total), {"rows": done, "total_rows": total}


def _refuse_other_types(payload: PredictPayload, served: Served) -> None:
    """A type that the manifest gives and the model cannot take is not silently another."""
    for name, kind in (payload.input.types or {}).items():
        wanted = served.inputs.get(name, kind)
        if wanted != kind:
            raise StageFailure(
                "SettingUnsuitable",
                f"predict.input.schema has {kind} for {name}, which is {wanted} in the data that "
                "the model was trained on: leave it out",
            )


def _not_first(place: Place, mine: str) -> StageFailure:
    """Who was: an attempt of the same job that was taken for dead, or another job."""
    try:
        other = Predictions.model_validate_json(place.read(MANIFEST)).writer
    except ValidationError:
        other = ""
    # A run of a job that is asked for again is told apart by its first attempt.
    if other[:36] in ("", mine[:36]):
        return StageFailure(
            "StorageFailed", f"{place.where}: another attempt wrote there at the same time"
        )
    return StageFailure(
        "StorageUnavailable",
        f"{place.where}: another job (uid {other}) wrote its predictions there at the same time: "
        "give each a folder of its own",
    )
