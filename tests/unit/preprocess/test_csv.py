"""The whole stage over CSV that must be written anew, and how its delimiter is found out."""

from __future__ import annotations

import bz2
import contextlib
import csv
import io
import json
import random
import re
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import yaml

from tests.local.preprocess.both import run, whole
from trainingjob.api.v1alpha1.input import CsvOptions, Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.expressions.duckdb_dialect import DUCKDB
from trainingjob.runtime.preprocess.input import packing
from trainingjob.runtime.preprocess.input.files import Source
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.input.records import found_delimiter
from trainingjob.runtime.preprocess.input.scratch import Scratch, unpacked
from trainingjob.runtime.preprocess.input.texts import CODES, unlike

_ROWS = "".join(f"{i}.5 {i % 3}\n" for i in range(40))


def test_what_was_written_anew_goes_when_the_stage_ends_and_what_a_killed_try_left(
    tmp_path: Path,
) -> None:
    source = tmp_path / "data.dat.bz2"
    source.write_bytes(bz2.compress(f"# a\nx y\n{_ROWS}".encode()))
    left = tmp_path / ".out.reading" / "0"
    left.mkdir(parents=True)
    (left / "half").write_text("half a file")
    options = {"comment": "#", "delimiter": "whitespace"}
    result = run("pandas", source, tmp_path / "out", options=options)
    assert sorted(whole(result)["x"].to_pylist()) == [i + 0.5 for i in range(40)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.dat.bz2", "out"]

    source.write_bytes(bz2.compress(b"# a\nx y\n1 2\n1 2 3\n"))
    reason, message = run("pandas", source, tmp_path / "out", options=options)
    assert (reason, message) == ("InputMalformed", f"{source}, line 4: 3 fields instead of 2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.dat.bz2", "out"]


def test_a_file_that_unpacks_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SURELY_FINE", 2**20)
    file = tmp_path / "a.csv.bz2"
    file.write_bytes(bz2.compress(bytes(64 * 2**20)))
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as members:
        for name in "abc":
            members.writestr(f"{name}.csv", bytes(30 * 2**20))
    for one in (file, archive):
        with Scratch(tmp_path / "out") as place, pytest.raises(StageFailure) as caught:
            unpacked(Source(f"file://{one}", [one]), place)
        assert caught.value.reason == "InputUnreadable"
        assert "over 1000 times its size" in caught.value.message


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def test_unpacking_leaves_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(100 << 20, 97 << 20, 3 << 20))
    file = tmp_path / "a.csv.bz2"
    file.write_bytes(bz2.compress(b"n\n" + b"1\n" * 2**21))
    with Scratch(tmp_path / "out") as place, pytest.raises(StageFailure) as caught:
        unpacked(Source(f"file://{file}", [file]), place)
    assert (caught.value.reason, "has 3 MiB left" in caught.value.message) == ("DiskFull", True)
    # A small one takes no room that others would miss, however full a large disk is.
    file.write_bytes(bz2.compress(b"n\n1\n"))
    with Scratch(tmp_path / "out") as place:
        assert unpacked(Source(f"file://{file}", [file]), place).size == 4


@pytest.mark.parametrize(
    ("text", "header", "delimiter"),
    [
        ("a,b\n1,2\n", True, ","),
        ("a;b\n1,5;2\n3,5;4\n", True, ";"),
        ("a,b;c,d;e\n1;2;3\n", True, ";"),
        ("1,5;2,5;3,5\n", False, ";"),
        ("1,5,2\n", False, ","),
        ('a,b\n"x;y",1\n"z;w",2\n', True, ","),
        ("name|note\na|x, y\nb|z, w\n", True, "|"),
        ("a b\n1 2\n", True, ","),  # two lines of two words say nothing
        ("a b\n1 2\n3  4\n", True, "whitespace"),
        ("a\n1\n", True, ","),
        ("a,b\n1,2\n3\n4,5\n", True, ","),
        ("a\tb c\n1\t2 3\n4\t5\n", True, "\t"),
        ("", True, ","),
    ],
)
def test_the_delimiter_is_found_out(text: str, header: bool, delimiter: str) -> None:
    assert found_delimiter(text, CsvOptions(header=header)) == delimiter


_TEXTS = [
    "a",
    "b c",
    'say "x"',
    "x;y",
    "1,5",
    "it's",
    "p|q",
    "tab\there",
    "two\nlines",
    "",
    "NA",
    "é",
    "#5",
    "\\b",
    " c ",
]


