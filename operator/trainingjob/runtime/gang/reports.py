"""How a rank of the built-in loop tells its launcher what came of it: a file each."""

from __future__ import annotations

from pathlib import Path

from trainingjob.api.payload import Report, StageError, StageResult

from ..base.errors import StageFailure

# The folder of the files; set by the launcher.
REPORTS_DIR = "TRAININGJOB_REPORTS_DIR"


def tell_done(folder: Path, rank: int, result: StageResult | None) -> None:
    """The rank has finished all its work; rank 0 brings the stage's result."""
    _write(folder, rank, Report(result=result))


def tell_failure(folder: Path, rank: int, failure: StageFailure) -> None:
    """The rank has failed."""
    error = StageError(
        reason=failure.reason,
        message=failure.message,
        rank=rank,
        exit_code=failure.exit_code,
        signal=failure.signal,
    )
    _write(folder, rank, Report(error=error))


def read(folder: Path, rank: int) -> Report | None:
    """What the rank told; None when it told nothing."""
    try:
        return Report.model_validate_json(_path(folder, rank).read_bytes())
    except FileNotFoundError:
        return None


def _path(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"


def _write(folder: Path, rank: int, report: Report) -> None:
    aside = folder / f".rank-{rank}.json"
    aside.write_text(report.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
    aside.rename(_path(folder, rank))
