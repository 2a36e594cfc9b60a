"""Steps that are SQL: run by DuckDB, as preprocess has them, over the rows of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.features import DateParts
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import WithColumn

from ..account import Account
from ..engines.duckdb import DuckdbEngine
from ..engines.duckdb_failures import failures
from ..engines.frame import HASH, Frame
from ..steps.step import Fitted, Where
from .columns import ARROW, Applied, Columns

Kinds = Mapping[str, ColumnType]
Run = Callable[[Any, Frame, Where], tuple[Frame, Fitted]]

# What queries call the rows; a table of Arrow, where they are many.
_TABLE, _ROWS = "trainingjob_given", "trainingjob_rows"
_FEW = 32


class Silent(Account):
    """Of rows that are served nobody counts what a step loses."""

    def __init__(self) -> None:
        pass

    def watch(self, *_: Any, **__: Any) -> None:
        pass

    def projected(self, *_: Any, **__: Any) -> None:
        pass

    def replaced(self, *_: Any, **__: Any) -> None:
        pass


class Views(DuckdbEngine):
    """Whose views are their text, since the rows are others with each request: a query has them as
    a table of its own, and planning it takes a millisecond less than filling one."""

    def __enter__(self) -> Self:
        super().__enter__()
        # What goes row by row keeps the order of rows then, and nothing need be sorted.
        self.run("SET preserve_insertion_order = true")
        return self

    def view(self, sql: str, *, wide: bool = False) -> str:
        return f"({sql})"

    def of_rows(self, query: str, names: str, columns: Columns, kinds: Kinds) -> list[Any]:
        """What a query gives, columns of Arrow or lists, over ``_TABLE``, which has these columns,
        and nulls in all others, of which ``names`` is SQL."""
        ident, type_name = self.dialect.ident, self.dialect.type_name
        rows = len(next(iter(columns.values()), ()))
        if rows <= _FEW:
            lists = [
                f"unnest(CAST(? AS {type_name(kinds[name])}[])) AS {ident(name)}"
                for name in columns
            ]
            given = ", ".join([*lists, *([names] if names else []), f"unnest(range(?)) AS {HASH}"])
            parameters = [*(column.to_pylist() for column in columns.values()), rows]
            with failures():
                found = self._db.execute(
                    f"WITH {_TABLE} AS (SELECT {given}) {query}", parameters
                ).fetchall()
            return [list(values) for values in zip(*found, strict=True)]
        self._db.register(_ROWS, pa.table({**columns, HASH: pa.array(np.arange(rows))}))
        given = ", ".join([*map(ident, columns), *([names] if names else []), HASH])
        table = self.arrow(f"WITH {_TABLE} AS (SELECT {given} FROM {_ROWS}) {query}")
        return [column.combine_chunks() for column in table.columns]


class Sql:
    """One engine for the steps of a pipeline, which is opened when the first of them comes."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._engine: Views | None = None

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def applied(
        self,
        run: Run,
        spec: Any,
        kinds: Kinds,
        text: str,
        label: str,
    ) -> Applied:
        """The step over columns of these types. Raises StageFailure."""
        if self._engine is None:
            self._engine = Views()
            self._engine.__enter__()
        engine = self._engine
        ident, type_name = engine.dialect.ident, engine.dialect.type_name
        where = Where(engine, label, text, Silent())
        with where.errors():
            made, _ = run(spec, Frame(_TABLE, kinds, (HASH,)), where)
        of = _made_of(spec, kinds, made.columns)

        def apply(columns: Columns, wanted: Sequence[str]) -> Columns:
            needed = dict.fromkeys(name for one in wanted for name in of[one])
            given = {name: columns[name] for name in needed}
            if not given:  # such as a constant: of as many rows as there are
                given = dict([*columns.items()][:1])
            others = ", ".join(
                f"CAST(NULL AS {type_name(kind)}) AS {ident(name)}"
                for name, kind in kinds.items()
                if name not in given
            )
            query = f"SELECT {', '.join(map(ident, wanted))} FROM {made.view}"
            with where.errors():
                found = engine.of_rows(query, others, given, kinds)
            return {
                name: pa.array(values, type=ARROW[made.columns[name]])
                if isinstance(values, list)
                else values
                for name, values in zip(wanted, found, strict=True)
            }

        return Applied(
            {name: made.columns[name] for name in of},
            of,
            frozenset(kinds) - frozenset(made.columns),
            apply,
        )


def _made_of(
    spec: Any, kinds: Mapping[str, ColumnType], made: Mapping[str, ColumnType]
) -> dict[str, Sequence[str]]:
    """What a step makes, and of what."""
    if isinstance(spec, WithColumn):
        from sqlglot import exp  # a quarter of a second: only for those with an expression

        from ..expressions.syntax import parse

        lower = {name.lower(): name for name in kinds}
        names = []
        for node in parse(spec.expr).find_all(exp.Column):
            dotted = ".".join(part.name for part in node.parts)
            names.append(lower.get(dotted.lower()) or lower[node.name.lower()])
        return {spec.name: tuple(dict.fromkeys(names))}
    if isinstance(spec, DateParts):
        return {
            f"{name}_{part}": (name,) for name in spec.columns for part in dict.fromkeys(spec.parts)
        }
    new = [name for name in made if name not in kinds]
    if new:  # hashEncode: beside each other, in place of their column
        owners = sorted(spec.columns, key=len, reverse=True)
        return {
            name: (next(owner for owner in owners if name.startswith(f"{owner}_")),) for name in new
        }
    return {name: (name,) for name in spec.columns}
