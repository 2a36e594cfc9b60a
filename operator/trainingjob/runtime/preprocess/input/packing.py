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
from typing import IO

import pyarrow as pa

from ...base.errors import StageFailure

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
# By the name: a file that says so and is not is broken.
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}

_OFFICE = "an Excel workbook; save the sheet as CSV (UTF-8), or write it with "
_EXCEL = _OFFICE + 'pandas.read_excel(…).to_csv("data.csv", index=False)'

_PAGE = "a page of HTML, such as a log-in page that was saved; fetch the data itself"

# First bytes -> what the file is, and what to do.
_OTHERS: dict[bytes, str] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _EXCEL,
    b"PAR1": "a Parquet file; set preprocess.input.format to parquet",
    b"ORC": "an ORC file, and not of the input's format",
    b"Obj\x01": "an Avro file, and not of the input's format",
    b"ARROW1": "an Arrow file; write it with pandas.read_feather(…).to_parquet(…)",
    b"FEA1": "a Feather file; write it with pandas.read_feather(…).to_parquet(…)",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV",
    b"\x89HDF\r\n": "an HDF5 file; write it with pandas.read_hdf(…).to_parquet(…)",
    b"\x93NUMPY": "a NumPy array; write it as CSV or Parquet with pandas",
    b"RDX": "data of R; write it with write.csv(…, row.names = FALSE)",
    b"<stata_dta>": "data of Stata; write it with pandas.read_stata(…).to_parquet(…)",
    # Versions 114, 115 and 117 before they were XML; either order of bytes.
    **dict.fromkeys(
        (bytes((v, order, 1)) for v in (105, 108, 113, 114, 115) for order in (1, 2)),
        "data of Stata; write it with pandas.read_stata(…).to_parquet(…)",
    ),
    bytes(12) + b"\xc2\xea\x81\x60": "data of SAS; write it with pandas.read_sas(…).to_parquet(…)",
    b"MATLAB ": "data of MATLAB; write it as CSV with writetable(…)",
    b"$FL2": "data of SPSS; write it with pandas.read_spss(…).to_parquet(…)",
    b"\x80\x02": "a pickle; write the frame with to_parquet(…)",
    b"\x80\x03": "a pickle; write the frame with to_parquet(…)",
    b"\x80\x04": "a pickle; write the frame with to_parquet(…)",
    b"\x80\x05": "a pickle; write the frame with to_parquet(…)",
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
    rb'(\[\s*)?\{\s*"': "JSON, by its beginning; set preprocess.input.format to json",
    rb"[-+.0-9]+( [0-9]+:[-+.0-9e]+)+ *[\r\n]": "LIBSVM's format; write it as a table with "
    "sklearn.datasets.load_svmlight_file(…)",
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
    return StageFailure("InputUnreadable", f"{file} is not a whole {packing} file: {words}")


def refuse_other_kinds(
    file: Path, head: bytes, *, table: bool = False, pages: bool = False
) -> None:
    """Raises StageFailure(InputUnreadable) with what to do for a file, beginning with ``head``
    when it is unpacked, that is no text, or no ``table`` of text. ``pages`` are texts."""
    # "ORCID" may well be the name of a column.
    others = _OTHERS if any(byte < 9 for byte in head) else {}
    words = next((words for start, words in others.items() if head.startswith(start)), None)
    if head[257:262] == b"ustar":
        words = _TAR
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    texts = _TEXTS if not pages else {text: _TEXTS[text] for text in _TEXTS if text[:1] != b"<"}
    words = words or next((words for text, words in texts.items() if start.startswith(text)), None)
    if not words and _begins_packed(head):
        words = "packed twice; unpack it once"
    if table and not words:
        words = next((words for text, words in _NO_TABLES.items() if re.match(text, start)), None)
        # UTF-16 has them as well, every other byte.
        if len({*head} & _CONTROLS) > _MOST_CONTROLS and head.count(0) * 3 < len(head):
            words = "no text but of a binary format; write it as CSV or Parquet"
    if words:
        raise StageFailure("InputUnreadable", f"{file} is {words}")


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
    if any(member.flag_bits & 1 for member in members):
        raise StageFailure("InputUnreadable", f"{file} needs a password; pack it without one")
    kinds = {Path(name).suffix.lower() for name in names}
    if len(kinds) > 1:
        raise StageFailure(
            "InputUnreadable",
            f"{file} has files of several kinds: {', '.join(sorted(names)[:5])}"
            f"{', …' if len(names) > 5 else ''}; unpack it, or pack those of one kind",
        )
    return sorted(members, key=lambda member: member.filename)
