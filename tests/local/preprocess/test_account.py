"""What the steps did to rows, columns and values is told, the same by both engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest

from .both import ENGINES, payload

COLUMNS = {
    # 60 rows; y is the label.
    "smoker": pa.array(["often" if i % 3 else "maybe" for i in range(60)]),
    "price": pa.array(["n/a" if i % 20 == 7 else f"{i}.5" for i in range(60)]),
    "comma": pa.array([f"{i},5" for i in range(60)]),
    "text": pa.array([str(i) for i in range(60)]),
    "huge": pa.array([2e19 + i * 1e18 for i in range(60)]),
    "long": pa.array([2**53 + i for i in range(60)]),
    "whole": pa.array([float(i) for i in range(60)]),
    "fraction": pa.array([i / 2 for i in range(60)]),
    "gaps": pa.array([None if i % 2 else i for i in range(60)], pa.int64()),
    "nothing": pa.array([None] * 60, pa.string()),
    "flag": pa.array([i % 2 == 0 for i in range(60)]),
    "control": pa.array(["a\x1b[31m\nb"] * 60),
    "y": pa.array([i % 2 for i in range(60)]),
}


@dataclass(frozen=True)
class Case:
    """Steps, the account's lines without those of the input, and the warnings' beginnings."""

    steps: list[dict[str, Any]]
    account: list[str]
    warnings: list[str] = field(default_factory=list)
    split: dict[str, Any] | None = None


def cast(**columns: str) -> dict[str, Any]:
    return {"cast": {"columns": columns}}


def column(name: str, expr: str) -> dict[str, Any]:
    return {"withColumn": {"name": name, "expr": expr}}


def keep(where: str) -> dict[str, Any]:
    return {"filter": {"where": where}}


def query(text: str) -> dict[str, Any]:
    return {"sql": {"query": text}}


UNDIVIDED = {"test": 0.0, "validation": 0.0}

TOLD: dict[str, Case] = {
    "no step": Case([], []),
    "a cast that loses nothing": Case([cast(text="bigint")], ["step 1 (cast): 60 rows"]),
    "some values become null": Case(
        [cast(price="double")],
        ['step 1 (cast): 60 rows; price: 3 of 60 values became null as double, e.g. "n/a"'],
        ['step 1 (cast): price: 3 of 60 values became null as double, e.g. "n/a"; set input.options.nullValues'],
    ),
    "some values become null in rows that a step drops": Case(
        [cast(price="double"), {"dropna": {"subset": ["price"]}}, keep("price > 10"), cast(gaps="double")],
        [
            'step 1 (cast): 60 rows; price: 3 of 60 values became null as double, e.g. "n/a"',
            "step 2 (dropna): 60 -> 57 rows",
            "step 3 (filter): 57 -> 48 rows",
            "step 4 (cast): 48 rows",
        ],
        ["step 1 (cast): price: 3 of 60"],
    ),
    "values that a step has dropped are not lost by the next": Case(
        [keep("price <> 'n/a'"), cast(price="double")],
        ["step 1 (filter): 60 -> 57 rows", "step 2 (cast): 57 rows"],
    ),
    "nulls are not lost": Case([cast(nothing="double", gaps="string")], ["step 1 (cast): 60 rows"]),
    "fractions that a cast cuts off": Case(
        [cast(fraction="bigint", whole="bigint")],
        ['step 1 (cast): 60 rows; fraction: 30 of 60 values lost their fraction, e.g. "0.5" and "29.5"'],
    ),
    "whole numbers that a double does not hold": Case(
        [cast(long="double")],
        ['step 1 (cast): 60 rows; long: 30 of 60 values were rounded: a double holds 15 to 17 digits, e.g. "9007199254740993" and "9007199254741051"'],
        ["step 1 (cast): long: 30 of 60 values were rounded"],
    ),
    "rows and columns": Case(
        [
            {"dropDuplicates": {"subset": ["y"]}},
            {"rename": {"columns": {"whole": "all"}}},
            {"drop": {"columns": ["flag", "nothing"]}},
            column("more", "y + 1"),
        ],
        [
            "step 1 (dropDuplicates): 60 -> 2 rows",
            "step 2 (rename): 2 rows; + all; - whole",
            "step 3 (drop): 2 rows; - nothing, flag",
            "step 4 (withColumn): 2 rows; + more",
        ],
        split=UNDIVIDED,
    ),
    "categories as columns": Case(
        [{"oneHot": {"columns": ["smoker"]}}],
        ["step 1 (oneHot): 60 rows; + smoker_maybe, smoker_often; - smoker"],
    ),
    "many lost columns": Case(
        [{"select": {"columns": ["whole", "y"]}}],
        ["step 1 (select): 60 rows; - smoker, price, comma, text, huge, … (11 in all)"],
    ),
    "labels that only held-out rows have": Case(
        [{"encodeLabels": {"columns": ["text", "smoker"]}}],
        ["step 1 (encodeLabels): 60 rows; text: 30 of 30 values in held-out rows are of categories that no training row has"],
        ["step 1 (encodeLabels): text: 30 of 30 values in held-out rows"],
    ),
    "rows of both sides of the split": Case(
        [cast(price="double"), {"fillna": {"strategy": "mean", "columns": ["price"]}}, keep("whole < 30"), cast(text="double")],
        [
            'step 1 (cast): 60 rows; price: 3 of 60 values became null as double, e.g. "n/a"',
            "step 2 (fillna): 60 rows",
            "step 3 (filter): 60 -> 30 rows",
            "step 4 (cast): 30 rows",
        ],
        ["step 1 (cast): price: 3 of 60"],
    ),
    "a cast in an expression": Case(
        [column("cost", "round(cast(price as double) * 2)")],
        ['step 1 (withColumn): 60 rows; + cost; CAST(price AS DOUBLE): 3 of 60 values became null as double, e.g. "n/a"'],
        ["step 1 (withColumn): CAST(price AS DOUBLE): 3 of 60"],
    ),
    "a cast whose nulls are provided for": Case(
        [column("cost", "coalesce(cast(price as double), 0)")],
        ['step 1 (withColumn): 60 rows; + cost; CAST(price AS DOUBLE): 3 of 60 values became null as double, e.g. "n/a"'],
    ),
    "a try_cast may fail": Case(
        [column("cost", "try_cast(price as double)")],
        ['step 1 (withColumn): 60 rows; + cost; TRY_CAST(price AS DOUBLE): 3 of 60 values became null as double, e.g. "n/a"'],
    ),
    "a try_cast that always fails": Case(
        [column("cost", "try_cast(smoker as double)")],
        ['step 1 (withColumn): 60 rows; + cost; TRY_CAST(smoker AS DOUBLE): 60 of 60 values became null as double, e.g. "maybe" and "often"'],
        ["step 1 (withColumn): TRY_CAST(smoker AS DOUBLE): 60 of 60"],
    ),
    "a cast that a condition guards": Case(
        [column("cost", "case when price <> 'n/a' then cast(price as double) end")],
        ['step 1 (withColumn): 60 rows; + cost; cost: 3 of 60 values are null, though all that they are made of is there, e.g. "n/a"'],
    ),
    "an expression that gives null": Case(
        [column("root", "sqrt(gaps - 10)")],
        ['step 1 (withColumn): 60 rows; + root; root: 5 of 30 values are null, though all that they are made of is there, e.g. "0" and "8"'],
    ),
    "an expression that always gives null": Case(
        [column("root", "sqrt(-1 - gaps)")],
        ['step 1 (withColumn): 60 rows; + root; root: 30 of 30 values are null, though all that they are made of is there, e.g. "0" and "58"'],
        ["step 1 (withColumn): root: 30 of 30 values are null"],
    ),
    "a cast in a condition": Case(
        [keep("cast(price as double) > 10")],
        ['step 1 (filter): 60 -> 48 rows; CAST(price AS DOUBLE): 3 of 60 values became null as double, e.g. "n/a"'],
        ["step 1 (filter): CAST(price AS DOUBLE): 3 of 60"],
    ),
    "a query": Case(
        [query("select avg(cast(price as double)) as price, y from data where price <> 'n/a' group by y")],
        ["step 1 (sql): 60 -> 2 rows; - smoker, comma, text, huge, long, … (11 in all)"],
        split=UNDIVIDED,
    ),
}  # fmt: skip

# Steps, and the message's beginning.
FAILED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "texts that are no booleans": ([cast(smoker="boolean")], 'step 1 (cast): smoker: 60 of 60 values became null as boolean, e.g. "maybe" and "often"; write which of them are true'),
    "filled up again": ([cast(smoker="boolean"), {"fillna": {"value": False}}], "step 1 (cast): smoker: 60 of 60"),
    "dropped": ([cast(comma="double"), {"dropna": {}}], "step 1 (cast): comma: 60 of 60"),
    "decimal commas": ([cast(comma="double")], "step 1 (cast): comma: 60 of 60 values became null as double, e.g. \"0,5\" and \"9,5\"; use `parseNumber: {columns: [comma], decimal: ','}` instead"),
    "numbers beyond 64 bits": ([cast(huge="bigint")], 'step 1 (cast): huge: 60 of 60 values became null as bigint, e.g. "2e+19" and "7.9e+19"; they are beyond 64 bits'),
    "types that have nothing in common": ([cast(flag="date")], 'step 1 (cast): flag: 60 of 60 values became null as date, e.g. "false" and "true"; no boolean is a date'),
    "after the split": ([{"scale": {"columns": ["whole"]}}, cast(smoker="double")], "step 2 (cast): smoker: 60 of 60"),
    "all that is left": ([keep("price = 'n/a'"), cast(price="double")], "step 2 (cast): price: 3 of 3"),
    "in an expression": ([column("smokes", "not cast(smoker as boolean)")], "step 1 (withColumn): CAST(smoker AS BOOLEAN): 60 of 60"),
    "in an expression that provides for nulls": ([column("smokes", "coalesce(cast(smoker as boolean), false)")], "step 1 (withColumn): CAST(smoker AS BOOLEAN): 60 of 60"),
    "by a conversion": ([column("cost", "double(comma)")], "step 1 (withColumn): DOUBLE(comma): 60 of 60"),
    "in a condition": ([keep("cast(comma as double) > 1")], "step 1 (filter): CAST(comma AS DOUBLE): 60 of 60"),
    "values that a terminal would obey": ([cast(control="double")], 'step 1 (cast): control: 60 of 60 values became null as double, e.g. "a\\x1b[31m\\nb"'),
}  # fmt: skip


def told(
    engine: str, folder: Path, steps: list[dict[str, Any]], split: dict[str, Any] | None = None
) -> Any:
    source = folder / "data.parquet"
    pq.write_table(pa.table(COLUMNS), source)
    try:
        result = preprocess.run(
            payload(engine, source, folder / engine, steps, format="parquet", split=split)
        )
    except StageFailure as failure:
        return failure.reason, failure.message
    warnings = [(w.reason, w.message) for w in result.outputs.warnings or []]
    first, *_ = result.outputs.account or ["?"]
    # There may be no room for the lines of all steps in status.
    manifest = DatasetManifest.read(folder / engine)
    return warnings, [first, *(step["account"] for step in manifest.pipeline)]


@pytest.mark.parametrize("name", TOLD)
def test_what_a_step_does_is_told(name: str, spark: Any, tmp_path: Path) -> None:
    case = TOLD[name]
    one, other = (told(engine, tmp_path, case.steps, case.split) for engine in ENGINES)
    assert one == other
    warnings, (first, *account) = one
    assert first.startswith("input: 60 rows; + smoker, price, ")
    assert account == case.account
    steps = [message for reason, message in warnings if message.startswith("step")]
    assert [m[: len(w)] for m, w in zip(steps, case.warnings, strict=True)] == case.warnings


@pytest.mark.parametrize("name", FAILED)
def test_a_step_that_loses_every_value_fails(name: str, spark: Any, tmp_path: Path) -> None:
    steps, message = FAILED[name]
    one, other = (told(engine, tmp_path, steps) for engine in ENGINES)
    assert one == other
    assert (one[0], one[1][: len(message)]) == ("CastLosesValues", message)
