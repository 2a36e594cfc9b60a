"""A DuckDB with its views, and its tables of rows that Python makes."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from ...base import cpus
from ...base.errors import StageFailure
from ...dataset.buffers import array_of
from ..expressions.duckdb_dialect import DUCKDB
from .duckdb_failures import failures
from .figures import BATCH_VALUES
from .frame import Frame
from .rowhash import Longs

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

# Rows hashed at a time: the numbers in work fit the processor's cache.
_BATCH_ROWS = 65_536


class Tables:
    """A database in memory, which spills to disk; its failures are raised as StageFailure."""

    def __init__(self) -> None:
        self._views = 0
        self._tables: set[str] = set()

    def open(self) -> None:
        self._spill = tempfile.mkdtemp(prefix="trainingjob-")
        self._db = duckdb.connect(
            config={
                "temp_directory": self._spill,
                "threads": cpus.available(),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": False,
            }
        )
        self._db.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        self._db.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def view(self, sql: str, *, wide: bool = False) -> str:
        name = self._new_name()
        self.run(f"CREATE TEMP {'TABLE' if wide else 'VIEW'} {name} AS {sql}")
        if wide:
            self._tables.add(name)
        return name

    def run(self, statement: str) -> None:
        """Of a statement that has no result."""
        with failures():
            self._db.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with failures():
            return self._db.execute(sql).fetchall()

    def arrow(self, sql: str) -> pa.Table:
        with failures():
            return self._db.sql(sql).to_arrow_table(_BATCH_ROWS)

    def without(self, *optimizers: str) -> None:
        """Plan without these optimizers, of those that this version of DuckDB has."""
        known = {name for (name,) in self.rows("FROM duckdb_optimizers()")}
        names = ",".join(name for name in optimizers if name in known)
        self.run(f"SET disabled_optimizers = '{names}'")

    def drop(self, table: str) -> None:
        self._tables.discard(table)
        self.run(f"DROP TABLE {table}")

    def _new_name(self) -> str:
        self._views += 1
        return f"frame_{self._views}"

    def _register(self, table: pa.Table | Dataset) -> str:
        name = self._new_name()
        self._db.register(name, table)
        return name

    def batches(self, query: str, width: int) -> Iterator[pa.RecordBatch]:
        """The result of a query, as it comes: a bounded number of values at a time."""
        with failures():
            rows = max(1, min(_BATCH_ROWS, BATCH_VALUES // max(1, width)))
            yield from self._db.sql(query).to_arrow_reader(rows)

    def _with(
        self,
        frame: Frame,
        name: str,
        of: Callable[[pa.RecordBatch], Longs | None],
        without: str = "",
    ) -> Frame:
        """The frame with a hidden column, kept, as Python makes it of the rows, batch by batch;
        those that came before it makes none. ``without`` a hidden column that it is made of."""
        read = [other for other in frame.hidden if other != name]
        names = ", ".join([*map(DUCKDB.ident, frame.columns), *read])
        hidden = (*(other for other in read if other != without), name)
        batches = self.batches(f"SELECT {names} FROM {frame.view}", len(frame.columns))
        first = next(batches, None)
        if first is None:
            none = self.view(f"SELECT {names}, CAST(NULL AS BIGINT) AS {name} FROM {frame.view}")
            return replace(frame, view=none, hidden=hidden)
        kept = [field for field in first.schema.names if field != without]

        def more() -> Iterator[pa.RecordBatch]:
            for batch in itertools.chain((first,), batches):
                values = of(batch)
                if values is None:
                    return
                yield batch.select(kept).append_column(name, array_of(values))

        schema = first.select(kept).schema.append(pa.field(name, pa.int64()))
        return replace(frame, view=self._made(schema, more()), hidden=hidden)

    def _made(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> str:
        """A table of rows that Python makes, which may ask this engine for others meanwhile."""
        told = []

        def given() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except StageFailure as failure:
                told.append(failure)
                raise

        table = self._new_name()
        self._tables.add(table)
        try:
            with failures(), self._db.cursor() as other:
                other.register("rows", pa.RecordBatchReader.from_batches(schema, given()))
                other.execute(f"CREATE TABLE {table} AS FROM rows")
        except StageFailure as failure:
            raise (told or [failure])[0] from None
        return table
