"""What others have written moves no cursor and reorders no line of a terminal."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.api.corpus import GOOD
from trainingjob.api.errors import check_manifest
from trainingjob.api.v1alpha1 import Progress
from trainingjob.cli import main as cli
from trainingjob.cli.text import dump, progress_words

HOSTILE = "a\x1b[2J\u202eb\x07"
_OF_OUTPUT = "\n\t"


def _unseen(text: str) -> set[str]:
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {c for c in text if c not in _OF_OUTPUT and unicodedata.category(c) in kinds}


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield path
    members = value.items() if isinstance(value, dict) else ()
    for key, member in enumerate(value) if isinstance(value, list) else members:
        yield from _texts(member, (*path, key))


def _replaced(manifest: Any, path: tuple[Any, ...]) -> Any:
    found = copy.deepcopy(manifest)
    place = found
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = HOSTILE
    return found


def _manifests() -> Iterator[Any]:
    """One for each field of the corpus that is text."""
    seen = set()
    for name in sorted(GOOD):
        for path in _texts(GOOD[name]):
            field = tuple("" if isinstance(part, int) else part for part in path)
            if field not in seen:
                seen.add(field)
                yield _replaced(GOOD[name], path)


def test_no_message_about_a_field_has_what_cannot_be_seen() -> None:
    told = 0
    for manifest in _manifests():
        _, found = check_manifest(manifest)
        assert not _unseen("".join(map(str, found))), found
        told += len(found)
    assert told > 100


@pytest.mark.parametrize("command", [["validate"], ["plan"], ["explain", "-f"]])
@pytest.mark.parametrize("field", [("kind",), ("spec", "task", "label"), ("spec", "task", "type")])
def test_no_command_writes_it(command: list[str], field: tuple[str, ...], tmp_path: Path) -> None:
    manifest = next(GOOD[name] for name in sorted(GOOD) if "task" in GOOD[name]["spec"])
    file = tmp_path / "job.json"
    file.write_text(json.dumps(_replaced(manifest, field)))
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        cli.main([*command, str(file)])
    assert told.getvalue()
    assert not _unseen(told.getvalue()), told.getvalue()


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("text", [HOSTILE, "\u2028", "\u200b", "größer …", "plain"])
def test_an_object_is_the_same_when_it_is_read_again(form: str, text: str) -> None:
    told = dump({"a": text, text: "b"}, form)
    assert yaml.safe_load(told) == {"a": text, text: "b"}
    assert not _unseen(told)
    # What is harmless stays legible.
    assert text != "größer …" or text in told


@pytest.mark.parametrize(
    ("total", "words"), [(2**40, "row 3000000001/1099511627776"), (None, "row 3000000001")]
)
def test_rows_that_are_done_are_shown_and_of_how_many(total: int | None, words: str) -> None:
    progress = Progress(stage="predict", percent=1, rows=3_000_000_001, total_rows=total)
    assert progress_words(progress) == [words]
