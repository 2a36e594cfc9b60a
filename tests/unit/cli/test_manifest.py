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
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(ManifestError) as error:
        read(str(file))
    assert str(error.value) == f"{tmp_path}/{words}"


def test_aliases_and_merge_keys_of_ordinary_size(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    (document,) = read(str(file))
    both = {"x": 1, "y": 2}
    assert document.value == {"a": both, "b": {"x": 1, "y": 3}, "c": [both, both]}
