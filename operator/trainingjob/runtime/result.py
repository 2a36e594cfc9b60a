"""The termination message: how a pod tells what came of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from trainingjob.api.payload import RESULT_FILE, RESULT_LIMIT, Report, StageError, StageResult

from .errors import StageFailure

# Room for the rest of the report around the one text of unbounded length.
_MESSAGE_LIMIT = 1500


def publish_result(result: StageResult) -> None:
    """Tell success. Called once, after every artefact is complete on disk."""
    _publish(Report(result=result))


def publish_failure(failure: StageFailure) -> None:
    """Tell the failure of this pod."""
    message = " ".join(failure.message.split())
    if len(message.encode()) > _MESSAGE_LIMIT:
        message = message.encode()[: _MESSAGE_LIMIT - 4].decode(errors="ignore") + " …"
    _publish(
        Report(
            error=StageError(
                reason=failure.reason,
                message=message,
                rank=failure.rank,
                exit_code=failure.exit_code,
                signal=failure.signal,
            )
        )
    )


def _publish(report: Report) -> None:
    text = json.dumps(report.to_dict(), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > RESULT_LIMIT:
        raise ValueError(f"the report has more than {RESULT_LIMIT} bytes")
    # In a pod this is a bind mount of the kubelet: it cannot be renamed over.
    Path(os.environ.get(RESULT_FILE, "/dev/termination-log")).write_text(text, encoding="utf-8")
