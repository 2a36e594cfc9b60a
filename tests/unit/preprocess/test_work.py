"""How much engine pandas does for a table: counted, never timed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb as python_duckdb
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from tests.local.preprocess.both import payload, run, whole
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines import duckdb
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.duckdb_failures import failures

CLASSES = {"type": "classification", "label": "y"}
# What has a pass over the data of its own, or loads a library.
STEPS = [
    {"dropDuplicates": {}},
    {"dropna": {"subset": ["y"]}},
    {"fillna": {"strategy": "median", "columns": ["a"]}},
    {"filter": {"where": "b > -3"}},
    {"withColumn": {"name": "ratio", "expr": "a / (abs(b) + 1)"}},
    {"oneHot": {"columns": ["s"]}},
    {"scale": {"columns": ["a", "b", "ratio"]}},
]


def table(rows: int) -> str:
    """Numbers, some of them null, a text, a label; every hundredth row is a copy."""
    lines = (
        f"{'' if i % 20 == 3 else i * 37 % 1009 / 8},{i * 61 % 997 / 16},"
        f"{('red', 'green', 'blue')[i % 3]},{i * 7 % 11 % 2}"
        for i in (n - n // 100 for n in range(rows))
    )
    return "\n".join(["a,b,s,y", *lines, ""])


def wide_table(rows: int) -> str:
    """Of which files are written another way."""
    names = ",".join(f"a{place}" for place in range(200))
    lines = (",".join(str(i * place % 97 / 8) for place in range(200)) for i in range(rows))
    return "\n".join([f"{names},y", *(f"{line},{i % 2}" for i, line in enumerate(lines)), ""])


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (table(400), {"steps": STEPS}),
        (wide_table(40), {"steps": [{"scale": {}}]}),
    ],
    ids=["long", "wide"],
)
def test_pandas_is_not_loaded_where_no_script_needs_it(
    tmp_path: Path, text: str, more: dict[str, Any]
) -> None:
    """It takes half a second and 50 MiB."""
    source = tmp_path / "data.csv"
    source.write_text(text)
    given = payload("pandas", source, tmp_path / "out", task=CLASSES, **more)
    code = (
        "import sys\n"
        "from trainingjob.runtime.__main__ import main\n"
        "assert main() == 0\n"
        "assert 'numpy' in sys.modules and 'pandas' not in sys.modules"
    )
    environment = {
        **os.environ,
        "TRAININGJOB_STAGE": given.model_dump_json(by_alias=True, exclude_none=True),
        "TRAININGJOB_RESULT_FILE": str(tmp_path / "result"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def bytes_read() -> int:
    fields = Path("/proc/self/io").read_text().split()
    return int(fields[fields.index("rchar:") + 1])


@pytest.mark.parametrize(
    "late, passes",
    [("1.5,2,x,0", 1), ("1.5,2.5,x,0", 2)],
    ids=["as its sample shows", "of a wider type than its sample shows"],
)
def test_a_file_is_read_once(late: str, passes: int, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    line = f"{{}}.25,{{}},{'a text that takes its place ' * 4},{{}}\n"
    with source.open("w") as file:
        file.write("a,i,s,y\n")
        file.writelines(line.format(n % 10, n, n % 2) for n in range(60_000))
        file.write(f"{late}\n")
    size = source.stat().st_size
    before = bytes_read()
    manifest, _ = run("pandas", source, tmp_path / "out", task=CLASSES)
    assert manifest.columns["i"] == ("bigint" if passes == 1 else "double")
    # Besides, its beginning is looked at, and what is written is read for its digest.
    assert size * passes <= bytes_read() - before < size * (passes + 0.75)


# What the first rows are like, a later value, and the type and values that pandas finds, or Spark
# where pandas keeps texts.
_LATE: list[tuple[str, str, ColumnType, object]] = [
    ("7", "8", "bigint", 8),
    ("7", " 8", "bigint", 8),
    ("7", "8.5", "double", 8.5),
    ("7", "007", "string", "007"),
    ("7", "9223372036854775808", "string", "9223372036854775808"),
    ("7", "x", "string", "x"),
    ("7", "NA", "bigint", None),
    ("1.5", " 2.5 ", "double", 2.5),
    ("1.5", "1e3", "double", 1000.0),
    ("1.5", "1_000", "string", "1_000"),
    ("1.5", "+-1", "string", "+-1"),
    ("1.5", "inf", "double", None),
    ("1.5", "nan", "double", None),
    ("1.5", "", "double", None),
    ("true", "FALSE", "boolean", False),
    ("true", "maybe", "string", "maybe"),
    ("2020-01-02", "2021-02-03", "date", date(2021, 2, 3)),
    ("2020-01-02", "2021-02-30", "string", "2021-02-30"),
    ("2020-01-02", "2021-02-03 04:05:06", "timestamp", datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ("text", "NULL", "string", None),
    ("text", '"two\nlines"', "string", "two\nlines"),
    ("text", "5", "string", "5"),
    ("", "5", "bigint", 5),
]


@pytest.mark.parametrize("more, cases", [(1, _LATE), (101, _LATE[2:10:3])], ids=["narrow", "wide"])
def test_a_value_after_the_sample_counts_for_the_type(
    more: int, cases: list[Any], tmp_path: Path
) -> None:
    """Each in a file by itself: one odd value has the file read again."""
    found = []
    names = ",".join(f"c{column}" for column in range(more))
    for index, (first, late, *_) in enumerate(cases):
        lines = [f"{row},{','.join([first] * more)},{row % 2}" for row in range(1100)]
        lines.append(f"1100,{','.join([first] * (more - 1) + [late])},0")
        source = tmp_path / f"{index}.csv"
        source.write_text("\n".join([f"row,{names},y", *lines, ""]))
        made = run("pandas", source, tmp_path / f"out{index}", task=CLASSES)
        rows = whole(made)
        assert rows.num_rows == 1101
        last = rows.filter(pc.equal(rows["row"], 1100))[f"c{more - 1}"]
        found.append((first, late, made[0].columns[f"c{more - 1}"], last[0].as_py()))
    assert found == cases


def test_rows_that_only_share_their_hash_are_no_duplicates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        duckdb, "hash_rows", lambda batch, computed=False: np.zeros(len(batch), int)
    )
    source = tmp_path / "data.csv"
    source.write_text(table(1000))
    made = run("pandas", source, tmp_path / "out", [{"dropDuplicates": {}}], task=CLASSES)
    assert whole(made).num_rows == len(pd.read_csv(source).drop_duplicates()) == 991


@pytest.mark.parametrize("reason, passes", [("OutOfMemory", 1), ("DiskFull", 1), ("StepFailed", 3)])
def test_what_the_machine_lacks_is_met_once(
    reason: str, passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read as its sample looks is read another way, and then written anew."""
    views = []

    def read_csv(self: DuckdbEngine, *args: Any, **kwargs: Any) -> str:
        views.append(args)
        raise StageFailure(reason, "it is so")

    monkeypatch.setattr(DuckdbEngine, "read_csv", read_csv)
    source = tmp_path / "data.csv"
    source.write_text(table(100))
    found = run("pandas", source, tmp_path / "out", task=CLASSES)
    assert found[0] == ("InputMalformed" if reason == "StepFailed" else reason)
    assert len(views) == passes


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError("Out of Memory Error: failed to allocate"), "OutOfMemory"),
        (OSError("IO Error: Could not write file: No space left on device"), "DiskFull"),
        (OSError("Query failed: IO Error: it is gone"), "StorageFailed"),
        (OSError("Invalid Input Error: CSV Error on Line: 7"), "StepFailed"),
        (OSError("anything else"), "StepFailed"),
        (python_duckdb.OutOfMemoryException("x"), "OutOfMemory"),
        (python_duckdb.IOException("IO Error: No space left on device"), "DiskFull"),
        (python_duckdb.CatalogException("no such function"), "ExpressionInvalid"),
    ],
    ids=str,
)
def test_an_error_has_its_reason_whoever_tells_it(error: Exception, expected: str) -> None:
    with pytest.raises(StageFailure) as caught, failures():
        raise error
    assert caught.value.reason == expected
