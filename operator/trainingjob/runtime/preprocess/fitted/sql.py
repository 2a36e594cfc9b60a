"""Steps that are SQL: run by DuckDB, as preprocess has them, over the rows of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

# What queries call the rows.
_TABLE = "trainingjob_given"


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


class _Rows:
    """Those that a prepared query is run over: at each run DuckDB asks for them anew. It has been
    told their types once, and would read others as if they were of these."""

    def __init__(self, kinds: Kinds) -> None:
        fields = [(name, ARROW[kind]) for name, kind in kinds.items()]
        self._schema = pa.schema([*fields, (HASH, pa.int64())])
        self._none = self._table = self._schema.empty_table()

    @contextmanager
    def given(self, columns: Columns) -> Iterator[None]:
        """Raises pa.ArrowInvalid for values of other types."""
        numbers = pa.array(np.arange(len(next(iter(columns.values()), ()))))
        arrays = [*(columns[name] for name in self._schema.names[:-1]), numbers]
        self._table = pa.Table.from_arrays(arrays, schema=self._schema)
        try:
            yield
        finally:
            self._table = self._none

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Views(DuckdbEngine):
    """Whose views are their text, since the rows are others with each request: a query has them as
    a table of its own."""

    def __enter__(self) -> Self:
        super().__enter__()
        # What goes row by row keeps the order of rows then, and nothing need be sorted.
        self.run("SET preserve_insertion_order = true")
        # So few rows are done before other threads have met.
        self.run("SET threads = 1")
        return self

    def view(self, sql: str, *, wide: bool = False) -> str:
        return f"({sql})"

    def prepared(
        self, view: str, made: Kinds, given: Kinds, others: Kinds
    ) -> Callable[[Columns], Columns]:
        """The columns ``made`` of ``view``, of rows that have ``given`` in ``_TABLE``, and nulls in
        ``others``. It is planned once, which takes five times as long as to run it."""
        ident, type_name = self.dialect.ident, self.dialect.type_name
        rows, table, name = _Rows(given), self._new_name(), self._new_name()
        nulls = [f"CAST(NULL AS {type_name(kind)}) AS {ident(n)}" for n, kind in others.items()]
        selected = ", ".join([*map(ident, given), *nulls, HASH])
        # As they are; of other types, numpy would have whole numbers as doubles.
        wanted = [
            f"CAST({ident(n)} AS {type_name(kind)}) AS {ident(n)}" for n, kind in made.items()
        ]
        with failures():
            self._db.register(table, rows)
            self._db.execute(
                f"PREPARE {name} AS WITH {_TABLE} AS (SELECT {selected} FROM {table}) "
                f"SELECT {', '.join(wanted)} FROM {view}"
            )

        def run(columns: Columns) -> Columns:
            with rows.given(columns), failures():
                found = self._db.execute(f"EXECUTE {name}").fetchnumpy()
            return {
                n: _column(values, kind)
                for (n, kind), values in zip(made.items(), found.values(), strict=True)
            }

        return run


def _column(values: np.ndarray[Any, Any], kind: ColumnType) -> pa.Array:
    """As DuckDB gives it: of numpy's masked arrays where there are nulls."""
    mask = np.ma.getmaskarray(values) if np.ma.is_masked(values) else None
    column = pa.array(
        np.ma.getdata(values), mask=mask, type=pa.string() if kind == "string" else None
    )
    return column if column.type == ARROW[kind] else column.cast(ARROW[kind])


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
        where = Where(engine, label, text, Silent())
        with where.errors():
            made, _ = run(spec, Frame(_TABLE, kinds, (HASH,)), where)
        of = _made_of(spec, kinds, made.columns)
        queries: dict[tuple[str, ...], Callable[[Columns], Columns]] = {}

        def prepared(wanted: Sequence[str]) -> Callable[[Columns], Columns]:
            needed = {name for one in wanted for name in of[one]}
            return engine.prepared(
                made.view,
                {name: made.columns[name] for name in wanted},
                {name: kind for name, kind in kinds.items() if name in needed},
                {name: kind for name, kind in kinds.items() if name not in needed},
            )

        def apply(columns: Columns, wanted: Sequence[str]) -> Columns:
            with where.errors():
                query = queries.get(key := tuple(wanted))
                if query is None:  # of a pipeline it is one
                    query = queries[key] = prepared(wanted)
                return query(columns)

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
