"""Statistics of the training split."""

from __future__ import annotations

from collections.abc import Sequence

from .engines.frame import Frame
from .expressions.dialect import Value
from .expressions.many import melt
from .steps.step import Where


def modes(where: Where, frame: Frame, columns: Sequence[str]) -> list[Value | None]:
    """The most frequent value of each column in the training split, the least of equals; None
    for a column without values. One query for the columns of each type."""
    results: dict[str, Value] = {}
    for kind in dict.fromkeys(frame.columns[name] for name in columns):
        same = [name for name in columns if frame.columns[name] == kind]
        melted = _melted(where, frame, same)
        rows = where.engine.rows(
            "SELECT i, v FROM (SELECT i, v, row_number() OVER (PARTITION BY i ORDER BY n DESC, v) "
            f"AS place FROM (SELECT i, v, count(*) AS n FROM ({melted}) AS m GROUP BY i, v) AS c) "
            "AS t WHERE place = 1"
        )
        results.update({same[index]: value for index, value in rows})
    return [results.get(name) for name in columns]


def categories(
    where: Where, frame: Frame, columns: Sequence[str], limit: int
) -> dict[str, list[Value]]:
    """The distinct non-null values of each column in the training split, sorted.

    Raises StageFailure(StepFailed) for more than ``limit`` in a column."""
    found: dict[str, list[Value]] = {name: [] for name in columns}
    for kind in dict.fromkeys(frame.columns[name] for name in columns):
        same = [name for name in columns if frame.columns[name] == kind]
        melted = _melted(where, frame, same)
        rows = where.engine.rows(
            "SELECT i, v FROM (SELECT i, v, row_number() OVER (PARTITION BY i ORDER BY v) AS place "
            f"FROM (SELECT DISTINCT i, v FROM ({melted}) AS m) AS c) AS t "
            f"WHERE place <= {limit + 1}"
        )
        for index, value in rows:
            found[same[index]].append(value)
    for name, values in found.items():
        if len(values) > limit:
            raise where.failure(
                f"column {name} has more than {limit} categories: `groupRare: {{columns: [{name}], "
                "keep: 50}` before it keeps the frequent ones, hashEncode and targetEncode take "
                "more; drop it if it names the rows"
            )
        values.sort()  # type: ignore[type-var]
    return found


def _melted(where: Where, frame: Frame, columns: Sequence[str]) -> str:
    """A query for (i, v): the values of the i-th of columns of one type in the training split."""
    source = f"{frame.view} WHERE {where.train}"
    values = [where.dialect.ident(name) for name in columns]
    return f"SELECT i, v FROM ({melt(where.dialect, values, source)}) AS m WHERE v IS NOT NULL"
