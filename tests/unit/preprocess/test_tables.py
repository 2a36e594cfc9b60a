"""Several tables: what joins, queries and scripts make of them. The oracle is pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.local.preprocess.both import run, whole

ORDERS = pd.DataFrame(
    {"id": range(40), "customer": [i % 7 for i in range(40)], "price": [i / 4 for i in range(40)]}
)
CUSTOMERS = pd.DataFrame({"customer": range(6), "city": list("ababab"), "age": range(30, 36)})
VISITS = pd.DataFrame({"who": [0, 0, 1, 2, 9], "minutes": [5, 6, 7, 8, 9]})
KEEP_ALL = {"test": 0.0, "validation": 0.0}
TASK = {"type": "regression", "label": "price"}


def tables(folder: Path) -> dict[str, Any]:
    """The inputs beside ``orders.csv``."""
    ORDERS.to_csv(folder / "orders.csv", index=False)
    CUSTOMERS.to_parquet(folder / "customers.parquet")
    VISITS.to_json(folder / "visits.json", orient="records")
    return {
        "customers": {"uri": f"file://{folder}/customers.parquet", "format": "parquet"},
        "visits": {"uri": f"file://{folder}/visits.json", "format": "json"},
    }


def made(folder: Path, *steps: dict[str, Any], **more: Any) -> Any:
    inputs = tables(folder)
    more = {"split": KEEP_ALL, "task": TASK, "inputs": inputs, **more}
    return run("pandas", folder / "orders.csv", folder / "out", steps, **more)


def join(table: str, on: str = "customer", **more: Any) -> dict[str, Any]:
    return {"join": {"table": table, "keys": [on], **more}}


def merged(other: pd.DataFrame, how: Any = "left", **more: Any) -> pd.DataFrame:
    return ORDERS.merge(other, how=how, **(more or {"on": "customer"}))


JOINS: dict[str, tuple[list[dict[str, Any]], pd.DataFrame]] = {
    "each row has one": ([join("customers")], merged(CUSTOMERS)),
    "only those with one": ([join("customers", how="inner")], merged(CUSTOMERS, "inner")),
    "some columns": ([join("customers", columns=["age"])], merged(CUSTOMERS.drop(columns="city"))),
    "a prefix": ([join("customers", columns=["a*"], prefix="c_")], merged(CUSTOMERS[["customer", "age"]].rename(columns={"age": "c_age"}))),
    "several rows": ([join("visits", tableKeys=["who"])], merged(VISITS, left_on="customer", right_on="who").drop(columns="who")),
    "several rows, after a split": ([{"scale": {"method": "minmax", "columns": ["id"]}}, join("visits", tableKeys=["who"], how="inner"), {"drop": {"columns": ["id"]}}], merged(VISITS, "inner", left_on="customer", right_on="who").drop(columns=["who", "id"])),
    "two tables": ([join("customers"), join("visits", tableKeys=["who"])], merged(CUSTOMERS).merge(VISITS, how="left", left_on="customer", right_on="who").drop(columns="who")),
    "a query": ([{"sql": {"query": "select o.id, o.price, v.minutes from data o join visits v on v.who = o.customer"}}], merged(VISITS, "inner", left_on="customer", right_on="who")[["id", "price", "minutes"]]),
    "a query of one table": ([{"sql": {"query": "select who, minutes as price from visits"}}], VISITS.rename(columns={"minutes": "price"})),
}  # fmt: skip


def test_a_join_that_makes_far_more_rows_than_there_are_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainingjob.runtime.preprocess.steps.join._MOST_ROWS", 40)
    monkeypatch.setattr("trainingjob.runtime.preprocess.steps.join._MOST_TIMES", 1)
    reason, message = made(tmp_path, join("visits", tableKeys=["who"]))
    assert reason == "StepFailed"
    assert "up to 2: rows of the data appear once for each, which makes 46 rows of 40" in message


@pytest.mark.parametrize("name", JOINS)
def test_tables_are_joined_as_pandas_does(name: str, tmp_path: Path) -> None:
    steps, expected = JOINS[name]
    found = whole(made(tmp_path, *steps)).to_pandas()
    order = list(expected.columns)
    assert list(found.columns) == order
    pd.testing.assert_frame_equal(
        found.sort_values(order).reset_index(drop=True).fillna(-1),
        expected.sort_values(order).reset_index(drop=True).fillna(-1),
        check_dtype=False,
    )


def test_a_table_of_one_row_a_key_moves_no_row_to_another_split(tmp_path: Path) -> None:
    def splits(*steps: dict[str, Any]) -> dict[int, str]:
        _, files = made(tmp_path, *steps, split={"test": 0.3, "validation": 0.2})
        return {
            row: split for (split, _), table in files.items() for row in table["id"].to_pylist()
        }

    assert splits(join("customers")) == splits()


SCRIPTS = {
    "tables": (
        "def preprocess(frame, context):\n"
        "    return frame.merge(context.inputs['customers'], on='customer')\n",
        {},
        merged(CUSTOMERS, "inner"),
    ),
    "raw files": (
        "import pandas as pd\n"
        "def preprocess(paths, context):\n"
        "    (path,) = paths\n"
        "    assert path == context.input\n"
        "    return pd.read_csv(path).merge(context.inputs['customers'], on='customer')\n",
        {"format": "raw"},
        merged(CUSTOMERS, "inner"),
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_tables(name: str, tmp_path: Path) -> None:
    source, more, expected = SCRIPTS[name]
    found = whole(made(tmp_path, script={"inline": source}, **more)).to_pandas()
    pd.testing.assert_frame_equal(
        found.sort_values("id").reset_index(drop=True), expected, check_dtype=False
    )


def test_nothing_reads_a_raw_input_before_the_script(tmp_path: Path) -> None:
    folder = tmp_path / "any"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_bytes(b"\xff" * number)
    source = (
        "import pathlib, pandas as pd\n"
        "def preprocess(paths, context):\n"
        "    sizes = [pathlib.Path(path).stat().st_size for path in paths]\n"
        "    return pd.DataFrame({'y': sizes, 'x': sizes})\n"
    )
    script = {"inline": source}
    result = run("pandas", folder, tmp_path / "out", format="raw", script=script, split=KEEP_ALL)
    assert sorted(whole(result)["x"].to_pylist()) == list(range(30))


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a key that the table lacks": (join("visits"), "ColumnNotFound", "step 1 (join): table visits: there is no column customer (columns: who, minutes)"),
    "a key that the data lacks": (join("customers", "custmer", tableKeys=["customer"]), "ColumnNotFound", "step 1 (join): there is no column custmer; did you mean customer?"),
    "keys of two types": (join("customers", tableKeys=["city"]), "StepFailed", "customer is a bigint and city of customers a string"),
    "a column that the table lacks": (join("customers", "id", tableKeys=["age"], columns=["nothing"]), "ColumnNotFound", "table customers: there is no column nothing"),
    "a column of both": (join("customers", "id", tableKeys=["age"]), "DuplicateColumns", "column customer of customers is one of the data, too; set `prefix`"),
    "no such table": ({"sql": {"query": "select * from custmers"}}, "ExpressionInvalid", "there is no table custmers, only data, customers, visits"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_joined_is_refused(name: str, tmp_path: Path) -> None:
    step, reason, message = REFUSED[name]
    found = made(tmp_path, step)
    assert (found[0], message in found[1]) == (reason, True), found


def test_a_join_without_any_match_is_refused(tmp_path: Path) -> None:
    step = join("customers", "id", tableKeys=["age"], columns=["city"])
    drop = {"filter": {"where": "id < 20"}}
    assert made(tmp_path, drop, step) == (
        "StepFailed",
        "step 2 (join): no row has a match in customers by id: check that both are written alike",
    )


def test_what_a_join_does_to_rows_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, join("customers"), join("visits", tableKeys=["who"]))
    told = capsys.readouterr().out
    assert "step 1 (join): 5 of 40 rows have no match in customers by customer" in told
    assert "step 2 (join): 1 of 4 keys have several rows in visits, up to 2" in told
    assert "step 1 (join): 40 -> 40 rows; + city, age" in told
    assert "step 2 (join): 40 -> 46 rows; + minutes" in told
