"""The termination message: how a pod tells what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainingjob.api.payload import RESULT_FILE, RESULT_LIMIT, Report, StageError, StageResult
from trainingjob.api.v1alpha1.reported import StageWarning

from .errors import StageFailure
from .text import cut

T = TypeVar("T")

# Room for the rest of the report around the one text of unbounded length.
_MESSAGE_LIMIT = 1500
# As the CRD has them.
_MOST_WARNINGS = 16
_MOST_LINES = 32
_LINE_CHARS = 256
_URI_CHARS = 1280


def publish_result(result: StageResult) -> None:
    """Tell success. Called once, after every artefact is complete on disk."""
    _publish(Report(result=result))


def with_findings(
    result: StageResult, warnings: Sequence[StageWarning], account: Sequence[str]
) -> StageResult:
    """The result with as many warnings, and then lines of the account of its steps, as there is
    room for; the last one says how many more the log has."""

    def having(result: StageResult, field: str, values: Any) -> StageResult:
        outputs = result.outputs.model_copy(update={field: values or None})
        return result.model_copy(update={"outputs": outputs})

    result = having(
        result,
        "warnings",
        _as_many_as_fit(
            warnings,
            _MOST_WARNINGS,
            lambda count: StageWarning(reason="MoreWarnings", message=_more(count)),
            lambda values: _size(having(result, "warnings", values)),
        ),
    )
    lines = [cut(line, _LINE_CHARS) for line in account]
    return having(
        result,
        "account",
        _as_many_as_fit(
            lines, _MOST_LINES, _more, lambda values: _size(having(result, "account", values))
        ),
    )


def _more(count: int) -> str:
    return f"and {count} more; see the log"


def _as_many_as_fit(
    values: Sequence[T], limit: int, rest: Callable[[int], T], size: Callable[[list[T]], int]
) -> list[T]:
    """The first values, and what stands for those that are left out; none if not even that fits."""
    for count in range(min(len(values), limit), -1, -1):
        left_out = len(values) - count
        kept = [*values[:count], *([rest(left_out)] if left_out else [])]
        if len(kept) <= limit and size(kept) <= RESULT_LIMIT:
            return kept
    return []


def _size(result: StageResult) -> int:
    """Bytes of the report, were the artefact at the longest URI: restored from the cache, the
    result of one job is told by another."""
    outputs = result.outputs.model_copy(update={"uri": "u" * _URI_CHARS})
    result = result.model_copy(update={"outputs": outputs, "cached": True})
    return len(_text(Report(result=result)).encode())


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


def _text(report: Report) -> str:
    return json.dumps(report.to_dict(), ensure_ascii=False, separators=(",", ":"))


def _publish(report: Report) -> None:
    text = _text(report)
    if len(text.encode()) > RESULT_LIMIT:
        raise ValueError(f"the report has more than {RESULT_LIMIT} bytes")
    # In a pod this is a bind mount of the kubelet: it cannot be renamed over.
    Path(os.environ.get(RESULT_FILE, "/dev/termination-log")).write_text(text, encoding="utf-8")
