"""Manifest files of strangers: read in bounded time, or refused with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainingjob.cli.errors import ManifestError
from trainingjob.cli.manifest import read


def grown(levels: int, copies: int, form: str) -> str:
    """Each level holds so many copies of the one before, by aliases."""
    lines = ["m0: &m0 {x: 1}"]
    for level in range(1, levels + 1):
        lines.append(f"m{level}: &m{level} " + form % ", ".join([f"*m{level - 1}"] * copies))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (grown(8, 100, "[%s]"), "job.yaml:4: its aliases expand to more than 1000000 values"),
        (grown(8, 100, "{<<: [%s]}"), "job.yaml:4: its aliases expand to more than 1000000 values"),
        ("a: &a\n  b: [*a]\n", "job.yaml:1: an anchor that contains its own alias"),
        ("[" * 200 + "]" * 200, "job.yaml:1: nested too deeply: not a manifest"),
        ("a: 1\na: 2\n", 'job.yaml:2:1: duplicate key "a"'),
        ("a: " + "x" * 2**20, "job.yaml: larger than 1024 KiB: not a manifest"),
        (
            "a:\n  b: 1\n c: {x: 1}\n",
            "job.yaml:3:2: did not find expected key; fields of one object begin in the same "
            "column",
        ),
        (
            "a: b: c\n",
            "job.yaml:1:5: mapping values are not allowed in this context; indent it as the line "
            "above, or put text with ': ' in quotes",
        ),
        (
            "a:\n\tb: 1\n",
            "job.yaml:2:1: found character that cannot start any token; indent with spaces, not "
            "tabs",
        ),
        (
            "a: @b\n",
            "job.yaml:1:4: found character that cannot start any token; put the text in quotes",
        ),
        (
            "a: *.csv\n",
            "job.yaml:1:5: did not find expected alphabetic or numeric character; put text that "
            "begins with * or & in quotes",
        ),
        (
            "a: [{b: 1}\nc: 2\n",
            "job.yaml:2:1: did not find expected ',' or ']'; what begins in line 1 is not closed, "
            "or has text that must be in quotes",
        ),
        (
            "a: {{ .Values.a }}\n",
            "job.yaml:1:5: a key must be plain text; {{ }} is for a template: render it first",
        ),
        (
            "a:\n  b: 1\n\u00a0 c: 2\n  d: 3\n",
            "job.yaml:4:4: mapping values are not allowed in this context; the line has a no-break "
            "space: write it anew with plain ones",
        ),
        (b"a: gr\xf6\xdfe\n", "job.yaml:1: not UTF-8: save it as UTF-8"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError) as error:
        read(str(file))
    assert str(error.value) == f"{tmp_path}/{words}"


def test_aliases_and_merge_keys_of_ordinary_size(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    (document,) = read(str(file))
    both = {"x": 1, "y": 2}
    assert document.value == {"a": both, "b": {"x": 1, "y": 3}, "c": [both, both]}
