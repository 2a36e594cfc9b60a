"""Places: the table of schemes, and that nothing else knows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trainingjob
from trainingjob.api import uris
from trainingjob.api.uris import AZ, CLAIM, FILE, GS, HDFS, S3, SCHEMES, Uri

SOURCE = Path(trainingjob.__file__).parent
# One character before: `https://` is an address, and a pattern may begin at a word.
SPELLED = re.compile(rf"\b({'|'.join([*SCHEMES, 's3a', 'gcs', 'abfs'])})://")


def test_nothing_but_the_table_spells_a_scheme() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SPELLED.search(line) and path != Path(uris.__file__)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path"),
    [
        ("pvc://runs", CLAIM, "runs", ""),
        ("pvc://runs/a/b.csv", CLAIM, "runs", "a/b.csv"),
        ("s3://b/a b/*.csv", S3, "b", "a b/*.csv"),
        ("gs://my.b_1/a", GS, "my.b_1", "a"),
        ("az://box/a/b", AZ, "box", "a/b"),
        ("hdfs://name:8020/a/b", HDFS, "name:8020", "a/b"),
        ("file:///srv/a", FILE, "", "srv/a"),
        ("file:///", FILE, "", ""),
    ],
)
def test_a_uri_is_taken_apart(text: str, scheme: uris.Scheme, authority: str, path: str) -> None:
    assert Uri.parse(text) == Uri(scheme, authority, path)


@pytest.mark.parametrize("text", ["/srv/a", "ftp://host/a", "pvc:/runs", "", "S3://b/a"])
def test_what_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is none of pvc://"):
        Uri.parse(text)


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("pvc://runs", "pvc://runs/team/job"),
        ("pvc://runs/", "pvc://runs/team/job"),
        ("pvc://runs/a/", "pvc://runs/a/team/job"),
        ("s3://bucket", "s3://bucket/team/job"),
        ("file:///", "file:///team/job"),
        ("file:///srv//", "file:///srv/team/job"),
    ],
)
def test_what_is_below_a_folder_is_named_by_it(base: str, joined: str) -> None:
    assert uris.join(base, "team", "job") == joined


@pytest.mark.parametrize("text", ["s3://bucket/a/b.json", "hdfs://name:8020/a/b", "hdfs://ns/"])
def test_a_copy_tells_what_it_is_the_copy_of(text: str) -> None:
    assert str(Uri.of_copy(Uri.parse(text).copy)) == text


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_what_people_are_shown_is_what_the_pattern_takes(scheme: uris.Scheme) -> None:
    shown = scheme.form.replace("CLAIM", "runs").replace("BUCKET", "models")
    shown = shown.replace("NAMENODE", "name:8020").replace("CONTAINER", "box")
    for pattern in (uris.PATTERN, uris.INPUT_PATTERN):
        assert re.fullmatch(pattern, shown)
        assert not re.fullmatch(pattern, scheme.start)