@pytest.mark.parametrize("seed", range(4))
def test_files_written_at_random_are_read_as_pandas_reads_them(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with DuckdbEngine() as engine:
        for count in range(10):
            escaped, skipped = chance.random() < 0.3, chance.choice([0, 0, 2])
            encoding = chance.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"])
            sign, end = chance.choice(",;\t|"), chance.choice(["\n", "\r\n"])
            how = {"doublequote": not escaped, "escapechar": "\\" if escaped else None}
            text = io.StringIO(newline="")
            text.write(f"a report{end}" * skipped)
            quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
            writer = csv.writer(text, delimiter=sign, quoting=quoting, lineterminator=end, **how)
            writer.writerow(["n", "x", "s", "t u"])
            for _ in range(chance.randint(3, 20)):
                s, t = chance.choices(_TEXTS, k=2)
                writer.writerow([chance.randint(-5, 5), chance.choice([0.5, -1.25]), s, t])
            path = tmp_path / f"{count}.csv"
            path.write_bytes(text.getvalue().encode(encoding))
            options = {"skipRows": skipped}
            options |= {"delimiter": sign} if chance.random() < 0.5 else {}
            options |= {"escape": "\\"} if escaped else {}
            if encoding == "utf-16" or (encoding == "cp1252" and not text.getvalue().isascii()):
                options["encoding"] = encoding
            types = {"s": "string", "t u": "string"}
            source = {"uri": f"file://{path}", "format": "csv", "options": options, "schema": types}
            with Scratch(tmp_path / "out") as place:
                frame = read_input(engine, Input.model_validate(source), scratch=place)
                rows = engine.rows(f'SELECT n, x, s, "t u" FROM {frame.view}')
            theirs = pd.read_csv(
                path,
                sep=sign,
                encoding=encoding,
                skiprows=skipped,
                dtype=dict.fromkeys(types, str),
                **how,
            ).astype(object)
            theirs = theirs.where(theirs.notna(), None).values.tolist()
            assert sorted(map(repr, map(list, rows))) == sorted(map(repr, theirs)), options


_PAGE = (Path(__file__).parents[3] / "docs" / "preprocessing.md").read_text("utf-8")
_SECTION = _PAGE[_PAGE.index("| the file has |") :].partition("\n\n")[0]
_ROW = re.compile(r"\| (.*): `(.*)` \| `(.*)` \| (.*) \|")


@pytest.mark.parametrize("row", [line for line in _SECTION.splitlines() if _ROW.fullmatch(line)])
def test_the_page_says_what_is_read(row: str, tmp_path: Path) -> None:
    found = _ROW.fullmatch(row)
    assert found is not None
    what, field, setting, becomes = found.groups()
    settings = yaml.safe_load(setting)
    options = settings.get("options", {})
    delimiter = {"whitespace": "  "}.get(options.get("delimiter"), options.get("delimiter", ","))
    lines = [f"x{delimiter}y", f"{field}{delimiter}1"]
    if "comment" in what:
        lines.insert(1, "# this, and, that")
    if "before the table" in what:
        lines = ["A report", "of 2024", *lines]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n", options.get("encoding", "utf-8"))
    source = Input.model_validate({"uri": f"file://{path}", "format": "csv", **settings})
    with DuckdbEngine() as engine, Scratch(tmp_path / "out") as place:
        frame = read_input(engine, source, scratch=place)
        ((value, one),) = engine.rows(f"SELECT x, y FROM {frame.view}")
    with contextlib.suppress(json.JSONDecodeError):
        becomes = json.loads(becomes)
    assert (str(value) if isinstance(becomes, str) else value) == becomes
    assert one == 1 or "quotes that are" in what


def test_the_tests_of_values_are_planned_without_a_join() -> None:
    hints = [CODES["double"], CODES["bigint"]]
    odd = unlike(DUCKDB, ["c0", "c1"], CsvOptions(), hints)
    with DuckdbEngine() as engine:
        source = engine.view("SELECT range::VARCHAR AS c0, range::VARCHAR AS c1 FROM range(9000)")
        ((_, plan),) = engine.rows(f"EXPLAIN SELECT {odd} AS odd FROM {source}")
    assert "range" in plan.lower()
    assert "join" not in plan.lower()
