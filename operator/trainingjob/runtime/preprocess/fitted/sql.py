"""Steps that are SQL: run by DuckDB, as preprocess has them, over the rows of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from trainingjob.api.v1alpha1.features import DateParts
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import WithColumn

from ..account import Account
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import HASH, Frame
from ..expressions.syntax import parse
from ..steps.step import Fitted, Where
from .columns import Applied, Columns

Run = Callable[[Any, Frame, Where], tuple[Frame, Fitted]]

_ROWS = "trainingjob_rows"


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
    """Whose views are all views, as their rows are others with each request."""

    def view(self, sql: str, *, wide: bool = False) -> str:
        return super().view(sql)

    def insert(self, table: str, columns: Columns, rows: int) -> None:
        """Make a table have these rows, and nulls in all other columns."""
        own = pa.table({**columns, HASH: pa.array(np.arange(rows))})
        names = ", ".join([*map(self.dialect.ident, columns), HASH])
        self.run(f"DELETE FROM {table}")
        self._db.register(_ROWS, own)
        self.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM {_ROWS}")


class Sql:
    """One engine for the steps of a pipeline, which is opened when the first of them comes."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._engine: Views | None = None
        self._tables = 0

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def applied(
        self,
        run: Run,
        spec: Any,
        kinds: Mapping[str, ColumnType],
        text: str,
        label: str,
    ) -> Applied:
        """The step over columns of these types. Raises StageFailure."""
        if self._engine is None:
            self._engine = Views()
            self._engine.__enter__()
        engine = self._engine
        ident, type_name = engine.dialect.ident, engine.dialect.type_name
        self._tables += 1
        table = f"given_{self._tables}"
        columns = [f"{ident(name)} {type_name(kind)}" for name, kind in kinds.items()]
        engine.run(f"CREATE TABLE {table} ({', '.join([*columns, f'{HASH} BIGINT'])})")
        where = Where(engine, label, text, Silent())
        frame = Frame(table, kinds, (HASH,))
        with where.errors():
            made, _ = run(spec, frame, where)
        of = _made_of(spec, kinds, made.columns)
        prepared: dict[tuple[str, ...], str] = {}

        def apply(columns: Columns, wanted: Sequence[str]) -> Columns:
            names = tuple(wanted)
            if names not in prepared:
                statement = f"statement_{table}_{len(prepared)}"
                listed = ", ".join(map(ident, names))
                engine.run(
                    f"PREPARE {statement} AS SELECT {listed} FROM {made.view} ORDER BY {HASH}"
                )
                prepared[names] = statement
            needed = dict.fromkeys(name for one in names for name in of[one])
            rows = len(next(iter(columns.values()), ()))
            engine.insert(table, {name: columns[name] for name in needed}, rows)
            found = engine.arrow(f"EXECUTE {prepared[names]}")
            return {name: found.column(place).combine_chunks() for place, name in enumerate(names)}

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
