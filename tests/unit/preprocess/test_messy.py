"""Files that people have, and files that want to do harm: read, or refused in the words of the case.

A row is a file and what is read of it, or the reason and a part of the message.
"""

from __future__ import annotations

import base64
import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc
from pyarrow.feather import write_feather
from pyarrow.parquet import encryption

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.input import packing
from trainingjob.runtime.preprocess.input.files import columns_differ
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.input.scratch import Scratch
from trainingjob.runtime.preprocess.notes import Notes


@dataclass(frozen=True)
class Refused:
    """What is read, and why it is not."""

    files: bytes | str | Mapping[str, bytes | str]
    reason: str
    message: str
    format: str = "csv"
    input: dict[str, Any] = field(default_factory=dict)


def zipped(members: Mapping[str, bytes]) -> bytes:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return packed.getvalue()


def parquet(table: pa.Table) -> bytes:
    with io.BytesIO() as file:
        pq.write_table(table, file)
        return file.getvalue()


def feather(table: pa.Table) -> bytes:
    with io.BytesIO() as file:
        write_feather(table, file)
        return file.getvalue()


class Keys(encryption.KmsClient):
    """Hides keys by a code that is none."""

    def __init__(self) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypted(**more: Any) -> bytes:
    table = pa.table({"n": [1]})
    properties = encryption.CryptoFactory(lambda _: Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["n"]}, **more),
    )
    with io.BytesIO() as file:
        with pq.ParquetWriter(file, table.schema, encryption_properties=properties) as writer:
            writer.write_table(table)
        return file.getvalue()


def stream(table: pa.Table) -> bytes:
    with io.BytesIO() as file:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        return file.getvalue()


CSV = b"n,s\n1,a\n"
DEEP = "[" * 100_000

