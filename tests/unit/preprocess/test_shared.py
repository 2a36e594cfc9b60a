"""How many rows of one part are in another one, which a few columns tell nearly always."""

from __future__ import annotations

import pytest

from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Frame

# Of six doubles: equal in all; equal in the first four alone, or in none; equal with nulls.
ROWS = {
    "the same": ((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6), 1),
    "the same in the first columns": ((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), 0),
    "another one": ((1, 2, 3, 4, 5, 6), (9, 2, 3, 4, 5, 6), 0),
    "the same with nulls": ((None, 2, 3, None, 5, 6), (None, 2, 3, None, 5, 6), 1),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_two_parts_that_are_equal(name: str) -> None:
    one, other, count = ROWS[name]
    columns = [f"f{place}" for place in range(len(one))]
    with DuckdbEngine() as engine:
        view = engine.table(
            {"part": "bigint", **dict.fromkeys(columns, "double")}, [(0, *one), (1, *other)]
        )
        frame = Frame(view, dict.fromkeys(columns, "double"))
        assert engine.shared(frame, "part = 0", "part = 1") == count
