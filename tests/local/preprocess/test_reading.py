"""Both engines read a file alike: the same columns and rows, or the same reason why not."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.input import csv
from trainingjob.runtime.preprocess.input import json as json_input
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

CSV: dict[str, Good | Bad] = {
    # --- lines
    "a plain file": Good("n,x,s\n1,1.5,a\n2,2.5,b\n", {"n": "bigint", "x": "double", "s": "string"}, [(1, 1.5, "a"), (2, 2.5, "b")]),
    "the last line may lack its end": Good("n,s\n1,a\n2,b", NS, [(1, "a"), (2, "b")]),
    "lines may end with CR LF": Good("n,s\r\n1,a\r\n2,b\r\n", NS, [(1, "a"), (2, "b")]),
    "blank lines are no rows": Good("n,s\n1,a\n\n2,b\n\n\n", NS, [(1, "a"), (2, "b")]),
    "blank lines before the first row": Good("\n\n1,a\n", {"c0": "bigint", "c1": "string"}, [(1, "a")], {"header": False}),
    "blank lines of a single column": Good('n\n1\n\n""\n2\n\n', {"n": "bigint"}, [(1,), (None,), (2,)]),
    "blank lines between tabs": Good("n\ts\n1\ta\n\t\n2\tb\n", NS, [(1, "a"), (2, "b")], {"delimiter": "\t"}),
    "lines may end in several ways": Good("n,s\r\n1,a\n2,b\r\n3,c\r4,d\n", NS, [(1, "a"), (2, "b"), (3, "c"), (4, "d")], pandas={}),
    "lines end in another way far down": Good("n,s\n" + "1,a\n" * 3000 + "2,b\r\n", NS, [*[(1, "a")] * 3000, (2, "b")]),
    "lines may end with CR alone": Good("n,s\r1,a\r2,b\r", NS, [(1, "a"), (2, "b")]),
    "a byte order mark": Good(b"\xef\xbb\xbfn,s\n1,a\n", NS, [(1, "a")]),
    "a byte order mark before a quote": Good(b'\xef\xbb\xbf"n","s"\n1,a\n', NS, [(1, "a")]),
    "a byte order mark without names": Good(b"\xef\xbb\xbf1,a\n2,b\n", {"c0": "bigint", "c1": "string"}, [(1, "a"), (2, "b")], {"header": False}),
    "a long field": Good(f'n,s\n1,"{LONG}"\n2,b\n', NS, [(1, LONG), (2, "b")], warnings=["BlanksKept"]),
    "what looks like a comment": Good("n,s\n1,#a\n#2,b\n", {"n": "string", "s": "string"}, [("1", "#a"), ("#2", "b")]),
    # --- quotes
    "quotes around fields": Good('"n","s"\n"1","a"\n"2","b"\n', NS, [(1, "a"), (2, "b")]),
    "a delimiter inside quotes": Good('n,s\n1,"a,b"\n2,","\n', NS, [(1, "a,b"), (2, ",")]),
    "a doubled quote is a quote": Good('n,s\n1,"say ""hi"""\n2,""""\n', NS, [(1, 'say "hi"'), (2, '"')]),
    "a line break inside quotes": Good('n,s\n1,"one\ntwo"\n2,"\n"\n3,c\n', NS, [(1, "one\ntwo"), (2, "\n"), (3, "c")]),
    "a line break inside quotes at the end of a field": Good('n,s\n1,"one\n"\n2,b\n', NS, [(1, "one\n"), (2, "b")]),
    "a line break, a delimiter and quotes inside quotes": Good('n,s\n1,"a ""b"",\n""c"", 1"\n2,b\n', NS, [(1, 'a "b",\n"c", 1'), (2, "b")]),
    "a line break inside quotes that leaves two whole lines": Good('n,s\n1,"a\n2,b"\n3,c\n', NS, [(1, "a\n2,b"), (3, "c")]),
    "a blank line inside quotes": Good('n,s\n1,"one\n\ntwo"\n2,b\n', NS, [(1, "one\n\ntwo"), (2, "b")]),
    "CR LF inside quotes is a line break": Good('n,s\r\n1,"one\r\ntwo"\r\n2,b\r\n', NS, [(1, "one\ntwo"), (2, "b")]),
    "CR LF inside quotes where lines end with LF": Good('n,s\n1,"one\r\ntwo"\n2,b\n', NS, [(1, "one\ntwo"), (2, "b")]),
    "LF inside quotes where lines end with CR LF": Good('n,s\r\n1,"one\ntwo"\r\n2,b\r\n', NS, [(1, "one\ntwo"), (2, "b")]),
    "CR inside quotes": Good('n,s\n1,"one\rtwo"\n2,b\n', NS, [(1, "one\rtwo"), (2, "b")]),
    "a backslash is a character": Good('n,s\n1,"a\\"\n2,\\n\n3,"\\\\"\n', NS, [(1, "a\\"), (2, "\\n"), (3, "\\\\")]),
    "an apostrophe is a character": Good("n,s\n1,it's\n2,'b'\n", NS, [(1, "it's"), (2, "'b'")]),
    "another quote": Good("n,s\n1,'a,b'\n2,'it''s'\n3,\"c\"\n", NS, [(1, "a,b"), (2, "it's"), (3, '"c"')], {"quote": "'"}),
    "a quote inside a field": Good('n,s\n1,5" pipe\n2,b"\n', NS, [(1, '5" pipe'), (2, 'b"')]),
    # --- delimiters and names
    "a semicolon": Good("n;s\n1;a,b\n2;c\n", NS, [(1, "a,b"), (2, "c")], {"delimiter": ";"}),
    "a tab": Good("n\ts\n1\ta b\n", NS, [(1, "a b")], {"delimiter": "\t"}),
    "a bar": Good("n|s\n1|a\n", NS, [(1, "a")], {"delimiter": "|"}),
    "no names": Good("1,a\n2,b\n", {"c0": "bigint", "c1": "string"}, [(1, "a"), (2, "b")], {"header": False}),
    "blanks around names": Good(" n , s\n1,a\n", NS, [(1, "a")]),
    "a name of two lines": Good('n,"price\n (EUR)"\n1,2\n3,4\n', {"n": "bigint", "price (EUR)": "bigint"}, [(1, 2), (3, 4)]),
    "two byte order marks": Good("\ufeff\ufeffn,s\n1,a\n", NS, [(1, "a")]),
    "what stands between fields, as Excel says it": Good('sep=;\nn;s\n1;"a;b"\n2;c\n', NS, [(1, "a;b"), (2, "c")]),
    "control A, as Hive writes it": Good("n\x01s\n1\x01a,b\n2\x01c\n", NS, [(1, "a,b"), (2, "c")]),
    "a name is missing": Good("n,\n1,a\n", {"n": "bigint", "c1": "string"}, [(1, "a")]),
    "names of any characters": Good('größe,"a,b","say ""x""",日本\n1,2,3,4\n', {"größe": "bigint", "a,b": "bigint", 'say "x"': "bigint", "日本": "bigint"}, [(1, 2, 3, 4)]),
    "text of any characters": Good("n,s\n1,é\n2,日本\n3,🙂\n4,\ufffd\n", NS, [(1, "é"), (2, "日本"), (3, "🙂"), (4, "\ufffd")]),
    # --- nulls
    "an empty field is null, in quotes as well": Good('n,x,s\n1,1.5,\n,,""\n3,"",c\n"",2.5,d\n', {"n": "bigint", "x": "double", "s": "string"}, [(1, 1.5, None), (None, None, None), (3, None, "c"), (None, 2.5, "d")]),
    "a field of blanks is null": Good("n,x,s\n1,1.5,  \n , ,b\n", {"n": "bigint", "x": "double", "s": "string"}, [(1, 1.5, None), (None, None, "b")]),
    "a column without values is text": Good("n,s\n1,\n2,\n", NS, [(1, None), (2, None)]),
    "text that says null is null": Good("n,s\n1,NULL\n2,null\n3,NaN\n4,N/A\n5,none\n,-NA\nNA,#N/A\n", NS, [(1, None), (2, None), (3, None), (4, None), (5, "none"), (None, "-NA"), (None, None)], pandas={}),
    "text that says null is text where nothing is null": Good("n,s\n1,NULL\n2,NA\n3,\n", NS, [(1, "NULL"), (2, "NA"), (3, None)], {"nullValues": []}, pandas={"keep_default_na": False, "na_values": [""]}),
    "several texts for null": Good("n,x,s\n?,1.5,-\n2,-,a\n3,?,NA\n", {"n": "bigint", "x": "double", "s": "string"}, [(None, 1.5, None), (2, None, "a"), (3, None, "NA")], {"nullValues": ["?", "-"]}, pandas={"keep_default_na": False, "na_values": ["?", "-"]}),
    "several numbers for null": Good("n,b\n-999,true\n2,0\n-1,false\n", {"n": "bigint", "b": "boolean"}, [(None, True), (2, None), (None, False)], {"nullValues": ["-999", "-1", "0"]}),
    "NaN among whole numbers is null": Good("n\n1\nNaN\nnan\n", {"n": "bigint"}, [(1,), (None,), (None,)], pandas={}),
    "a text for null": Good("n,x,s,d\n1,NA,a,2020-01-01\nNA,1.5,NA,NA\n,, NA ,\n", {"n": "bigint", "x": "double", "s": "string", "d": "date"}, [(1, None, "a", day("2020-01-01")), (None, 1.5, None, None), (None, None, None, None)], {"nullValue": "NA"}),
    "a number for null": Good("n,x,s\n-999,1.5,a\n2,-999,-999\n", {"n": "bigint", "x": "double", "s": "string"}, [(None, 1.5, "a"), (2, None, None)], {"nullValue": "-999"}),
    "blanks around the text for null do not matter": Good("n,s\n1,NA\nNA,b\n", NS, [(1, None), (None, "b")], {"nullValue": " NA "}),
    "a text for null with a quote in it": Good("n,s\n1,it's\nit's,b\n", NS, [(1, None), (None, "b")], {"nullValue": "it's"}),
    # --- types
    "blanks around values": Good("n,x,b,d,s\n 1 , 1.5, true , 2020-01-01 , a \n2,2.5 ,false,2020-01-02,b\n", {"n": "bigint", "x": "double", "b": "boolean", "d": "date", "s": "string"}, [(1, 1.5, True, day("2020-01-01"), " a "), (2, 2.5, False, day("2020-01-02"), "b")], warnings=["BlanksKept"], told='s has blanks around texts, as " a "'),
    "blanks around texts are cut": Good('n, s, t\n1, a b ," c"\n2, ?, d\n', {"n": "bigint", "s": "string", "t": "string"}, [(1, "a b", "c"), (2, None, "d")], {"trim": True, "nullValues": ["?"]}),
    "blanks around texts are wanted": Good("n,s\n1, a\n", NS, [(1, " a")], {"trim": False}, pandas={}),
    "numbers as people write them": Good("n,x\n7,.5\n+5,5.\n-3,1e3\n9223372036854775807,-1E-2\n", {"n": "bigint", "x": "double"}, [(7, 0.5), (5, 5.0), (-3, 1000.0), (2**63 - 1, -0.01)]),
    "leading zeros are kept": Good("zip,n\n02134,0\n10001,10\n,\n", {"zip": "string", "n": "bigint"}, [("02134", 0), ("10001", 10), (None, None)], warnings=["ReadAsText"]),
    "leading zeros of negative numbers are kept": Good("n\n-07\n5\n", {"n": "string"}, [("-07",), ("5",)], warnings=["ReadAsText"]),
    "leading zeros among fractions do not count": Good("x\n007\n1.5\n00.5\n", {"x": "double"}, [(7.0,), (1.5,), (0.5,)]),
    "a leading zero far down": Good("zip\n" + "10001\n" * 3000 + "02134\n", {"zip": "string"}, [*[("10001",)] * 3000, ("02134",)], warnings=["ReadAsText"]),
    "whole numbers among others": Good("x\n1\n2.5\n", {"x": "double"}, [(1.0,), (2.5,)]),
    "a whole number beyond 64 bits is kept": Good("x\n1\n9223372036854775808\n", {"x": "string"}, [("1",), ("9223372036854775808",)], warnings=["ReadAsText"]),
    "a whole number beyond 64 bits among fractions": Good("x\n0.5\n18446744073709551615\n", {"x": "double"}, [(0.5,), (2.0**64,)], warnings=["ValuesRounded"]),
    "a whole number that a double does not hold among fractions": Good("x\n" + "1\n" * 1500 + "9007199254740993\n0.5\n", {"x": "double"}, [*[(1.0,)] * 1500, (2.0**53,), (0.5,)], warnings=["ValuesRounded"]),
    "long fractions are no such numbers": Good("x\n0.12345678901234567890\n1\n", {"x": "double"}, [(0.12345678901234568,), (1.0,)]),
    "numbers beyond doubles are null": Good("x\n1.5\n1e400\n-1e400\n1e-400\n-0.0\n", {"x": "double"}, [(1.5,), (None,), (None,), (0.0,), (0.0,)], warnings=["ValuesBecameNull"]),
    "what is no number among numbers is null": Good("x\n1.5\nNaN\nnan\ninf\n-Infinity\n+INF\n", {"x": "double"}, [(1.5,), *[(None,)] * 5], warnings=["ValuesBecameNull"]),
    "NaN alone is a null": Good("x\n1.5\nNaN\n", {"x": "double"}, [(1.5,), (None,)]),
    "what only some engines take for numbers is text": Good("a,b,c,d\n1_000,1.5f,0x10,1d\n2,2,2,2\n", dict.fromkeys("abcd", "string"), [("1_000", "1.5f", "0x10", "1d"), ("2", "2", "2", "2")]),
    "booleans": Good("b,t\ntrue,yes\nFALSE,no\n,\n", {"b": "boolean", "t": "string"}, [(True, "yes"), (False, "no"), (None, None)]),
    "days": Good("d,e\n2020-02-29,2021-02-29\n0001-01-01,2020-01-01\n", {"d": "date", "e": "string"}, [(day("2020-02-29"), "2021-02-29"), (day("0001-01-01"), "2020-01-01")]),
    "times, with days among them": Good(
        "m\n2020-01-01 10:20:30\n2020-01-01T10:20:30.123456\n2020-01-01 10:20\n2020-01-01T10:20:30+05:30\n2020-01-01T00:00:00Z\n2020-01-02\n",
        {"m": "timestamp"},
        [(moment(text),) for text in ("2020-01-01T10:20:30+00:00", "2020-01-01T10:20:30.123456+00:00", "2020-01-01T10:20:00+00:00", "2020-01-01T04:50:30+00:00", "2020-01-01T00:00:00+00:00", "2020-01-02T00:00:00+00:00")],
    ),
    "times of minutes with a zone": Good("m\n2020-01-01 10:20Z\n2020-01-01T10:20+05:30\n", {"m": "timestamp"}, [(moment("2020-01-01T10:20"),), (moment("2020-01-01T04:50"),)]),
    "times as databases write their zones": Good("m\n2020-01-01 10:20:30.5+00\n2020-01-01 10:20:30+0530\n2020-01-01 10:20:30 UTC\n2020-01-01 10:20 UTC\n2020-01-01 10:20+01\n", {"m": "timestamp"}, [(moment(f"2020-01-01 {text}"),) for text in ("10:20:30.5", "04:50:30", "10:20:30", "10:20", "09:20")]),
    "times with a zone among times of another": Good("m\n2020-07-01 12:00:00 UTC\n2020-07-01 12:00\n", {"m": "timestamp"}, [(moment("2020-07-01 12:00"),), (moment("2020-07-01 10:00"),)], input={"timeZone": "Europe/Berlin"}),
    "a day that there is not among days": Good("n,d\n1,2020-01-01\n2,0000-00-00\n3,2020-01-02\n", {"n": "bigint", "d": "string"}, [(1, "2020-01-01"), (2, "0000-00-00"), (3, "2020-01-02")], warnings=["ReadAsText"], told='d is text: 2 of its values are dates, 1 are not: "0000-00-00" (data.csv, line 3); if that stands for null'),
    "a text among times": Good("m\n2020-01-01 10:20\nnever\n2020-01-02 10:20\n", {"m": "string"}, [("2020-01-01 10:20",), ("never",), ("2020-01-02 10:20",)], warnings=["ReadAsText"], told="cast: {columns: {m: timestamp}}"),
    "numbers among text are text": Good("s\n1\na\n2.50\n", {"s": "string"}, [("1",), ("a",), ("2.50",)], warnings=["ReadAsText"], told='s is text: 2 of its values are numbers, 1 are not: "a" (data.csv, line 3)'),
    "text among numbers far down": Good("n,s\n" + "1,\n" * 3000 + "?,\n", dict.fromkeys("ns", "string"), [*[("1", None)] * 3000, ("?", None)], warnings=["ReadAsText"], told='n is text: 3000 of its values are numbers, 1 are not: "?" (data.csv, line 3002)'),
    "numbers among much text are no matter": Good("s\na\nb\n1\nc\n", {"s": "string"}, [("a",), ("b",), ("1",), ("c",)]),
    "empty fields too many at the end": Good('n,s\n1,a\n2,b,\n3,c,,\n', NS, [(1, "a"), (2, "b"), (3, "c")]),
    "a value far down decides": Good("n\n" + "1\n" * 3000 + "x\n", {"n": "string"}, [*[("1",)] * 3000, ("x",)], warnings=["ReadAsText"]),
    # --- files
    "gzip": Good({"a.csv.gz": gzip.compress(b"n,s\n1,a\n")}, NS, [(1, "a")], path="a.csv.gz"),
    "gzip padded with zeros": Good({"a.csv.gz": gzip.compress(b"n,s\n1,a\n") + bytes(512)}, NS, [(1, "a")], path="a.csv.gz"),
    "gzip of several pieces": Good({"a.csv.gz": gzip.compress(b"n,s\n1,a\n") + gzip.compress(b"2,b\n")}, NS, [(1, "a"), (2, "b")], path="a.csv.gz"),
    "gzip with a line break inside quotes": Good({"a.csv.gz": gzip.compress(b'n,s\n1,"one\ntwo"\n')}, NS, [(1, "one\ntwo")], path="a.csv.gz"),
    "a glob": Good({"a1.csv": "n,s\n1,a\n", "a2.csv": "n,s\n2,b\n", "b.csv": "n,s\n3,c\n"}, NS, [(1, "a"), (2, "b")], path="a*.csv"),
    "a folder, without hidden files": Good({"d/a.csv": "n,s\n1,a\n", "d/e/b.csv": "n,s\n2,b\n", "d/.hidden.csv": "x", "d/_SUCCESS": "x", "d/_temporary/c.csv": "x"}, NS, [(1, "a"), (2, "b")], path="d"),
    "a folder of packed and plain files": Good({"d/a.csv": "n,s\n1,a\n", "d/b.csv.gz": gzip.compress(b"n,s\n2,b\n")}, NS, [(1, "a"), (2, "b")], path="d"),
    "files without rows among others": Good({"d/a.csv": "", "d/b.csv": "n,s\n", "d/c.csv": "n,s\n1,a\n"}, NS, [(1, "a")], path="d"),
    "files without names": Good({"d/a.csv": "1,a\n", "d/b.csv": "2,b\n"}, {"c0": "bigint", "c1": "string"}, [(1, "a"), (2, "b")], {"header": False}, path="d"),
    "types are those of all files": Good({"d/a.csv": "n,s\n1,1\n", "d/b.csv": "n,s\n2.5,b\n"}, {"n": "double", "s": "string"}, [(1.0, "1"), (2.5, "b")], path="d"),
    "a path with special characters": Good({"a{c}'é,[b]?*.csv": "n,s\n1,a\n", "a{c}'é,b.csv": "x\n"}, NS, [(1, "a")], path="a{c}'é,[b]?*.csv"),
    "files with columns in another order": Good({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "s,n\nb,2\n"}, NS, [(1, "a"), (2, "b")], path="d"),
    "a column more, and lines that only we can read": Good({"d/a.csv": "n,s\n1,'a\\'b'\n", "d/b.csv": "n,x,s\n2,0.5,'b\nc'\n"}, {"n": "bigint", "s": "string", "x": "double"}, [(1, "a'b", None), (2, "b\nc", 0.5)], {"quote": "'", "escape": "\\"}, path="d", warnings=["ColumnAbsent"]),
    "a partitioned table by one partition of a glob": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1)], path="d/k=1/*"),
    "a partitioned table by a glob of folders": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d/k=*/"),
    "a glob below a folder that only looks so": Good({"x=1/d/a.csv": "n\n1\n"}, {"n": "bigint"}, [(1,)], path="x=1/d/*"),
    "a column more in the second file": Good({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "x,s,n\n2.5,b,2\n"}, {"n": "bigint", "s": "string", "x": "double"}, [(1, "a", None), (2, "b", 2.5)], path="d", warnings=["ColumnAbsent"], told="x is not in a.csv: null in their rows"),
    "a column less in the second file, and whole numbers among others": Good({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "n\n2.5\n"}, {"n": "double", "s": "string"}, [(1.0, "a"), (2.5, None)], path="d", warnings=["ColumnAbsent"]),
    "other columns, and lines before each table": Good({"d/a.csv": "x\nn,s\n1,a\n", "d/b.csv": "x\nt,n\nb,2\n"}, {"n": "bigint", "s": "string", "t": "string"}, [(1, "a", None), (2, None, "b")], {"skipRows": 1}, path="d", warnings=["ColumnAbsent"] * 2),
    "columns in another order, and a line break inside quotes": Good({"d/a.csv": "n,s\n1,a\n", "d/b.csv": 's,n\n"b\nc",2\n'}, NS, [(1, "a"), (2, "b\nc")], path="d"),
    "a partitioned table": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d"),
    "a partitioned table by a glob": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d/*"),
    "a partitioned table by a glob of files": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d/k=*/*.csv"),
    "one partition by its name": Good({"d/k=1/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint"}, [(1,)], path="d/k=1"),
    "one partition by its name, that has the key as a column": Good({"n=1/a.csv": "n,s\n5,a\n"}, NS, [(5, "a")], path="n=1/a.csv"),
    "a key that is called as columns are here": Good({"d/c0=7/a.csv": "n,s\n1,a\n", "d/c0=8/a.csv": "s,n\nb,2\n"}, {**NS, "c0": "bigint"}, [(1, "a", 7), (2, "b", 8)], path="d"),
    "a partition without a value": Good({"d/k=/a.csv": "n\n1\n", "d/k=2/a.csv": "n\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, None), (2, 2)], path="d"),
    "partitions of several keys and any values": Good(
        {"d/k=a%2Fb/m=01/a.csv": "n\n1\n", "d/k=it's/m=12/a.csv": "n\n2\n", "d/k=__HIVE_DEFAULT_PARTITION__/m=02/b.csv": "n\n3\n"},
        {"n": "bigint", "k": "string", "m": "bigint"}, [(1, "a/b", 1), (2, "it's", 12), (3, None, 2)], path="d",
    ),
    "partitions of days, with columns in another order": Good(
        {"d/day=2020-01-01/a.csv": "n,s\n1,a\n", "d/day=2020-01-02/a.csv": "s,n\nb,2\n"},
        {"n": "bigint", "s": "string", "day": "date"}, [(1, "a", day("2020-01-01")), (2, "b", day("2020-01-02"))], path="d",
    ),
    "the index that pandas writes": Good(",n\n0,5\n1,6\n", {"c0": "bigint", "n": "bigint"}, [(0, 5), (1, 6)], warnings=["IndexColumn"]),
    "the index that pandas has written twice": Good("Unnamed: 0,n\n0,5\n1,6\n", {"Unnamed: 0": "bigint", "n": "bigint"}, [(0, 5), (1, 6)], warnings=["IndexColumn"]),
    # --- what is wrong
    "too few fields": Bad("n,s\n1,a\n2\n", "InputMalformed", "line 3: 1 fields instead of 2"),
    "too many fields": Bad("n,s\n1,a\n2,b,c\n", "InputMalformed", "line 3: 3 fields instead of 2"),
    "too many fields after a line break inside quotes": Bad('n,s\n1,"a\nb"\n2,b,c\n', "InputMalformed", "line 4: 3 fields instead of 2"),
    "too many fields far down": Bad("n,s\n" + "1,a\n" * 3000 + "2,b,c\n", "InputMalformed", "line 3002: 3 fields instead of 2"),
    "a quote in the names that is not closed": Bad('n,"s\n1,a\n', "InputMalformed", "line 1"),
    "a quote far down that is not closed": Bad("n,s\n" + "1,a\n" * 3000 + '2,"b\n3,c\n', "InputMalformed", "line 3002"),
    "a quote that is not closed": Bad('n,s\n1,"a\n2,b\n', "InputMalformed", "line 2"),
    "a quote at the end that is not closed": Bad('n,s\n1,a\n2,"b', "InputMalformed", "line 3"),
    "text after a closing quote": Bad('n,s\n1,"a"b\n', "InputMalformed", "line 2"),
    "Latin-1 in the names": Bad("n,é\n1,a\n".encode("latin-1"), "InputNotUtf8", "not UTF-8"),
    "an empty file": Bad("", "InputEmpty", "the input is empty"),
    "blank lines alone": Bad("\n\n\n", "InputEmpty", "the input is empty"),
    "names alone": Bad("n,s\n", "InputEmpty", "the input has no rows"),
    "a name twice": Bad("n,n\n1,2\n", "DuplicateColumns", "column n appears twice"),
    "values where names should be": Bad("0,5.1,0,a\n1,2,3,b\n", "DuplicateColumns", "column 0 appears twice; the first line has values and no names: set preprocess.input.options.header to false"),
    "names that differ only in case": Bad("n,N\n1,2\n", "DuplicateColumns", "column n and N differ only in case"),
    "files that have nothing in common": Bad({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "x,t\n1,a\n"}, "ColumnsDiffer", "b.csv lacks n, s and has x, t besides, unlike", path="d"),
    "a name twice in the second file": Bad({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "n,n\n1,a\n"}, "DuplicateColumns", "column n appears twice", path="d"),
    "names of two files that differ only in case": Bad({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "n,S\n1,a\n"}, "DuplicateColumns", "column s and S differ only in case", path="d"),
    "too few fields in the second file": Bad({"d/a.csv": "n,s\n1,a\n", "d/b.csv": "n,s,x\n1,a\n"}, "InputMalformed", "b.csv, line 2: 2 fields instead of 3", path="d"),
    "folders of other keys": Bad({"d/k=1/a.csv": "n\n1\n", "d/b.csv": "n\n1\n"}, "ColumnsDiffer", "lies in folders of", path="d"),
    "a key that is a column, too": Bad({"d/n=1/a.csv": "n\n1\n"}, "DuplicateColumns", "column n is in the files, and the names of their folders, n=…, have it as well", path="d"),
    "half a gzip file": Bad({"a.csv.gz": gzip.compress(b"n,s\n" + b"1,a\n" * 5000)[:60]}, "InputUnreadable", "is not a whole gzip file", path="a.csv.gz"),
    "gzip in name only": Bad({"a.csv.gz": "n,s\n1,a\n"}, "InputUnreadable", "is named .gz and is no gzip file: name it without, or bring it anew", path="a.csv.gz"),
    "zip in name only": Bad({"a.csv.zip": "x"}, "InputUnreadable", "is named .zip and is no zip file", path="a.csv.zip"),
    "no such file": Bad({}, "InputNotFound", "there is no file at", path="a.csv"),
    "a glob without matches": Bad({"a.csv": "n\n1\n"}, "InputNotFound", "there is no file at", path="b*.csv"),
    "an empty folder": Bad({"d/.hidden": "x"}, "InputNotFound", "is an empty folder", path="d"),
    # --- how files are written
    "blank lines before the names": Good("\n\nn,s\n1,a\n", NS, [(1, "a")], pandas={}),
    "a semicolon that nobody named": Good("n;s\n1;a,b\n2;c\n", NS, [(1, "a,b"), (2, "c")], pandas={"sep": ";"}),
    "a tab that nobody named": Good("n\ts\n1\ta b\n2\tc, d\n", NS, [(1, "a b"), (2, "c, d")], pandas={"sep": "\t"}),
    "a bar that nobody named": Good('n|s\n1|"a|b"\n2|c\n', NS, [(1, "a|b"), (2, "c")], pandas={"sep": "|"}),
    "blanks that nobody named": Good("n x  s\n1  1.5 a\n22 2   b\n", {"n": "bigint", "x": "double", "s": "string"}, [(1, 1.5, "a"), (22, 2.0, "b")], pandas={"sep": r"\s+"}),
    "decimal commas without names and delimiter": Good("1,5;2\n2,5;3\n", {"c0": "double", "c1": "bigint"}, [(1.5, 2), (2.5, 3)], {"header": False, "decimal": ","}),
    "one column has no delimiter": Good("text\na b\nc d e\nf\n", {"text": "string"}, [("a b",), ("c d e",), ("f",)], pandas={}),
    "runs of blanks and tabs": Good("  n   s\t t\n 1 \t a\tb \n\n22 'x y'  'z'\n", {"n": "bigint", "s": "string", "t": "string"}, [(1, "a", "b"), (22, "x y", "z")], {"delimiter": "whitespace", "quote": "'"}, pandas={"sep": r"\s+", "quotechar": "'"}),
    "two colons": Good("n::s\n1::a:b\n2::c\n", NS, [(1, "a:b"), (2, "c")], {"delimiter": "::"}, pandas={"sep": "::", "engine": "python"}),
    "no quotes": Good('n\ts\n1\t"a\n2\tb" "c"\n', NS, [(1, '"a'), (2, 'b" "c"')], {"quote": "", "delimiter": "\t"}, pandas={"sep": "\t", "quoting": 3}),
    "backslashes before quotes": Good('n,s\n1,"say \\"hi\\", a"\n2,a\\,b\n3,"c\\\\d"\n', NS, [(1, 'say "hi", a'), (2, "a,b"), (3, "c\\d")], {"escape": "\\"}, pandas={"escapechar": "\\"}),
    "a backslash and a line break inside quotes": Good('n,s\n1,"say \\"hi\nho\\""\n2,b\n', NS, [(1, 'say "hi\nho"'), (2, "b")], {"escape": "\\"}, pandas={"escapechar": "\\"}),
    "blanks before quotes": Good('n, s, t\n1, "a, b", c\n2, "d", f\n', {"n": "bigint", "s": "string", "t": "string"}, [(1, "a, b", "c"), (2, "d", "f")], pandas={"skipinitialspace": True}),
    "comments": Good('# about\nn,s\n # more\n1,"a\n#b"\n#2,c\n3,d\n', NS, [(1, "a\n#b"), (3, "d")], {"comment": "#"}),
    "lines before the table": Good("Report; 2024\nmade by hand\n\nn;s\n1;a\n", NS, [(1, "a")], {"skipRows": 3, "delimiter": ";"}, pandas={"sep": ";", "skiprows": 3}),
    "lines before the table, and a delimiter that nobody named": Good("Report, made, by, hand\nn;s\n1;a\n", NS, [(1, "a")], {"skipRows": 1}, pandas={"sep": ";", "skiprows": 1}),
    "lines before each table of several, in another order": Good({"d/a.csv": "x\nn,s\n1,a\n", "d/b.csv": "x\ns,n\nb,2\n"}, NS, [(1, "a"), (2, "b")], {"skipRows": 1}, path="d"),
    "lines before the table in partitions": Good({"d/k=1/a.csv": "x\nn\n1\n", "d/k=2/a.csv": "x\nn\n2\n"}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], {"skipRows": 1}, path="d"),
    "decimal commas": Good("x;n;s\n4,24;7;a,b\n-,5;8;1,5 kg\n1,5e3;;c\n", {"x": "double", "n": "bigint", "s": "string"}, [(4.24, 7, "a,b"), (-0.5, 8, "1,5 kg"), (1500.0, None, "c")], {"decimal": ","}, pandas={"sep": ";", "decimal": ","}),
    "thousands": Good('n,x,s\n"1,234","1,234,567.5",a\n"-12,345",5,"1,234"\n7,.5,b\n', {"n": "bigint", "x": "double", "s": "string"}, [(1234, 1234567.5, "a"), (-12345, 5.0, "1,234"), (7, 0.5, "b")], {"thousands": ","}, pandas={"thousands": ","}),
    "points and decimal commas": Good("x;d\n1.234,5;2024-01-02\n1.234.567;2024-01-03\n", {"x": "double", "d": "date"}, [(1234.5, day("2024-01-02")), (1234567.0, day("2024-01-03"))], {"decimal": ",", "thousands": "."}),
    "blanks between thousands": Good("n;x\n1 234;1\u00a0234,5\n22;1\u202f000\n", {"n": "bigint", "x": "double"}, [(1234, 1234.5), (22, 1000.0)], {"decimal": ",", "thousands": " "}),
    "points are no decimals where commas are": Good("x;y\n1.5;1\n2,5;2\n", {"x": "string", "y": "bigint"}, [("1.5", 1), ("2,5", 2)], {"decimal": ","}, pandas={"sep": ";", "decimal": ","}),
    "Latin-1": Good("n,größe\n1,é\n2,ß\n".encode("latin-1"), {"n": "bigint", "größe": "string"}, [(1, "é"), (2, "ß")], {"encoding": "latin-1"}, pandas={"encoding": "latin-1"}),
    "Windows' own": Good("n;s\n1;10 €\n2;“b”\n".encode("cp1252"), NS, [(1, "10 €"), (2, "“b”")], {"encoding": "cp1252"}, pandas={"encoding": "cp1252", "sep": ";"}),
    "UTF-16": Good('n\ts\n1\tä\n2\t"日\n本"\n'.encode("utf-16"), NS, [(1, "ä"), (2, "日\n本")], {"encoding": "utf-16"}, pandas={"encoding": "utf-16", "sep": "\t"}),
    "UTF-16 without a mark": Good("n,s\n1,ä\n".encode("utf-16-be"), NS, [(1, "ä")], {"encoding": "utf-16-be"}, pandas={"encoding": "utf-16-be"}),
    "Cyrillic": Good("n,город\n1,Москва\n".encode("cp1251"), {"n": "bigint", "город": "string"}, [(1, "Москва")], {"encoding": "cp1251"}, pandas={"encoding": "cp1251"}),
    "Japanese, packed": Good({"a.csv.gz": gzip.compress("n,s\n1,日本\n".encode("shift_jis"))}, NS, [(1, "日本")], {"encoding": "shift_jis"}, path="a.csv.gz", pandas={"encoding": "shift_jis"}),
    "names with blanks and signs": Good('first name,"a,b",x.y,"say ""x""",%\n1,2,3,4,5\n', dict.fromkeys(("first name", "a,b", "x.y", 'say "x"', "%"), "bigint"), [(1, 2, 3, 4, 5)], pandas={}),
    "blanks in the file's name": Good({"my data (1).csv": "n,s\n1,a\n"}, NS, [(1, "a")], path="my data (1).csv", pandas={}),
    # --- packed files
    "bzip2": Good({"a.csv.bz2": bz2.compress(b"n,s\n1,a\n")}, NS, [(1, "a")], path="a.csv.bz2", pandas={}),
    "xz": Good({"a.csv.xz": lzma.compress(b"n,s\n1,a\n")}, NS, [(1, "a")], path="a.csv.xz", pandas={}),
    "zstd": Good({"a.csv.zst": zstd(b'n,s\n1,"a\nb"\n')}, NS, [(1, "a\nb")], path="a.csv.zst"),
    "zip": Good({"a.zip": zipped({"a.csv": b"n,s\n1,a\n", "__MACOSX/._a.csv": b"x"})}, NS, [(1, "a")], path="a.zip"),
    "zip of several files": Good({"a.zip": zipped({"d/a.csv": b"n,s\n1,a\n", "e/a.csv": b"s,n\nb,2\n"})}, NS, [(1, "a"), (2, "b")], path="a.zip"),
    "gzip by another name": Good({"a.csv": gzip.compress(b"n,s\n1,a\n")}, NS, [(1, "a")], path="a.csv"),
    "packed in several ways, of partitions": Good({"d/k=1/a.csv.bz2": bz2.compress(b"n\n1\n"), "d/k=2/a.csv": "n\n2\n", "d/k=3/a.csv.gz": gzip.compress(b"n\n3\n")}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2), (3, 3)], path="d"),
    # --- types that are given
    "types that are given": Good(
        "zip,id,x,b,d\n02134,18446744073709551615,1,yes,2024-01-02\n10001,7,2.5,N,2024-01-03\nNA,8,, 0,\n",
        {"zip": "string", "id": "string", "x": "double", "b": "boolean", "d": "timestamp"},
        [("02134", "18446744073709551615", 1.0, True, moment("2024-01-02")), ("10001", "7", 2.5, False, moment("2024-01-03")), (None, "8", None, False, None)],
        input={"schema": {"zip": "string", "id": "string", "x": "double", "b": "boolean", "d": "timestamp"}},
    ),
    "leading zeros are dropped where numbers are wanted": Good("n\n007\n10\n", {"n": "bigint"}, [(7,), (10,)], input={"schema": {"n": "bigint"}}),
    "numbers of a type that is given, with decimal commas": Good("x;n\n1.234,5;1.000\n1;2\n", {"x": "double", "n": "double"}, [(1234.5, 1000.0), (1.0, 2.0)], {"decimal": ",", "thousands": "."}, input={"schema": {"x": "double", "n": "double"}}),
    "days first": Good("d,n\n05/03/2024,1\n31/12/1999,2\n,3\n", {"d": "date", "n": "bigint"}, [(day("2024-03-05"), 1), (day("1999-12-31"), 2), (None, 3)], input={"dateFormats": {"d": "dd/MM/yyyy"}}),
    "dates in words, and times of half a day": Good(
        "d;t;u\n5 March 2024;03/05/2024 7:08 PM;20240305\n12 May 1999;12/31/1999 12:00 am;19991231\n", {"d": "date", "t": "timestamp", "u": "timestamp"},
        [(day("2024-03-05"), moment("2024-03-05T19:08"), moment("2024-03-05")), (day("1999-05-12"), moment("1999-12-31"), moment("1999-12-31"))],
        input={"dateFormats": {"d": "d MMMM yyyy", "t": "MM/dd/yyyy h:mm a", "u": "yyyyMMdd"}, "schema": {"u": "timestamp"}},
    ),
    "times of a zone": Good(
        "t,u\n2024-07-01 12:00,01.01.2024 12:00\n2024-10-27 02:30:00,27.10.2024 02:30\n2024-03-31 02:30:00,31.03.2024 02:30\n2024-07-01 12:00Z,01.07.2024 00:00\n2024-07-02,02.07.2024 00:00\n", {"t": "timestamp", "u": "timestamp"},
        [(moment(a), moment(b)) for a, b in (("2024-07-01T10:00", "2024-01-01T11:00"), ("2024-10-27T00:30", "2024-10-27T00:30"), ("2024-03-31T01:30", "2024-03-31T01:30"), ("2024-07-01T12:00", "2024-06-30T22:00"), ("2024-07-01T22:00", "2024-07-01T22:00"))],
        input={"dateFormats": {"u": "dd.MM.yyyy HH:mm"}, "timeZone": "Europe/Berlin"},
    ),
    # --- what is told
    "texts among numbers are told with their lines": Good("n,y\n1,1\n?,2\n3,3\nn/k,4\n5,5\n?,6\n7,7\n", {"n": "string", "y": "bigint"}, [("1", 1), ("?", 2), ("3", 3), ("n/k", 4), ("5", 5), ("?", 6), ("7", 7)], warnings=["ReadAsText"], told='3 are not: "?" (data.csv, line 3), "n/k" (data.csv, line 5); if that stands for null, set preprocess.input.options.nullValues to ["?", "n/k"]'),
    "NA among codes of countries is told": Good("s,y\nDE,1\nNA,2\nFR,3\n", {"s": "string", "y": "bigint"}, [("DE", 1), (None, 2), ("FR", 3)], warnings=["ValuesBecameNull"], told='s: "NA" among codes of two letters is read as null'),
    "decimal commas that nobody named are told": Good("x;y\n4,24;1\n5,5;2\n", {"x": "string", "y": "bigint"}, [("4,24", 1), ("5,5", 2)], warnings=["ReadAsText"], told='x is text: "4,24"; set preprocess.input.options.decimal to a comma'),
    "thousands that nobody named are told": Good('x,y\n"1,234.5",1\n"5,555.5",2\n', {"x": "string", "y": "bigint"}, [("1,234.5", 1), ("5,555.5", 2)], warnings=["ReadAsText"], told="set preprocess.input.options.thousands to a comma"),
    "days first that nobody named are told": Good("d,y\n05/03/2024,1\n31/12/1999,2\n", {"d": "string", "y": "bigint"}, [("05/03/2024", 1), ("31/12/1999", 2)], warnings=["ReadAsText"], told="set preprocess.input.dateFormats to {d: dd/MM/yyyy} for dates"),
    # --- what is refused, and what to do
    "a value that is none of the type that is given": Bad("n,s\n1,a\n\n2,b\nx,c\nx,d\n", "InputMalformed", 'n: "x" (data.csv, line 5) is no bigint, as preprocess.input.schema says it is; 2 values do not fit', input={"schema": {"n": "bigint"}}),
    "a number beyond doubles where doubles are wanted": Bad("x\n1.5\n1e400\n", "InputMalformed", 'x: "1e400" (data.csv, line 3) is no double', input={"schema": {"x": "double"}}),
    "a fraction where whole numbers are wanted": Bad("n\n1\n2.5\n", "InputMalformed", 'n: "2.5" (data.csv, line 3) is no bigint', input={"schema": {"n": "bigint"}}),
    "months first where days are": Bad("d\n05/03/2024\n05/13/2024\n", "InputMalformed", 'd: "05/13/2024" (data.csv, line 3) is no date written as dd/MM/yyyy, as preprocess.input.dateFormats says it is', input={"dateFormats": {"d": "dd/MM/yyyy"}}),
    "a type of a column that is not there": Bad("zip\n1\n", "ColumnNotFound", "there is no column Zip; did you mean zip?", input={"schema": {"Zip": "string"}}),
    "a zone that is none": Bad("t\n2024-01-01 10:00\n", "InvalidSpec", "no zone is Europe/Berln; did you mean Europe/Berlin?", input={"timeZone": "Europe/Berln"}),
    "a format that has a field twice": Bad("t\n2024\n", "InvalidSpec", "the year twice", input={"dateFormats": {"t": "yyyy-yyyy"}}),
    "Latin-1 that nobody named": Bad("n,s\n1,a\n2,é b\n".encode("latin-1"), "InputNotUtf8", 'line 3: not UTF-8 but, it seems, latin-1: "2,é b" in it; set preprocess.input.options.encoding to latin-1'),
    "Windows' own that nobody named": Bad("n,s\n1,10 €\n".encode("cp1252"), "InputNotUtf8", "set preprocess.input.options.encoding to cp1252"),
    "UTF-16 that nobody named": Bad("n,s\n1,a\n".encode("utf-16"), "InputNotUtf8", "set preprocess.input.options.encoding to utf-16"),
    "Cyrillic that nobody named": Bad("n,город\n1,Москва\n".encode("cp1251"), "InputNotUtf8", "set preprocess.input.options.encoding to cp1251"),
    "UTF-8 that is called Latin-1": Bad("n,s\n1,é\n", "InputMalformed", "is UTF-8 and not latin-1", {"encoding": "latin-1"}),
    "Latin-1 that is called UTF-16": Bad("n,s\n1,éa\n".encode("latin-1"), "InputNotUtf8", "not utf-16; set preprocess.input.options.encoding to latin-1", {"encoding": "utf-16"}),
    "another delimiter than the one named": Bad("n;s\n1;a\n", "InputMalformed", 'has no "," in its first lines, but ";" between fields', {"delimiter": ","}),
    "lines before the table that nobody named": Bad("Report 2024\nmade by hand\nn,s\n1,a\n2,b\n", "InputMalformed", "if the table begins in line 3, set preprocess.input.options.skipRows to 2"),
    "comments that nobody named": Bad("# a report\n# of 2024\nn,s\n1,a\n2,b\n", "InputMalformed", 'set preprocess.input.options.comment to "#"'),
    "the names of rows that R writes": Bad('"n","s"\n"1",5,"a"\n"2",6,"b"\n', "InputMalformed", "line 2: 3 fields instead of 2; the first of each line may be a row's name"),
    "backslashes before quotes that nobody named": Bad('n,s\n1,"say \\"hi\\""\n', "InputMalformed", "or preprocess.input.options.escape if a backslash stands before it"),
    "a file of Excel": Bad({"a.csv": zipped({"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"})}, "InputUnreadable", "is an Excel workbook; save the sheet as CSV", path="a.csv"),
    "an old file of Excel": Bad({"a.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600}, "InputUnreadable", "is an Excel workbook", path="a.xls"),
    "a Parquet file": Bad({"a.csv": b"PAR1\x15\0\x15"}, "InputUnreadable", "set preprocess.input.format to parquet", path="a.csv"),
    "a page of HTML": Bad("\n<!DOCTYPE html>\n<html>", "InputUnreadable", "a page of HTML"),
    "a tar archive that is packed": Bad({"a.tgz": gzip.compress(b"a" * 257 + b"ustar" + b"\0" * 300)}, "InputUnreadable", "a tar archive", path="a.tgz"),
    "a zip of several kinds": Bad({"a.zip": zipped({"a.csv": b"n\n1\n", "b.txt": b"x"})}, "InputUnreadable", "has files of several kinds: a.csv, b.txt", path="a.zip"),
    "half a bzip2 file": Bad({"a.csv.bz2": bz2.compress(b"n\n1\n")[:-9]}, "InputUnreadable", "is not a whole bzip2 file", path="a.csv.bz2"),
    "half a zstd file": Bad({"a.csv.zst": zstd(b"n\n1\n")[:-5]}, "InputUnreadable", "is not a whole zstd file", path="a.csv.zst"),
    "a name that is nearly right": Bad({"data.csv": "n\n1\n"}, "InputNotFound", "; did you mean data.csv?", path="dta.csv"),
    "a folder that is not there": Bad({"one/data.csv": "n\n1\n"}, "InputNotFound", "has one", path="nope/a.csv"),
}  # fmt: skip

JSON: dict[str, Good | Bad] = {
    "types that are given": Good(
        '{"zip": 2134, "d": "05/03/2024", "x": "1.5", "b": "yes"}\n{"zip": null, "d": "", "x": null, "b": "no"}\n', {"zip": "string", "d": "date", "x": "double", "b": "boolean"},
        [("2134", day("2024-03-05"), 1.5, True), (None, None, None, False)],
        input={"schema": {"zip": "string", "x": "double", "b": "boolean"}, "dateFormats": {"d": "dd/MM/yyyy"}},
    ),
    "a value that is none of the type that is given": Bad('{"x": "1.5"}\n{"x": "a"}\n', "InputMalformed", 'x: "a" (', input={"schema": {"x": "double"}}),
    "zstd": Good({"a.json.zst": zstd(b'{"n": 1, "s": "a"}\n')}, NS, [(1, "a")], path="a.json.zst"),
    "zip": Good({"a.zip": zipped({"a.json": b'{"n": 1, "s": "a"}\n'})}, NS, [(1, "a")], path="a.zip"),
    "plain lines": Good('{"n": 1, "s": "a"}\n{"n": 2, "s": "b"}\n', NS, [(1, "a"), (2, "b")]),
    "keys in another order": Good('{"n": 1, "s": "a"}\n{"s": "b", "n": 2}\n', NS, [(1, "a"), (2, "b")]),
    "columns come in the order of the first line, then by name": Good('{"s": "a", "n": 1}\n{"z": 1, "b": true, "s": "c"}\n', {"s": "string", "n": "bigint", "b": "boolean", "z": "bigint"}, [("a", 1, None, None), ("c", None, True, 1)]),
    "missing keys and nulls": Good('{"n": 1, "s": null}\n{"s": "b"}\n{}\n', NS, [(1, None), (None, "b"), (None, None)]),
    "an empty text is no null": Good('{"n": 1, "s": ""}\n{"n": 2, "s": " "}\n', NS, [(1, ""), (2, " ")]),
    "a key with nulls alone": Good('{"n": 1, "s": null}\n', NS, [(1, None)]),
    "whole numbers and others": Good('{"n": 1, "x": 1}\n{"n": -2, "x": 2.5}\n{"n": 0, "x": 1e3}\n', {"n": "bigint", "x": "double"}, [(1, 1.0), (-2, 2.5), (0, 1000.0)]),
    "whole numbers of 64 bits": Good('{"n": 9223372036854775807}\n{"n": -9223372036854775808}\n', {"n": "bigint"}, [(2**63 - 1,), (-(2**63),)]),
    "whole numbers beyond 64 bits": Good('{"x": 1}\n{"x": 9223372036854775808}\n{"x": -100000000000000000000000000000000000000000}\n', {"x": "double"}, [(1.0,), (2.0**63,), (-1e41,)], warnings=["ValuesRounded"]),
    "whole numbers beyond 64 bits alone are kept": Good('{"id": 1}\n{"id": 18446744073709551615}\n{"id": -9223372036854775809}\n', {"id": "string"}, [("1",), ("18446744073709551615",), ("-9223372036854775809",)], warnings=["ReadAsText"]),
    "whole numbers that a double does not hold": Good('{"n": 9007199254740993, "x": 9007199254740993}\n{"n": 1, "x": 0.5}\n', {"n": "bigint", "x": "double"}, [(2**53 + 1, 2.0**53), (1, 0.5)], warnings=["ValuesRounded"]),
    "a partitioned table": Good({"d/k=1/a.json": '{"n": 1}\n', "d/k=2/a.json": '{"n": 2}\n'}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d"),
    "numbers beyond doubles are null": Good('{"x": 1.5}\n{"x": 1e400}\n{"x": 1e-400}\n', {"x": "double"}, [(1.5,), (None,), (0.0,)]),
    "negative zero is zero": Good('{"x": -0.0}\n{"x": 0.5}\n', {"x": "double"}, [(0.0,), (0.5,)]),
    "text stays text": Good('{"a": "1", "b": "true", "c": "2020-01-01"}\n', dict.fromkeys("abc", "string"), [("1", "true", "2020-01-01")]),
    "booleans": Good('{"b": true}\n{"b": false}\n{"b": null}\n', {"b": "boolean"}, [(True,), (False,), (None,)]),
    "escapes": Good('{"n": 1, "s": "a\\nb \\"c\\" \\\\ \\u00e9 \\ud83d\\ude42 \\/"}\n', NS, [(1, 'a\nb "c" \\ é 🙂 /')]),
    "text of any characters": Good('{"n": 1, "s": "日本 🙂 it\'s"}\n', NS, [(1, "日本 🙂 it's")]),
    "keys of any characters": Good('{"größe": 1, "a.b": 2, "c d": 3, "it\'s": 4, "`": 5, "e\\"f": 6}\n', dict.fromkeys(("größe", "a.b", "c d", "it's", "`", 'e"f'), "bigint"), [(1, 2, 3, 4, 5, 6)]),
    "long text": Good(json.dumps({"n": 1, "s": LONG}) + "\n", NS, [(1, LONG)]),
    "lines may end with CR LF": Good('{"n": 1, "s": "a"}\r\n{"n": 2, "s": "b"}\r\n', NS, [(1, "a"), (2, "b")]),
    "blank lines are no rows": Good('\n{"n": 1, "s": "a"}\n\n  \n{"n": 2, "s": "b"}', NS, [(1, "a"), (2, "b")]),
    "blanks around an object": Good('  {"n": 1, "s": "a"}  \n\t{ "n" : 2 , "s" : "b" }\n', NS, [(1, "a"), (2, "b")]),
    "gzip": Good({"a.json.gz": gzip.compress(b'{"n": 1, "s": "a"}\n')}, NS, [(1, "a")], path="a.json.gz"),
    "a glob": Good({"a1.json": '{"n": 1}\n', "a2.json": '{"s": "b"}\n', "b.json": "x"}, NS, [(1, None), (None, "b")], path="a*.json", warnings=["ColumnAbsent", "ColumnAbsent"]),
    "a folder": Good({"d/a.json": '{"n": 1, "s": "a"}\n', "d/e/b.json": '{"n": 2}\n', "d/_SUCCESS": ""}, NS, [(1, "a"), (2, None)], path="d", warnings=["ColumnAbsent"], told="s is in a.json alone and null in other rows"),
    # --- arrays, objects and lists
    "an array": Good('[{"n": 1}, {"n": 2, "s": "a"}]\n', NS, [(1, None), (2, "a")]),
    "an array over several lines": Good('\n[\n  {\n    "n": 1,\n    "s": "a]"\n  },\n  {"n": 2, "s": "[{"}\n]', NS, [(1, "a]"), (2, "[{")]),
    "an array in gzip": Good({"a.json.gz": gzip.compress(b'[{"n": 1, "s": "a"}]')}, NS, [(1, "a")], path="a.json.gz"),
    "an array and lines": Good({"d/a.json": '[{"n": 1, "s": "a"}]', "d/b.json": '{"s": "b", "n": 2}\n'}, NS, [(1, "a"), (2, "b")], path="d"),
    "partitions of arrays": Good({"d/k=1/a.json": '[{"n": 1}]', "d/k=2/a.json": '[{"n": 2}]'}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d"),
    "objects in objects": Good('{"u": {"age": 3, "in": {"s": "x"}}, "n": 1}\n{"n": 2, "u": {"in": null, "y": 0.5}}\n{"n": 3, "u": null}\n', {"u.age": "bigint", "u.in.s": "string", "u.y": "double", "n": "bigint"}, [(3, "x", None, 1), (None, None, 0.5, 2), (None, None, None, 3)]),
    "keys with dots in objects": Good('{"u": {"a.b": 3}}\n{}\n', {"u.a.b": "bigint"}, [(3,), (None,)]),
    "a byte order mark": Good(b'\xef\xbb\xbf{"n": 1, "s": "a"}\n', NS, [(1, "a")]),
    "UTF-16, as PowerShell writes it": Good('{"n": 1, "s": "é"}\r\n'.encode("utf-16"), NS, [(1, "é")]),
    "a folder named like a key": Good({"n=7/a.json": '{"n": 1, "s": "a"}\n'}, NS, [(1, "a")], path="n=7/a.json"),
    "objects without keys in objects": Good('{"n": 1, "u": {}}\n', {"n": "bigint"}, [(1,)]),
    "lists of one length": Good('{"e": [1, 2], "u": {"f": [1, 0.5]}}\n{"e": [3, null], "u": {"f": [2, 3]}}\n{"e": null, "u": {}}\n', {"e_0": "bigint", "e_1": "bigint", "u.f_0": "double", "u.f_1": "double"}, [(1, 2, 1.0, 0.5), (3, None, 2.0, 3.0), (None, None, None, None)]),
    "lists of whole numbers and others": Good('{"e": [1, 2]}\n{"e": [0.5, 1e3]}\n', {"e_0": "double", "e_1": "double"}, [(1.0, 2.0), (0.5, 1000.0)]),
    "text that looks like NaN": Good('{"n": 1, "s": "a: NaN, }"}\n', NS, [(1, "a: NaN, }")]),
    # --- what no column can hold, and nobody needs
    "lists of several lengths": Good('{"n": 1, "v": [1]}\n{"n": 2, "v": [1, 2]}\n', {"n": "bigint"}, [(1,), (2,)], unread={"v": "has lists of 1 to 2 numbers"}),
    "lists of texts": Good('{"n": 1, "u": {"v": ["a"]}}\n', {"n": "bigint"}, [(1,)], unread={"u.v": "has lists of texts"}),
    "lists of objects": Good('{"n": 1, "v": [{"a": 1}]}\n{"n": 2}\n', {"n": "bigint"}, [(1,), (2,)], unread={"v": "has lists of objects"}),
    "lists without values": Good('{"n": 1, "v": []}\n', {"n": "bigint"}, [(1,)], unread={"v": "has empty lists"}),
    "an object as a value": Good('{"n": 1, "v": 2}\n{"n": 2, "v": {"a": 1}}\n', {"n": "bigint"}, [(1,), (2,)], unread={"v": "has objects and whole numbers"}),
    "values of several types": Good('{"n": 1, "v": 1}\n{"n": 2, "v": "a"}\n', {"n": "bigint"}, [(1,), (2,)], unread={"v": "has texts and whole numbers"}),
    "values of several types in several files": Good({"d/a.json": '{"n": 1, "v": 1}\n', "d/b.json": '{"n": 2, "v": "a"}\n'}, {"n": "bigint"}, [(1,), (2,)], path="d", unread={"v": "/d/b.json) and whole numbers (in "}),
    "values of several types with a type that is given": Good('{"n": 1, "v": 7, "w": "8"}\n{"n": 2, "v": "a", "w": 9}\n', {"n": "bigint", "v": "string", "w": "bigint"}, [(1, "7", 8), (2, "a", 9)], input={"schema": {"v": "string", "w": "bigint"}}),
    "objects that are too deep": Good('{"n": 1, "v": ' + '{"a": ' * 12 + "1" + "}" * 13 + "\n", {"n": "bigint"}, [(1,)], unread={".".join("v" + "a" * 8): "has objects below 8 others"}),
    # --- what is wrong
    "a broken line": Bad('{"n": 1}\n{"n": 2\n', "InputMalformed", "line 2"),
    "text after an object": Bad('{"n": 1}\n{"n": 2} x\n', "InputMalformed", "line 2"),
    "two objects in a line": Bad('{"n": 1}\n{"n": 2}{"n": 3}\n', "InputMalformed", "line 2"),
    "an object over several lines": Bad('{\n"n": 1\n}\n', "InputMalformed", "one object over several lines; write one object a line"),
    "rows within an object": Bad('{\n"rows": [\n{"n": 1}\n]}\n', "InputMalformed", "its rows may be those of rows"),
    "an array of numbers": Bad('[{"n": 1}, 2]\n', "InputMalformed", "element 2 of the array: not an object"),
    "an array that does not end": Bad('[{"n": 1},\n{"n": 2}', "InputMalformed", "line 2"),
    "an array with a comma at its end": Bad('[{"n": 1},\n]', "InputMalformed", "line 2"),
    "an array with a comma at the end of an object": Bad('[{"n": 1,}]', "InputMalformed", "line 1"),
    "two arrays": Bad('[{"n": 1}]\n[{"n": 2}]', "InputMalformed", "line 2"),
    "a key twice in an object": Bad('{"u": {"n": 1, "n": 2}}\n', "InputMalformed", "line 1: a key appears twice"),
    "NaN in a list": Bad('{"u": [1, NaN]}\n', "InputMalformed", "line 1: NaN is not JSON"),
    "an object and its columns' name": Bad('{"u": {"a": 1}, "u.a": 2}\n', "DuplicateColumns", "column u.a appears twice"),
    "an array further down": Bad('{"n": 1}\n[1]\n', "InputMalformed", "line 2: not an object"),
    "a number": Bad("1\n", "InputMalformed", "line 1: not an object"),
    "two objects with a comma": Bad('{"n": 1}\n{"n": 2},{"n": 3}\n', "InputMalformed", "line 2"),
    "a comma after the last value": Bad('{"n": 1}\n{"n": 2, }\n', "InputMalformed", "line 2"),
    "a comment": Bad('{"n": 1} // a\n', "InputMalformed", "line 1"),
    "a tab inside a text": Bad('{"s": "a\tb"}\n', "InputMalformed", "line 1"),
    "half a character in an escape": Bad('{"s": "\\ud800"}\n', "InputMalformed", ""),
    "an infinity": Bad('{"x": 1.5}\n{"x": -Infinity}\n', "InputMalformed", "line 2"),
    "single quotes": Bad("{'n': 1}\n", "InputMalformed", "line 1"),
    "keys without quotes": Bad("{n: 1}\n", "InputMalformed", "line 1"),
    "NaN": Bad('{"x": 1.5}\n{"x": NaN}\n', "InputMalformed", "line 2"),
    "a key twice": Bad('{"n": 1}\n{"n": 1, "n": 2}\n', "InputMalformed", "line 2: a key appears twice"),
    "keys that differ only in case": Bad('{"n": 1}\n{"N": 2}\n', "DuplicateColumns", "differ only in case"),
    "objects without keys": Bad("{}\n{}\n", "InputEmpty", "the objects have no keys"),
    "a table by columns, as pandas writes it": Bad('{"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": "y"}}', "InputUnreadable", "orient='records'"),
    "rows in a list": Bad('{"type": "all", "rows": [{"n": 1}]}', "InputUnreadable", "is one object, and the list rows in it may be the rows"),
    "a table by columns": Bad('{"a": ["x", "y"], "b": [[1], [2]]}\n', "InputUnreadable", "is one object, and the list b in it may be the rows"),
    "blank lines alone": Bad("\n\n", "InputEmpty", "the input has no rows"),
    "an empty file": Bad("", "InputEmpty", "the input is empty"),
    "Latin-1": Bad('{"s": "a"}\n{"s": "é"}\n'.encode("latin-1"), "InputNotUtf8", "line 2: not UTF-8"),
    "half a gzip file": Bad({"a.json.gz": gzip.compress(b'{"n": 1}\n' * 5000)[:60]}, "InputUnreadable", "is not a whole gzip file", path="a.json.gz"),
}  # fmt: skip

TXT = {"text": "string"}
LINES = {"documents": "lines"}
DOCUMENT = 16 * 2**20  # the most bytes of one

# Texts by themselves. Spark reads them by its own reader, engine pandas by ours.
TEXT: dict[str, Good | Bad] = {
    "a file is a document, ends of lines as they are": Good({"d/a.txt": "a\r\nb\n", "d/b.md": "# c", "d/e/f": "g\rh"}, TXT, [("a\r\nb\n",), ("# c",), ("g\rh",)], path="d"),
    "a line is a document": Good({"d/a.txt": "a\r\nb\n\n c \rd\t\n", "d/b.txt": "e"}, TXT, [("a",), ("b",), ("",), (" c \rd\t",), ("e",)], path="d", input=LINES),
    "any characters": Good("日本 🙂\u2028it's \u0085\x0b\x00", TXT, [("日本 🙂\u2028it's \u0085\x0b\x00",)]),
    "any characters in lines": Good("日本 🙂\u2028it's\n\u0085\x0b\x00\n", TXT, [("日本 🙂\u2028it's",), ("\u0085\x0b\x00",)], input=LINES),
    "byte order marks": Good({"d/a.txt": "a".encode("utf-8-sig"), "d/b.txt": "bé".encode("utf-16")}, TXT, [("a",), ("bé",)], path="d"),
    "packed files": Good({"d/a.txt.gz": gzip.compress(b"a\nb"), "d/b.txt.xz": lzma.compress(b"c"), "d/c.txt.zst": zstd(b"d"), "d/e.zip": zipped({"f.txt": b"g", "h.txt": b"i"})}, TXT, [("a\nb",), ("c",), ("d",), ("g",), ("i",)], path="d"),
    "packed files of lines": Good({"d/a.txt.gz": gzip.compress(b"a\nb"), "d/b.txt.bz2": bz2.compress(b"c\r\n"), "d/e.zip": zipped({"f.txt": b"g\nh"})}, TXT, [("a",), ("b",), ("c",), ("g",), ("h",)], path="d", input=LINES),
    "empty files are told": Good({"d/a.txt": "a", "d/b.txt": "", "d/c.txt.gz": gzip.compress(b""), "d/d.txt": b"\xef\xbb\xbf"}, TXT, [("a",)], path="d", warnings=["FilesEmpty"], told="3 of 4 files are empty"),
    "partitions": Good({"d/site=x/a.txt": "a", "d/site=y/a.txt": "b"}, TXT | {"site": "string"}, [("a", "x"), ("b", "y")], path="d"),
    "a glob, and names with blanks and signs": Good({"d/a +%20é.txt": "a", "d/b.md": "b"}, TXT, [("a",)], path="d/*.txt"),
    "JSON, HTML and CSV are texts": Good({"d/a": '{"a": 1}', "d/b": "<!DOCTYPE html><p>b", "d/c": "x,y\n1,2"}, TXT, [('{"a": 1}',), ("<!DOCTYPE html><p>b",), ("x,y\n1,2",)], path="d"),
    "the longest document": Good("x" * DOCUMENT, TXT, [("x" * DOCUMENT,)]),
    "a longer one": Bad("x" * (DOCUMENT + 1), "TextInvalid", "data.text has 16777217 bytes, and a document has at most 16777216: divide it or, where each of its lines is a document, set preprocess.input.documents: lines"),
    "a longer one, packed": Bad({"a.txt.gz": gzip.compress(b"x" * (DOCUMENT + 1), 1)}, "TextInvalid", "a.txt.gz has 16777217 bytes", path="a.txt.gz"),
    "a longer line": Bad("x" * (DOCUMENT + 1) + "\na\n", "TextInvalid", "data.text, line 1 has more than 16777216 bytes", input=LINES),
    "Latin-1": Bad({"d/a.txt": "a\n", "d/b.txt": "a\nb\né\n".encode("latin-1")}, "InputNotUtf8", "b.txt, line 3: not UTF-8 but, it seems, latin-1", path="d"),
    "lines of an old Mac": Bad("a b\rc\rd\r", "TextInvalid", "data.text has no line feed in its first 8 bytes, and 2 carriage returns: end its lines with line feeds, as `tr '\\r' '\\n'` does", input=LINES),
    "a line that an old Mac has ended": Good("a b\r", TXT, [("a b",)], input=LINES),
    "Latin-1 in a line": Bad({"d/a.txt": "a\n", "d/b.txt": "a\nb\né\n".encode("latin-1")}, "InputNotUtf8", "b.txt, line 3: not UTF-8", path="d", input=LINES),
    "half a character at the end": Bad("aé".encode()[:-1], "InputNotUtf8", "data.text, line 1: not UTF-8"),
    "a surrogate": Bad(b"a\xed\xa0\x80", "InputNotUtf8", "line 1: not UTF-8"),
    "an image": Bad(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "InputUnreadable", "is an image"),
    "a PDF": Bad("%PDF-1.7\n%", "InputUnreadable", "is a PDF document"),
    "nothing but empty files": Bad({"d/a.txt.gz": gzip.compress(b""), "d/b.txt": "\ufeff"}, "InputEmpty", "the files are empty", path="d"),
    "half a gzip file": Bad({"a.txt.gz": gzip.compress(bytes(range(32, 127)) * 500)[:60]}, "InputUnreadable", "is not a whole gzip file", path="a.txt.gz"),
    "half a gzip file of lines": Bad({"a.txt.gz": gzip.compress(bytes(range(32, 127)) * 500)[:60]}, "InputUnreadable", "is not a whole gzip file", path="a.txt.gz", input=LINES),
    "a partition called text": Bad({"d/text=a/b.txt": "c"}, "DuplicateColumns", "text", path="d"),
}  # fmt: skip


@pytest.fixture(scope="module")
def engines(spark: Any) -> Iterator[dict[str, Engine]]:
    with DuckdbEngine() as pandas_engine, SparkEngine({}) as spark_engine:
        # Compiling code for a handful of rows would take most of the time.
        spark_engine.session.conf.set("spark.sql.codegen.wholeStage", "false")
        spark_engine.session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        yield {
            "pandas": pandas_engine,
            "spark": spark_engine,
            # Large files are not inspected on the driver.
            "spark, a large file": spark_engine,
        }


@pytest.mark.parametrize("name", CSV)
def test_csv(
    name: str, engines: dict[str, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine_name, engine in engines.items():
        with monkeypatch.context() as patch:
            if "large" in engine_name:
                patch.setattr(csv, "_SMALL_BYTES", 0)
            assert_read(engine, CSV[name], "csv", tmp_path, engine_name)


@pytest.mark.parametrize(
    "name", [n for n, c in CSV.items() if isinstance(c, Good) and c.pandas is not None]
)
def test_pandas_reads_the_same(name: str, tmp_path: Path) -> None:
    case = CSV[name]
    assert isinstance(case, Good)
    path = write(case, "csv", tmp_path)
    frame = pd.read_csv(path, dtype_backend="numpy_nullable", **(case.pandas or {}))
    assert [str(column) for column in frame.columns] == list(case.columns)
    rows = [
        tuple(None if pd.isna(v) else getattr(v, "item", lambda v=v: v)() for v in row)
        for row in frame.itertuples(index=False)
    ]
    assert sorted(map(str, rows)) == sorted(map(str, case.rows))


@pytest.mark.parametrize("name", JSON)
def test_json(
    name: str, engines: dict[str, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine_name, engine in engines.items():
        with monkeypatch.context() as patch:
            if "large" in engine_name:
                patch.setattr(json_input, "_SMALL_BYTES", 0)
            assert_read(engine, JSON[name], "json", tmp_path, engine_name)


@pytest.mark.parametrize("name", TEXT)
def test_text(name: str, engines: dict[str, Engine], tmp_path: Path) -> None:
    for engine_name in ("pandas", "spark"):
        assert_read(engines[engine_name], TEXT[name], "text", tmp_path, engine_name)


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
