"""What a stage tells fits into the termination message, whatever it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainingjob.api.payload import RESULT_FILE, RESULT_LIMIT, Report, StageResult
from trainingjob.api.v1alpha1.reported import Outputs, StageWarning
from trainingjob.runtime.base.outcome import publish_result, with_findings

RESULT = StageResult(outputs=Outputs(uri="pvc://runs/default/job/dataset", rows={"train": 7}))


def warning(message: str) -> StageWarning:
    return StageWarning(reason="CastLosesValues", message=message)


@pytest.mark.parametrize(
    ("warnings", "lines", "kept_warnings", "last_warning", "kept_lines", "last_line"),
    [
        pytest.param(0, 0, 0, None, 0, None, id="nothing was found"),
        pytest.param(2, 3, 2, "w1", 3, "l2", id="all of it fits"),
        pytest.param(16, 32, 16, "w15", 32, "l31", id="just as many as status takes"),
        pytest.param(
            17,
            40,
            16,
            "and 2 more; see the log",
            32,
            "and 9 more; see the log",
            id="more than status takes",
        ),
    ],
)
def test_the_last_says_how_many_more_there_are(
    warnings: int,
    lines: int,
    kept_warnings: int,
    last_warning: str | None,
    kept_lines: int,
    last_line: str | None,
) -> None:
    result = with_findings(
        RESULT, [warning(f"w{i}") for i in range(warnings)], [f"l{i}" for i in range(lines)]
    )
    told, account = result.outputs.warnings or [], result.outputs.account or []
    assert (len(told), len(account)) == (kept_warnings, kept_lines)
    assert (told[-1].message if told else None) == last_warning
    assert (account[-1] if account else None) == last_line


@pytest.mark.parametrize("text", ["x", "é", "🙂", '"', "\n"])
def test_long_messages_of_any_characters_fit(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RESULT_FILE, str(tmp_path / "result"))
    result = with_findings(RESULT, [warning(text * 512)] * 16, [text * 300] * 40)
    # As another job tells it, which restored it from the cache.
    outputs = result.outputs.model_copy(update={"uri": "u" * 1280})
    publish_result(result.model_copy(update={"outputs": outputs, "cached": True}))
    published = (tmp_path / "result").read_bytes()
    assert len(published) <= RESULT_LIMIT
    found = Report.model_validate(json.loads(published)).result
    assert found is not None
    # Nothing is left out unsaid.
    last = (found.outputs.warnings or [])[-1]
    assert "more; see the log" in last.message


def test_warnings_come_before_the_account() -> None:
    result = with_findings(RESULT, [warning("x" * 500)] * 4, ["line " * 20] * 32)
    assert len(result.outputs.warnings or []) == 4
    *lines, last = result.outputs.account or []
    assert lines
    assert last == f"and {32 - len(lines)} more; see the log"
