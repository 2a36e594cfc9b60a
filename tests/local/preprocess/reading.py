"""Files as they come, and what is to be read from them."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.input.scratch import Scratch
from trainingjob.runtime.preprocess.notes import Notes

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Good:
    """Files, and what is read from them: the type of each column, and the rows in any order."""

    files: bytes | str | Mapping[str, bytes | str]
    columns: dict[str, str]
    rows: Rows
    options: dict[str, Any] | None = None
    path: str = ""
    warnings: Sequence[str] = ()
    told: str = ""
    # What else the input says: schema, dateFormats, timeZone.
    input: dict[str, Any] | None = None
    # Arguments with which pandas.read_csv gives the same.
    pandas: dict[str, Any] | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bad:
    """Files, the reason why they are not read, and a part of the message."""

    files: bytes | str | Mapping[str, bytes | str]
    reason: str
    message: str
    options: dict[str, Any] | None = None
    path: str = ""
    input: dict[str, Any] | None = None


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def zipped(members: Mapping[str, bytes]) -> bytes:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return packed.getvalue()


NS = {"n": "bigint", "s": "string"}
LONG = "long text, " * 30_000


def assert_read(engine: Engine, case: Good | Bad, format: str, folder: Path, what: str) -> None:
    source = Input.model_validate(
        {
            "uri": f"file://{write(case, format, folder)}",
            "format": format,
            "options": case.options,
            **(case.input or {}),
        }
    )
    if isinstance(case, Bad):
        with pytest.raises(StageFailure) as caught:
            read_input(engine, source, scratch=Scratch(folder / what))
        failure = caught.value
        assert (failure.reason, case.message in failure.message) == (case.reason, True), (
            what,
            failure.message,
        )
        return
    notes = Notes()
    frame = read_input(engine, source, None, notes, Scratch(folder / what))
    names = [engine.dialect.ident(name) for name in frame.columns]
    rows = engine.rows(f"SELECT {', '.join(names)} FROM {frame.view}")
    assert dict(frame.columns) == case.columns, what
    assert list(frame.columns) == list(case.columns), what
    assert [warning.reason for warning in notes.warnings] == list(case.warnings), what
    assert any(case.told in warning.message for warning in notes.warnings) or not case.told
    assert notes.rows == len(case.rows), what
    assert [*frame.unread] == [*case.unread], what
    for name, why in case.unread.items():
        assert why in frame.unread[name].why, (what, frame.unread[name].why)
    assert sorted(map(_comparable, rows)) == sorted(map(_comparable, case.rows)), what


def write(case: Good | Bad, format: str, folder: Path) -> Path:
    files = case.files if isinstance(case.files, Mapping) else {f"data.{format}": case.files}
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / (case.path or f"data.{format}")


def _comparable(row: tuple[Any, ...]) -> str:
    """Values with their types; the engines differ in whether they say that times are UTC."""
    return repr(
        [
            value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value
            for value in row
        ]
    )