REFUSED: dict[str, Refused] = {
    # --- what is no CSV
    "JSON lines": Refused('{"n": 1}\n', "InputUnreadable", "is JSON, by its beginning; set preprocess.input.format to json"),
    "an array of JSON": Refused('[\n {"n": 1}]', "InputUnreadable", "set preprocess.input.format to json"),
    "ARFF": Refused("@RELATION iris\n@ATTRIBUTE x NUMERIC\n@DATA\n1\n", "InputUnreadable", "scipy.io.arff.loadarff"),
    "LIBSVM": Refused("1 1:0.5 3:2\n-1 2:1e3\n", "InputUnreadable", "sklearn.datasets.load_svmlight_file"),
    "SAS": Refused(bytes(12) + b"\xc2\xea\x81\x60\xb3\x14" + bytes(100), "InputUnreadable", "pandas.read_sas"),
    "SAS transport": Refused(b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!0000  \x00", "InputUnreadable", "pandas.read_sas"),
    "old Stata": Refused(b"\x72\x02\x01\x00" + bytes(100), "InputUnreadable", "pandas.read_stata"),
    "MATLAB": Refused(b"MATLAB 5.0 MAT-file" + bytes(100), "InputUnreadable", "is data of MATLAB"),
    "a binary file": Refused(b"n,s\n\x01\x02\x03\x04\x05\x06\xf1\n", "InputUnreadable", "no text but of a binary format"),
    "OpenDocument": Refused({"a.ods": zipped({"mimetype": b"x", "content.xml": b"x"})}, "InputUnreadable", "is an OpenDocument file"),
    "ORC as CSV": Refused(b"ORC\x01\x02" + bytes(50), "InputUnreadable", "is an ORC file; set preprocess.input.format to orc"),
    "a stream of Arrow": Refused(stream(pa.table({"n": [1]})), "InputUnreadable", "pyarrow.ipc.open_stream(…).read_pandas().to_parquet(…)"),
    "a database of DuckDB": Refused(bytes(8) + b"DUCK\x40" + bytes(500), "InputUnreadable", "COPY … TO 'data.parquet'"),
    "a pickle that is text": Refused(pickle.dumps([1], 0), "InputUnreadable", "is a pickle; write the frame"),
    "one object of R": Refused(gzip.compress(b"X\n\x00\x00\x00\x03" + bytes(50)), "InputUnreadable", "is data of R; write it with write.csv"),
    "arrays of NumPy": Refused({"a.npz": zipped({"x.npy": b"\x93NUMPY\x01\x00"})}, "InputUnreadable", "has arrays of NumPy; write it as CSV"),
    "arrays of NumPy as JSON": Refused({"a.npz": zipped({"x.npy": b"\x93NUMPY\x01\x00"})}, "InputUnreadable", "has arrays of NumPy", "json"),
    "a model of PyTorch": Refused({"a.pt": zipped({"archive/data.pkl": b"\x80\x02", "archive/version": b"3"})}, "InputUnreadable", "is a model or tensors of PyTorch"),
    "records of TensorFlow": Refused(b"\x10" + bytes(7) + b"\x01\x02\x03\x04\n\x0e" + bytes(40), "InputUnreadable", "no text but of a binary format"),
    "SQL": Refused("-- dump\nCREATE TABLE t (n int, s text);\nINSERT INTO t VALUES (1, 'a');\n", "InputUnreadable", "is SQL; run it in its database"),
    "YAML": Refused("- n: 1\n  s: a\n- n: 2\n  s: b\n", "InputUnreadable", "is YAML; write it with pandas.DataFrame(yaml.safe_load(…))"),
    "a table of MySQL": Refused("+---+---+\n| n | s |\n+---+---+\n| 1 | a |\n+---+---+\n", "InputUnreadable", "is a table that MySQL has drawn; have it written with mysql --batch"),
    "a table of psql": Refused(" n | s\n---+---\n 1 | a\n(1 row)\n", "InputUnreadable", "is a table that psql has drawn; have it written with psql --csv"),
    "a table of Oracle's": Refused("\nN          S\n---------- ----------\n1          a\n\n1 rows selected.\n", "InputUnreadable", "have it written with SET MARKUP CSV ON"),
    "a table of Markdown": Refused("| n | s |\n|---|:--|\n| 1 | a |\n", "InputUnreadable", "is a table of Markdown; write it as CSV"),
    "not packed, as its name says": Refused({"a.csv.gz": CSV}, "InputUnreadable", "is named .gz and is no gzip file: name it without"),
    "packed by half": Refused({"a.csv.gz": gzip.compress(CSV)[:-6]}, "InputUnreadable", "it was cut off, or is damaged: bring it anew"),
    "packed twice": Refused({"a.csv.gz": gzip.compress(gzip.compress(CSV))}, "InputUnreadable", "is packed twice"),
    "zip in zip": Refused({"a.zip": zipped({"b.zip": zipped({"c.csv": CSV})})}, "InputUnreadable", "is packed twice, zip in it"),
    # --- CSV
    "single quotes around fields": Refused("n,s\n1,'a,b'\n", "InputMalformed", "set preprocess.input.options.quote to \"'\""),
    "a name twice": Refused("n,n\n1,2\n", "DuplicateColumns", "{header: false, skipRows: 1} leaves the line of names out"),
    "Japanese": Refused("n,s\n1,テキスト\n2,ひらがな\n".encode("shift_jis"), "InputNotUtf8", "set preprocess.input.options.encoding to shift_jis"),
    "a page of HTML with a table": Refused("<html><body><table><tr><td>1</td></tr></table>", "InputUnreadable", "pandas.read_html(…)[0]"),
    "UTF-16 without a mark": Refused("n,s\n1,a\n".encode("utf-16-le"), "InputNotUtf8", "set preprocess.input.options.encoding to utf-16-le"),
    "a note below the table": Refused("n,s,y\n1,a,2\n2,b,3\n\nSource: the office\n", "InputMalformed", "line 5: 1 fields instead of 3; it is the last one: if it is a note below the table"),
    "a line of one field among others": Refused("n,s,y\n1,a,2\n2,b,3\nx\n3,c,4\n", "InputMalformed", "line 4: 1 fields instead of 3"),
    "curly quotes": Refused("s,y\n“a, b”,1\n“c, d”,2\n", "InputMalformed", 'curly quotes are no quotes of CSV: write the file with " around fields'),
    "texts with commas, a line each": Refused("text\nhello, x\nb\n", "InputMalformed", "line 2: 2 fields instead of 1; if each line is one text, set preprocess.input.format to text and documents to lines"),
    "a title above the table": Refused("Report\nn,s\n1,a\n2,b\n", "InputMalformed", "line 2: 2 fields instead of 1; if the table begins in line 2, set preprocess.input.options.skipRows to 1"),
    "a table of R": Refused('"n" "s"\n"1" 1 "a"\n"2" 2 "b"\n', "InputMalformed", "the first of each line may be a row's name, as R writes them: give that column a name in the first line"),
    "a comment among the rows": Refused("n,s\n# the old ones\n1,a\n2,b\n", "InputMalformed", 'line 2: 1 fields instead of 2; set preprocess.input.options.comment to "#"'),
    "a delimiter behind the names alone": Refused("n,s,\n1,a\n2,b\n", "InputMalformed", "the first line ends with a delimiter, and no other does: remove it there"),
    "decimal commas between commas": Refused("x,y\n1,5,2,5\n3,5,4,5\n", "InputMalformed", "if commas stand in numbers as well as between them"),
    "NULs behind the last line": Refused(b"n,s\n1,a\n2,b\n" + bytes(64), "InputMalformed", "line 4: 1 fields instead of 2; it is the last one"),
    # --- what is no Parquet, and no ORC
    "CSV as Parquet": Refused(CSV, "InputUnreadable", "is text and not Parquet; if it is a table, set preprocess.input.format to csv", "parquet"),
    "JSON as Parquet": Refused('{"n": 1}\n', "InputUnreadable", "is JSON, by its beginning; set preprocess.input.format to json", "parquet"),
    "a pickle as Parquet": Refused(pickle.dumps([1], 4), "InputUnreadable", "is a pickle; write the frame with to_parquet(…)", "parquet"),
    "Feather as ORC": Refused(feather(pa.table({"n": [1]})), "InputUnreadable", "is an Arrow file", "orc"),
    "Parquet as ORC": Refused(parquet(pa.table({"n": [1]})), "InputUnreadable", "is a Parquet file; set preprocess.input.format to parquet", "orc"),
    "Excel as Parquet": Refused(zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}), "InputUnreadable", "is an Excel workbook", "parquet"),
    "packed Parquet": Refused(gzip.compress(parquet(pa.table({"n": [1]}))), "InputUnreadable", "is packed with gzip, which nothing of this format is: unpack it", "parquet"),
    "half a Parquet file": Refused(parquet(pa.table({"n": [1]}))[:-8], "InputUnreadable", "it was cut off, or is damaged", "parquet"),
    "encrypted Parquet": Refused(encrypted(), "InputUnreadable", "is encrypted: write it without encryption", "parquet"),
    "encrypted Parquet with a footer for all": Refused(encrypted(plaintext_footer=True), "InputUnreadable", "a file of Parquet is encrypted: write it without encryption", "parquet"),
    "a table of Delta Lake": Refused({"t/_delta_log/00.json": "{}", "t/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Delta Lake, whose folder also has files of its earlier versions: write the rows as they are now with deltalake.DeltaTable(", "parquet", {"uri": "/t"}),
    "partitions of Delta Lake by a glob": Refused({"t/_delta_log/00.json": "{}", "t/k=1/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Delta Lake", "parquet", {"uri": "/t/*/*.parquet"}),
    "a partition of Delta Lake": Refused({"t/_delta_log/00.json": "{}", "t/k=1/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Delta Lake", "parquet", {"uri": "/t/k=1"}),
    "a file of a partition of Delta Lake": Refused({"t/_delta_log/00.json": "{}", "t/k=1/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Delta Lake", "parquet", {"uri": "/t/k=1/a.parquet"}),
    "a table of Iceberg": Refused({"t/metadata/v1.metadata.json": "{}", "t/data/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Iceberg", "parquet", {"uri": "/t"}),
    "a table of Hudi": Refused({"t/.hoodie/hoodie.properties": "", "t/a.parquet": parquet(pa.table({"n": [1]}))}, "InputUnreadable", "is in a table of Hudi", "parquet", {"uri": "/t"}),
    "bytes as Parquet": Refused(bytes(range(1, 9)), "InputUnreadable", "is no text but of a binary format", "parquet"),
    # --- names
    "a name of ours": Refused("__trainingjob_split,y\n1,2\n", "DuplicateColumns", "named as only columns of the product are"),
    "another name of ours": Refused('{"trainingjob_fold": 1}\n', "DuplicateColumns", "named as only columns of the product are", "json"),
    "a NUL in a name": Refused("n\0,s\n1,a\n", "DuplicateColumns", "the name of column 1 has a NUL character"),
    "a key without a name": Refused('{"": 1, "n": 2}\n', "DuplicateColumns", "column 2 has no name", "json"),
    "a key without a name in an object": Refused('{"n": 2, "u": {"": 1}}\n', "DuplicateColumns", "in u: column 1 has no name", "json"),
    "a NUL in a key": Refused('{"a\\u0000": 1}\n', "DuplicateColumns", "has a NUL character", "json"),
    "Parquet without a name": Refused(parquet(pa.table({"": [1], "n": [2]})), "DuplicateColumns", "column 1 has no name", "parquet"),
    # --- JSON
    "JSON deeper than a stack": Refused('{"n": ' + DEEP + "]" * 100_000 + "}\n", "InputMalformed", "deeper than can be read", "json"),
    "an array deeper than a stack": Refused(DEEP, "InputMalformed", "deeper than can be read", "json"),
    "CSV as JSON": Refused(CSV, "InputMalformed", "no JSON; a table of texts is preprocess.input.format csv", "json"),
    "JSON lines with commas": Refused('{"n": 1},\n{"n": 2},\n', "InputMalformed", "line 1: a comma stands behind the object: remove it, or put all of them between [ and ]", "json"),
    "a comma behind the last value": Refused('{"n": 1,}\n', "InputMalformed", "line 1: a comma stands behind the last element", "json"),
    "a comma behind the last object": Refused('[{"n": 1},\n]', "InputMalformed", "line 2: a comma stands behind the last element", "json"),
    "what Python shows": Refused("{'n': 1}\n", "InputMalformed", "line 1: texts have single quotes: write the file with json.dumps(…)", "json"),
    "Python's names": Refused('{"n": None}\n', "InputMalformed", "line 1: None is Python's", "json"),
    "keys without quotes": Refused("{n: 1}\n", "InputMalformed", "line 1: keys have no quotes: write the file with json.dumps(…)", "json"),
    "arrays in lines": Refused('["n"]\n[1]\n', "InputMalformed", "line 2: another array stands behind the first: write one array of objects", "json"),
    "an array of arrays": Refused('[["n"], [1]]', "InputMalformed", "element 1 of the array: not an object; write one object a row, as pandas does", "json"),
    "a comment in JSON": Refused('// by hand\n{"n": 1}\n', "InputMalformed", "line 1: JSON has no comments", "json"),
    "NaN, as json.dumps writes it": Refused('{"n": NaN}\n', "InputMalformed", "line 1: NaN is not JSON: write null for it, as pandas' to_json(…) does", "json"),
    "objects over several lines": Refused('{\n"n": 1\n}\n{\n"n": 2\n}\n', "InputMalformed", "write one object a line, or one array of objects", "json"),
}  # fmt: skip


def written(files: bytes | str | Mapping[str, bytes | str], format: str, folder: Path) -> Path:
    files = files if isinstance(files, Mapping) else {f"data.{format}": files}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / next(iter(files))


def read(path: Path, format: str = "csv", **more: Any) -> tuple[dict[str, str], list[Any]]:
    """Columns and rows."""
    source = Input.model_validate({"uri": f"file://{path}", "format": format, **more})
    with DuckdbEngine() as engine, Scratch(path.parent / "out") as place:
        frame = read_input(engine, source, scratch=place)
        names = ", ".join(map(engine.dialect.ident, frame.columns))
        return dict(frame.columns), engine.rows(f"SELECT {names} FROM {frame.view}")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    case = REFUSED[name]
    path, more = written(case.files, case.format, tmp_path), dict(case.input)
    if "uri" in more:  # a folder, or a glob
        path = tmp_path / more.pop("uri")[1:]
    with pytest.raises(StageFailure) as caught:
        read(path, case.format, **more)
    failure = caught.value
    assert (failure.reason, case.message in failure.message) == (case.reason, True), failure.message


# Files below a folder, and which of them are read by its name and by a glob.
FOLDER = {
    "a.csv": "n\n1\n",
    "_meta.csv": "x\n1\n",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "desktop.ini": "[.ShellClassInfo]\n",
    ".hidden.csv": "x\n1\n",
    "_temporary/b.csv": "x\n1\n",
    "sub/c.csv": "n\n2\n",
}
SEEN: dict[str, list[int]] = {
    "": [1, 2, 3],
    "*": [1, 2, 3],
    "**": [1, 2, 3],
    "*.csv": [1],
    "_*.csv": [],
    "linked/*": [1, 2, 3],
    "linked/d.csv": [3],
}


@pytest.mark.parametrize("glob", SEEN)
def test_links_to_folders_are_followed_and_what_is_hidden_is_not_read(
    glob: str, tmp_path: Path
) -> None:
    written(FOLDER, "csv", tmp_path / "d")
    written({"d.csv": "n\n3\n"}, "csv", tmp_path / "elsewhere")
    (tmp_path / "d" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "d")
    columns, rows = read(tmp_path / "d" / glob)
    assert list(columns) == ["n" if SEEN[glob] else "x"]
    assert sorted(value for (value,) in rows) == (SEEN[glob] or [1])


NUMBERS: dict[str, tuple[pa.Array, list[Any], str]] = {
    "infinities are told": (pa.array([0.5, float("inf"), float("nan")]), [0.5, None, None], "x: infinite values, or numbers beyond 1.8e308, are read as null"),
    "NaN is pandas' null": (pa.array([0.5, float("nan"), None]), [0.5, None, None], ""),
    "infinities in a list are told": (pa.array([[0.5], [-float("inf")]]), [0.5, None], "x: infinite values"),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_null_and_infinities_are_told(name: str, tmp_path: Path) -> None:
    array, values, told = NUMBERS[name]
    path = written({"a.parquet": parquet(pa.table({"x": array}))}, "parquet", tmp_path)
    notes = Notes()
    with DuckdbEngine() as engine:
        source = Input.model_validate({"uri": f"file://{path}", "format": "parquet"})
        frame = read_input(engine, source, notes=notes)
        rows = engine.rows(f"FROM {frame.view}")
    assert sorted([value for (value,) in rows], key=repr) == sorted(values, key=repr)
    assert any(told in one.message for one in notes.warnings) == bool(told)


# Files of CSV, the names that are read, and the reason and a part of the warning, if there is one.
TABLE = "x,s,y\n1,a,2\n3,b,4\n"
TOLD: dict[str, tuple[str, list[str], str, str]] = {
    "a row of sums": (TABLE + "4,Total,6\n", ["x", "s", "y"], "TotalsRow", "the last row has \"Total\" in s, as one that sums up those above it; if it does, `filter: {where: \"coalesce(s, '') <> 'Total'\"}`"),
    "a row of sums in German, with blanks": ("stadt;n\na;1\nb;2\n Summe: ;3\n", ["stadt", "n"], "TotalsRow", '" Summe: " in stadt'),
    "total is one of the values": (TABLE + "4,total,6\n5,b,1\n3,total,2\n", ["x", "s", "y"], "", ""),
    "no row of sums": (TABLE, ["x", "s", "y"], "", ""),
    "a title before the table": ("Sales 2024,,\n,,\n" + TABLE, ["Sales 2024", "c1", "c2"], "NamesBelow", "c1, c2 have no name in the first line, and line 3 looks like names; if it has them, set preprocess.input.options.skipRows to 2"),
    "cells that were merged": ("Size,,Price\n" + TABLE, ["Size", "c1", "Price"], "NamesBelow", "set preprocess.input.options.skipRows to 1"),
    "a column without a name": ("n,\na,b\nc,d\n", ["n", "c1"], "", ""),
    "values for names": ("5.1,3.5,a\n4.9,3.0,a\n6.1,2.2,b\n", ["5.1", "3.5", "a"], "NamesMissing", "the first line looks like values and not like names; if it is a row, set preprocess.input.options.header to false"),
    "numbers for names, as frames without have": ("0,1\n5,6\n7,8\n", ["0", "1"], "", ""),
    "values for names, of which one is null": ("0.8,0.09,NaN\n0.9,0.27,0.5\n0.1,0.5,NaN\n", ["0.8", "0.09", "NaN"], "NamesMissing", "the first line looks like values"),
    "a blank line above the names": ("\nn,m\n1,2\nx,3\n5,4\n", ["n", "m"], "ReadAsText", '"x" (data.csv, line 4)'),
    "days of SAS": ("d,y\n01JAN2024,1\n15FEB2024,2\n", ["d", "y"], "ReadAsText", "set preprocess.input.dateFormats to {d: ddMMMyyyy} for dates"),
    "values for names, of which some are of a row alone": ("C1,7,5.5,2.5,ab\nC2,8,4.0,9,cd\nC3,9,6.5,1,ef\n", ["C1", "7", "5.5", "2.5", "ab"], "NamesMissing", "the first line looks like values"),
    "years for names": ("city,1990,1991\na,5,6\nb,8,9\n", ["city", "1990", "1991"], "", ""),
    "the names again": ("s,n\na,1\ns,n\nb,3\nc,4\n", ["s", "n"], "ReadAsText", "n is text: \"n\" (data.csv, line 3) is the column's name again; `filter: {where: \"coalesce(n, '') <> 'n'\"}` leaves the line out, then `cast: {columns: {n: double}}`"),
    "units below the names": ("s,n\n-,kg\nb,3\nc,4\n", ["s", "n"], "ReadAsText", "\"kg\" (data.csv, line 2) is below the names, in a line without numbers, such as one of units; `filter: {where: \"coalesce(n, '') <> 'kg'\"}`"),
    "an odd value in the first row": ("n,m\nnone yet,2\n3,3\n5,4\n", ["n", "m"], "ReadAsText", "if that stands for null"),
    "commas of any meaning": ('x,y\n"1,234",1\n"56,789",2\n', ["x", "y"], "ReadAsText", "thousands to a comma if it groups the digits, or decimal to a comma if it stands before the fraction"),
    "a number beyond doubles": ("x,y\n1e400,1\n2.5,2\n", ["x", "y"], "ValuesBecameNull", "x: infinite values, or numbers beyond 1.8e308, are read as null"),
    "large numbers": ("x,y\n1e300,1\n2.5E-7,2\n", ["x", "y"], "", ""),
    "days in words": ("d,y\n31-Jan-2024,1\n1-Feb-2024,2\n", ["d", "y"], "ReadAsText", "set preprocess.input.dateFormats to {d: d-MMM-yyyy} for dates"),
    "months in words": ('d,y\n"Jan 31, 2024",1\n"Feb 1, 2024",2\n', ["d", "y"], "ReadAsText", 'set preprocess.input.dateFormats to {d: "MMM d, yyyy"} for dates'),
    "years first, with slashes": ("d,y\n2024/01/31,1\n2024/02/01,2\n", ["d", "y"], "ReadAsText", "set preprocess.input.dateFormats to {d: yyyy/MM/dd} for dates"),
    "days and months that may be either": ("d,y\n01/02/2024,1\n03/04/2024,2\n", ["d", "y"], "ReadAsText", "set preprocess.input.dateFormats to {d: dd/MM/yyyy} or {d: MM/dd/yyyy} for dates"),
    "days with hours of twelve": ("d,y\n1/31/2024 3:05 PM,1\n2/1/2024 11:00 AM,2\n", ["d", "y"], "ReadAsText", "set preprocess.input.dateFormats to {d: M/d/yyyy h:mm a} for dates"),
    "years of two digits": ("d,y\n31.12.99,1\n01.02.24,2\n", ["d", "y"], "ReadAsText", "{d: dd.MM.yy} for dates; of yy the years are 2000 to 2099"),
    "thousands as in India": ('x,y\n"1,12,345.5",1\n"2,12,345",2\n', ["x", "y"], "ReadAsText", "set preprocess.input.options.thousands to a comma"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_spreadsheets_add_is_told(name: str, tmp_path: Path) -> None:
    text, names, reason, told = TOLD[name]
    path, notes = written(text, "csv", tmp_path), Notes()
    with DuckdbEngine() as engine:
        frame = read_input(engine, Input(uri=f"file://{path}", format="csv"), notes=notes)
    assert list(frame.columns) == names
    found = [(one.reason, one.message) for one in notes.warnings if one.reason != "BlanksKept"]
    assert [one for one, _ in found] == ([reason] if reason else [])
    assert all(told in message for _, message in found), found


@pytest.mark.parametrize("type_", [pa.string_view(), pa.large_string()])
def test_text_of_any_of_arrows_types_is_text(type_: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"s": pa.array(["a", None], type_)})
    path = written({"a.parquet": parquet(table)}, "parquet", tmp_path)
    assert read(path, "parquet") == ({"s": "string"}, [("a",), (None,)])


@pytest.mark.parametrize("format", ["parquet", "orc"])
def test_a_few_bytes_do_not_stand_for_a_billion_rows(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SURELY_FINE", 2**20)
    path, table = tmp_path / "a", pa.table({"n": np.zeros(2**21, dtype=np.int64)})
    write = pq.write_table if format == "parquet" else orc.write_table
    write(table, path, compression="zstd")
    with pytest.raises(StageFailure, match="over 1000 times its size, which no table does"):
        read(path, format)
    write(pa.table({"n": np.arange(2**15)}), path)
    assert len(read(path, format)[1]) == 2**15


def test_infinities_of_orc_are_told(tmp_path: Path) -> None:
    table = pa.table({"x": [0.5, float("-inf")], "z": [1.5, float("nan")], "n": [1, 2]})
    orc.write_table(table, tmp_path / "a.orc")
    notes = Notes()
    with DuckdbEngine() as engine:
        source = Input.model_validate({"uri": f"file://{tmp_path}/a.orc", "format": "orc"})
        frame = read_input(engine, source, notes=notes)
        assert engine.rows(f"SELECT count(x), count(z), count(n) FROM {frame.view}") == [(1, 1, 2)]
    assert [one.message for one in notes.warnings] == [
        f"file://{tmp_path}/a.orc: x: infinite values, or numbers beyond 1.8e308, are read as null"
    ]


def test_of_files_of_several_kinds_a_glob_names_the_rest() -> None:
    failure = columns_differ(Path("d/a.csv"), ["x"], Path("d/README.md"), ["# About"])
    assert failure.message.endswith("name the rest by a glob, such as *.csv")
    failure = columns_differ(Path("d/b.csv"), ["x"], Path("d/a.csv"), ["y"])
    assert failure.message.endswith("unlike d/a.csv")


def test_a_description_among_parquet_is_told(tmp_path: Path) -> None:
    written(
        {"t/README.md": "# About\n", "t/a.parquet": parquet(pa.table({"n": [1]}))}, "", tmp_path
    )
    with pytest.raises(
        StageFailure, match=r"README\.md is text and not Parquet.*such as \*\.parquet"
    ):
        read(tmp_path / "t", "parquet")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    written({"a.csv": CSV}, "csv", tmp_path)
    os.mkfifo(tmp_path / "b.csv")
    for path in (tmp_path, tmp_path / "b.csv", tmp_path / "*.csv"):
        with pytest.raises(StageFailure, match=r"b\.csv is no file but a pipe"):
            read(path)


def test_a_member_of_an_archive_may_have_any_name(tmp_path: Path) -> None:
    packed = zipped({"é" * 200 + ".csv": CSV, "/abs/b.csv": b"n,s\n2,b\n"})
    _, rows = read(written({"a.zip": packed}, "csv", tmp_path))
    assert sorted(rows) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("name", ["in", "in/*.csv", "in/b.csv", "in/**", "in/there"])
def test_a_link_out_of_a_claim_is_refused_in_a_pod_and_followed_on_one_machine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod it leads to what the pod alone has, such as its token."""
    written({"in/a.csv": CSV}, "csv", tmp_path / "claim")
    written({"b.csv": CSV}, "csv", tmp_path / "elsewhere")
    (tmp_path / "claim/in/b.csv").symlink_to(tmp_path / "elsewhere/b.csv")
    (tmp_path / "claim/in/there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "claim/in/again.csv").symlink_to("a.csv")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/data").symlink_to(tmp_path / "claim")
    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("TRAININGJOB_CLAIMS_DIR", str(tmp_path / "linked"))
    assert read(tmp_path / "linked/data" / name)
    (tmp_path / "claim").rename(tmp_path / "mounted/data")
    monkeypatch.setenv("TRAININGJOB_CLAIMS_DIR", str(tmp_path / "mounted"))
    with pytest.raises(StageFailure, match="is a link that leads out of the claim") as error:
        read(tmp_path / "mounted/data" / name)
    assert error.value.reason == "InputUnreadable"
    if name != "in/there":
        for link in ("b.csv", "there"):
            (tmp_path / "mounted/data/in" / link).unlink()
        with_rest = name if name != "in/b.csv" else "in/again.csv"
        assert read(tmp_path / "mounted/data" / with_rest)
