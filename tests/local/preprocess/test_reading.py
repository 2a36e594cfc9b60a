"""Both engines read a file alike: the same columns and rows, or the same reason why not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.input import json as json_input

from .reading import LONG, NS, Bad, Good, assert_read, day, zipped, zstd

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
    "whole numbers beyond 64 bits alone are kept": Good('{"id": 1}\n{"id": 18446744073709551615}\n{"id": -9223372036854775809}\n', {"id": "string"}, [("1",), ("18446744073709551615",), ("-9223372036854775809",)], warnings=["ReadAsText"]),
    "whole numbers that a double does not hold": Good('{"n": 9007199254740993, "x": 9007199254740993}\n{"n": 1, "x": 0.5}\n', {"n": "bigint", "x": "double"}, [(2**53 + 1, 2.0**53), (1, 0.5)], warnings=["ValuesRounded"]),
    "a partitioned table": Good({"d/k=1/a.json": '{"n": 1}\n', "d/k=2/a.json": '{"n": 2}\n'}, {"n": "bigint", "k": "bigint"}, [(1, 1), (2, 2)], path="d"),
    "numbers beyond doubles are null": Good('{"x": 1.5}\n{"x": 1e400}\n{"x": 1e-400}\n', {"x": "double"}, [(1.5,), (None,), (0.0,)], warnings=["ValuesBecameNull"]),
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
