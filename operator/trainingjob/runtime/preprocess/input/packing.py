"""Packed files, and files that are something else than their format says: told by their first
bytes, and not by their names."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import pyarrow as pa

from ...base.errors import StageFailure
from .called import field

# Enough to tell what a file is: that of a tar archive stands at 257.
HEAD_BYTES = 512

# First bytes -> how it is packed.
_PACKINGS: dict[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # without members
}
# How files begin of formats that have a reader of their own.
_MARKS = {"Parquet": b"PAR1", "ORC": b"ORC"}
# Of Parquet whose footer is encrypted.
_SEALED = b"PARE"
_ENCRYPTED = "is encrypted: write it without encryption, as nothing here has its keys"
# What a table may be packed to; gzip reaches 1032 with zeros alone. Less is not looked at.
MOST_TIMES = 1000
SURELY_FINE = 2**30
# By the name: a file that says so and is not is broken.
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}

_OFFICE = "an Excel workbook; save the sheet as CSV (UTF-8), or write it with "
_EXCEL = _OFFICE + 'pandas.read_excel(…).to_csv("data.csv", index=False)'

_PAGE = "a page of HTML, such as a log-in page that was saved; fetch the data itself"
_TABLE = (
    'a page of HTML; write its table with pandas.read_html(…)[0].to_csv("data.csv", index=False)'
)

_PICKLE = "a pickle; write the frame with to_parquet(…)"
_ARRAYS = "of NumPy; write it as CSV or Parquet with pandas"
_OF_R = "data of R; write it with write.csv(…, row.names = FALSE)"
_DUCKDB = "a database of DuckDB; export the table with COPY … TO 'data.parquet'"
_SQL = "SQL; run it in its database, and export the table as CSV"

# First bytes -> what the file is, and what to do; ``format`` is the field of the manifest.
_OTHERS: dict[bytes, str] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _EXCEL,
    b"PAR1": "a Parquet file; set {format} to parquet",
    b"ORC": "an ORC file; set {format} to orc",
    b"Obj\x01": "an Avro file; write it with pandas.DataFrame(fastavro.reader(…)).to_parquet(…), "
    "or set {format} to raw and read it in a script",
    b"\xff\xff\xff\xff": "a stream of Arrow; write it with "
    "pyarrow.ipc.open_stream(…).read_pandas().to_parquet(…)",
    b"ARROW1": "an Arrow file; write it with pandas.read_feather(…).to_parquet(…)",
    b"FEA1": "a Feather file; write it with pandas.read_feather(…).to_parquet(…)",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV",
    b"\x89HDF\r\n": "an HDF5 file; write it with pandas.read_hdf(…).to_parquet(…)",
    b"\x93NUMPY": f"an array {_ARRAYS}",
    b"RDX": _OF_R,
    b"X\n\x00\x00\x00": _OF_R,
    b"<stata_dta>": "data of Stata; write it with pandas.read_stata(…).to_parquet(…)",
    # Versions 114, 115 and 117 before they were XML; either order of bytes.
    **dict.fromkeys(
        (bytes((v, order, 1)) for v in (105, 108, 113, 114, 115) for order in (1, 2)),
        "data of Stata; write it with pandas.read_stata(…).to_parquet(…)",
    ),
    bytes(12) + b"\xc2\xea\x81\x60": "data of SAS; write it with pandas.read_sas(…).to_parquet(…)",
    b"MATLAB ": "data of MATLAB; write it as CSV with writetable(…)",
    b"$FL2": "data of SPSS; write it with pandas.read_spss(…).to_parquet(…)",
    **dict.fromkeys((b"\x80" + bytes((version,)) for version in (2, 3, 4, 5)), _PICKLE),
    b"\x89PNG": "an image; bring a table",
    b"\xff\xd8\xff": "an image; bring a table",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it, or pack it as .zip or .gz",
    b"Rar!": "a RAR archive; unpack it, or pack it as .zip or .gz",
    b"\x04\x22\x4d\x18": "packed with lz4; unpack it, or pack it as .zst or .gz",
    b"\x1f\x9d": "packed with compress; unpack it, or pack it as .gz",
}
# The same of texts, in small letters, after blanks.
_TEXTS: dict[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS and not the file; fetch it: git lfs pull",
    b"<!doctype html": _PAGE,
    b"%pdf-": "a PDF document; bring the table itself",
    b"<html": _PAGE,
    b"<?xml": "an XML document; export the table as CSV",
    b"header record*******lib": "data of SAS; write it with pandas.read_sas(…).to_parquet(…)",
    b"@relation": "an ARFF file, as of OpenML and Weka; write it with "
    "pandas.DataFrame(scipy.io.arff.loadarff(…)[0]).to_parquet(…)",
}
# What is no CSV, though it is text.
_NO_TABLES: dict[bytes, str] = {
    rb'(\[\s*)?\{\s*"': "JSON, by its beginning; set {format} to json",
    rb"[-+.0-9]+( [0-9]+:[-+.0-9e]+)+ *[\r\n]": "LIBSVM's format; write it as a table with "
    "sklearn.datasets.load_svmlight_file(…)",
    # The first version, which is text.
    rb"c(copy_reg|numpy|pandas|__builtin__|builtins)[\w.]*\n|\([dilt]p?[01]\n": _PICKLE,
    rb"(--[^\n]*\n|/\*[^\n]*\n|\s)*"
    rb"(create table|insert into|drop table|pragma foreign_keys)\b": _SQL,
    rb"(---\s*\n)?- [\"']?\w[\w ]*[\"']?:(\s|$)": "YAML; write it with "
    "pandas.DataFrame(yaml.safe_load(…)).to_parquet(…)",
    rb"\|[^\n]*\|\s*\n\|?[ :|+-]*--[ :|+-]*\n": "a table of Markdown; write it as CSV",
    # Each below a line of names, or above one.
    rb"\s*\+(-+\+)+\s*\n\|": "a table that MySQL has drawn; have it written with mysql --batch",
    rb"\s*[^\n]*\n-+(\+-+)+\s*\n": "a table that psql has drawn; have it written with psql --csv",
    rb"\s*[^\n]*\n-{2,}( +-{2,})+\s*\n": "a table that SQL*Plus has drawn, or one like it; have it "
    "written with SET MARKUP CSV ON",
}
# Controls that stand in texts: ends of lines, tabs, separators. Of others a text has few.
_CONTROLS = {*range(9), *range(14, 28)}
_MOST_CONTROLS = 3
_TAR = "a tar archive; unpack it, or pack each file as .gz, or all as .zip"


def packing_of(file: Path) -> str | None:
    """``gzip``, ``bzip2``, ``xz``, ``zstd``, ``zip``, or None for a file that is not packed.
    Raises OSError."""
    with file.open("rb") as stream:
        return _begins_packed(stream.read(10)) or SUFFIXES.get(file.suffix.lower())


def _begins_packed(head: bytes) -> str | None:
    return next((name for start, name in _PACKINGS.items() if head.startswith(start)), None)


def open_bytes(file: Path) -> IO[bytes]:
    """A file for reading, unpacked; not a zip archive."""
    packing = packing_of(file)
    if packing == "gzip":
        return gzip.open(file)  # type: ignore[return-value]
    if packing == "bzip2":
        return bz2.open(file)
    if packing == "xz":
        return lzma.open(file)
    if packing == "zstd":
        return pa.input_stream(str(file), compression="zstd")  # type: ignore[no-any-return]
    return file.open("rb")


@contextmanager
def packing_errors(file: Path) -> Iterator[None]:
    """Turn what unpackers say of a broken file into StageFailure(InputUnreadable)."""
    try:
        yield
    except (
        *(gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
        *(pa.ArrowException,),
    ) as error:
        raise _broken(file, error) from error
    except OSError as error:
        # A zip archive may say that something lies before its beginning.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _broken(file, error) from error  # bz2's and Arrow's


def _broken(file: Path, error: Exception) -> StageFailure:
    words = str(error).partition(". Detail")[0]
    packing = packing_of(file) or "packed"
    with file.open("rb") as stream:
        is_none = _begins_packed(stream.read(10)) is None
    if is_none and packing == SUFFIXES.get(file.suffix.lower()):
        what = f"{file} is named {file.suffix} and is no {packing} file"
        return StageFailure("InputUnreadable", f"{what}: name it without, or bring it anew")
    return StageFailure(
        "InputUnreadable",
        f"{file} is not a whole {packing} file: {words}; it was cut off, or is damaged: bring it "
        "anew",
    )


def refuse_other_kinds(
    file: Path, head: bytes, *, table: bool = False, pages: bool = False
) -> None:
    """Raises StageFailure(InputUnreadable) with what to do for a file, beginning with ``head``
    when it is unpacked, that is no text, or no ``table`` of text. ``pages`` are texts."""
    # "ORCID" may well be the name of a column.
    others = _OTHERS if any(byte < 9 for byte in head) else {}
    words = next((words for start, words in others.items() if head.startswith(start)), None)
    if others and head[8:12] == b"DUCK":
        words = _DUCKDB
    if head[257:262] == b"ustar":
        words = _TAR
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<html", b"<!doctype html")) and b"<table" in start and not pages:
        words = _TABLE
    texts = _TEXTS if not pages else {text: _TEXTS[text] for text in _TEXTS if text[:1] != b"<"}
    words = words or next((words for text, words in texts.items() if start.startswith(text)), None)
    if not words and _begins_packed(head):
        words = "packed twice; unpack it once"
    if table and not words:
        words = next((words for text, words in _NO_TABLES.items() if re.match(text, start)), None)
        if len({*head} & _CONTROLS) > _MOST_CONTROLS and not _may_be_utf16(head):
            words = "no text but of a binary format; write it as CSV or Parquet"
    if words:
        words = words.format(format=field("format"))
        raise StageFailure("InputUnreadable", f"{file} is {words}")


def _may_be_utf16(head: bytes) -> bool:
    """Whether zeros are at every other byte alone, more or less, as in UTF-16."""
    one, other = head[::2].count(0), head[1::2].count(0)
    return max(one, other) * 3 > len(head) and min(one, other) * 8 < max(one, other)


def refuse_other_formats(file: Path, format: str, problem: str) -> NoReturn:
    """Raises StageFailure(InputUnreadable) for a file that is not of ``format``, Parquet or ORC,
    since its reader has a ``problem``, with what it is instead."""
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    packing = _begins_packed(head)
    if packing == "zip":
        members_of(file)
    if packing:
        words = f"packed with {packing}, which nothing of this format is: unpack it"
        raise StageFailure("InputUnreadable", f"{file} is {words}")
    if head.startswith(_SEALED):
        raise StageFailure("InputUnreadable", f"{file} {_ENCRYPTED}")
    mark = _MARKS[format]
    if head.startswith(mark):
        words = f"{file} is not a whole {format} file: {problem}"
        raise StageFailure(
            "InputUnreadable", f"{words}; it was cut off, or is damaged: bring it anew"
        )
    refuse_other_kinds(file, head, table=True)
    words = f"{file} is not a {format} file: {problem}"
    if head and not {*head} & _CONTROLS:
        words = f"{file} is text and not {format}; if it is a table, set {field('format')} to csv"
    raise StageFailure("InputUnreadable", words)


def refuse_rows(file: Path, rows: int, columns: int) -> None:
    """Raises StageFailure(InputUnreadable) for a file that says to have so many rows, which as
    numbers would be over a thousand times what it has: some bytes may stand for a billion."""
    size = file.stat().st_size
    if rows * columns * 8 > max(SURELY_FINE, MOST_TIMES * size):
        raise StageFailure(
            "InputUnreadable",
            f"{file} of {size} bytes says that it has {rows} rows of {columns} columns: over "
            f"{MOST_TIMES} times its size, which no table does",
        )


def members_of(file: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip archive that hold the data: all of one kind, or those of tables among
    descriptions. Raises StageFailure(InputUnreadable)."""
    with packing_errors(file), zipfile.ZipFile(file) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir()
            and not any(p.startswith((".", "_")) for p in Path(member.filename).parts)
        ]
    names = [member.filename for member in members]
    if "[Content_Types].xml" in {m.filename for m in archive.infolist()}:
        raise StageFailure("InputUnreadable", f"{file} is {_EXCEL}")
    if "mimetype" in names and "content.xml" in names:
        words = f"{file} is an OpenDocument file; save the sheet as CSV (UTF-8)"
        raise StageFailure("InputUnreadable", words)
    kinds = {Path(name).suffix.lower() for name in names}
    if kinds == {".npy"}:
        raise StageFailure("InputUnreadable", f"{file} has arrays {_ARRAYS}")
    if any(name.endswith("/data.pkl") for name in names):
        words = f"{file} is a model or tensors of PyTorch; write the table as CSV or Parquet"
        raise StageFailure("InputUnreadable", words)
    if any(member.flag_bits & 1 for member in members):
        raise StageFailure("InputUnreadable", f"{file} needs a password; pack it without one")
    if len(kinds) > 1:
        raise StageFailure(
            "InputUnreadable",
            f"{file} has files of several kinds: {', '.join(sorted(names)[:5])}"
            f"{', …' if len(names) > 5 else ''}; unpack it, or pack those of one kind",
        )
    return sorted(members, key=lambda member: member.filename)
