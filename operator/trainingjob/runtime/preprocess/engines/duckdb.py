"""The engine `pandas`: one process, DuckDB underneath, pandas at the user's script.

DuckDB uses every core, spills to disk when memory runs short, and shares columns with numpy and
pandas through Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ...base.errors import StageFailure
from ...base.text import one_line
from ...dataset.manifest import SplitName
from ...dataset.seal import Seal
from ...storage import Place
from ..expressions import javalike
from ..expressions.dialect import Dialect, Value
from ..expressions.duckdb_dialect import DUCKDB
from ..expressions.many import FEW, melt
from ..input import documents
from ..input.files import Source
from ..names import check_names
from ..notes import Notes
from ..parts import Part
from . import duckdb_json, sandbox
from .arrow import convert
from .duckdb_failures import failures
from .duckdb_tables import Tables
from .duckdb_write import write
from .figures import figures_of, in_units
from .frame import (
    FILE,
    GROUP,
    HASH,
    SPLIT,
    Figure,
    Frame,
    Gives,
    JsonForm,
    JsonFound,
    Layout,
    Rows,
    distinct,
)
from .rowhash import Longs, group_places, hash_rows, place

if TYPE_CHECKING:
    import pandas as pd

_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
# DuckDB's types to ours; DECIMAL is handled beside them.
_TYPES: dict[str, ColumnType] = {
    "BOOLEAN": "boolean",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "bigint"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER"), "bigint"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "double"),
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
# Bytes of a line of CSV; DuckDB's own bound of 2 MB is too small for long texts.
_LONGEST_LINE = 16 * 2**20
# Values of columns whose middles are looked for at a time.
_HELD_VALUES = 2**23
_RESULT = "the query's result"
# Values of rows unlike the others that are looked at.
_ODD_VALUES = 20_000
# Columns of doubles by which rows are compared first.
_FEW_DOUBLES = 4
# A text is worth so many values, where a bounded number of those is read at a time.
_TEXT_WIDTH = 512


class DuckdbEngine(Tables):
    """Runs SQL over views in DuckDB."""

    dialect: Dialect = DUCKDB
    runs_spark_sql = False
    session = None

    def __init__(self) -> None:
        super().__init__()
        # Tables whose HASH is that of these columns.
        self._hashed: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        self.open()
        # It lets the reader of CSV cast in place of a try_cast, and fail where that gives null.
        self.without("type_pushdown")
        javalike.register(self._db)
        javalike.add(self._db, "place", place, ["BIGINT"] * 3, "BIGINT")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read_csv(
        self, source: Source, options: CsvOptions, width: int, *, line_breaks: bool = False
    ) -> str:
        columns = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(width))
        quote, delimiter = DUCKDB.text(options.quote), options.delimiter or ","
        # A line that is blank is no row, whatever fields it may seem to have. An empty field in
        # quotes is not null here.
        may_be_blank = width == 1 or delimiter.isspace()
        fields = ", ".join(f"c{index}" for index in range(width))
        rows = f" WHERE coalesce({fields}) IS NOT NULL" if may_be_blank else ""
        return self.view(
            f"SELECT *, FALSE AS malformed FROM read_csv([{_paths(source)}], "
            f"columns = {{{columns}}}, auto_detect = false, header = {options.header}, "
            f"delim = {DUCKDB.text(delimiter)}, quote = {quote}, escape = {quote}, "
            f"allow_quoted_nulls = false, max_line_size = {_LONGEST_LINE}, "
            f"buffer_size = {2 * _LONGEST_LINE}, hive_partitioning = false){rows}"
        )

    def read_text(self, source: Source, *, lines: bool) -> str:
        return self._made(documents.SCHEMA, documents.batches(source, lines=lines))

    def has_open_quotes(self, source: Source, quote: str) -> bool:
        return False  # reading fails there

    def reads(self, type_: pa.DataType) -> bool:
        return True

    def read_parquet(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        view = self.view(
            f"SELECT * FROM read_parquet([{_paths(source)}], union_by_name = true, "
            "hive_partitioning = false)"
        )
        return view, schema

    def read_orc(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        # DuckDB has no reader for it; it takes the columns that it needs from Arrow's.
        from pyarrow import dataset  # loads pandas: half a second, and 50 MiB

        files = dataset.dataset(source.paths, schema=schema, format="orc")
        return self._register(files), schema

    def json_level(self, source: Source, form: JsonForm, depth: int) -> list[JsonFound]:
        return duckdb_json.level(self, duckdb_json.objects(self, _paths(source), form), depth)

    def read_json(self, source: Source, form: JsonForm, schema: pa.Schema) -> str:
        return self.view(duckdb_json.reading(_paths(source), form, schema))

    def query(self, text: str, tables: Mapping[str, str]) -> Frame:
        with failures():
            given = {
                name: self.arrow(f"FROM {view}")
                for name, view in tables.items()
                if name == "data" or name in text.lower()
            }
            made = sandbox.run(text, given, list(tables), self._spill)
        check_names(_RESULT, made.column_names)
        return convert(self, self._register(made), made.schema, _RESULT, "ExpressionInvalid")

    def columns_of(self, view: str) -> list[tuple[str, ColumnType | None]]:
        with failures():
            found = self._db.execute(f"DESCRIBE {view}").fetchall()
        return [
            (row[0], "double" if row[1].startswith("DECIMAL") else _TYPES.get(row[1]))
            for row in found
        ]

    def keep(self, frame: Frame) -> Frame:
        if frame.view in self._tables:
            return frame
        return frame.over(self.view(f"SELECT * FROM {frame.view}", wide=True))

    def computed(self, frame: Frame) -> Frame:
        return self.keep(frame) if len(frame.columns) > FEW else frame

    def frame_for_user(self, frame: Frame) -> pd.DataFrame:
        return self.arrow(f"FROM {frame.view}").to_pandas()

    def frame_of_user(self, frame: Any, notes: Notes | None = None) -> Frame:
        import pandas as pd  # half a second: only for those with a script

        if not isinstance(frame, pd.DataFrame):
            raise StageFailure(
                "ScriptInvalid",
                f"preprocess returned {type(frame).__name__} instead of a pandas.DataFrame",
            )
        for name in frame.columns:
            if not isinstance(name, str):
                raise StageFailure("ScriptInvalid", f"the script named a column {name!r}: not text")
        check_names("the script's frame", list(frame.columns))
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise StageFailure("ScriptInvalid", f"the script's frame: {one_line(error)}") from error
        made = self._register(table)
        return convert(self, made, table.schema, "the script's frame", "ScriptInvalid", notes)

    def table(
        self, columns: Mapping[str, ColumnType], rows: Sequence[Sequence[Value | None]]
    ) -> str:
        arrays = [
            pa.array([row[index] for row in rows], type=_ARROW_TYPES[kind])
            for index, kind in enumerate(columns.values())
        ]
        name = self._new_name()
        self._db.register(name, pa.table(arrays, names=list(columns)))
        return name

    def figures(
        self, frame: Frame, columns: Sequence[str], where: str, which: Sequence[Figure]
    ) -> list[tuple[Any, ...]]:
        def found(names: Sequence[str], unit: float) -> list[tuple[Any, ...]]:
            # To plan a cast of a double to a double takes longer than to read it.
            selected = ", ".join(
                DUCKDB.cast(DUCKDB.ident(name), frame.columns[name], "double") for name in names
            )
            batches = self.batches(f"SELECT {selected} FROM {frame.view} WHERE {where}", len(names))
            return figures_of(batches, len(names), which, unit)

        return in_units(columns, found)

    def function(self, call: Callable[..., pa.Array], takes: ColumnType, gives: Gives) -> str:
        def on_array(values: Any) -> pa.Array:
            return call(values.combine_chunks() if hasattr(values, "combine_chunks") else values)

        name = self._new_name()
        types: dict[Gives, str] = {
            "bigint": "BIGINT",
            "bigints": "BIGINT[]",
            "double": "DOUBLE",
            "doubles": "DOUBLE[]",
            "text": "VARCHAR",
            "texts": "VARCHAR[]",
        }
        self._db.create_function(  # type: ignore[call-overload]
            name,
            on_array,
            [duckdb.type(DUCKDB.type_name(takes))],
            duckdb.type(types[gives]),
            type="arrow",
            null_handling="special",
        )
        return name

    def middle(self, frame: Frame, columns: Sequence[str], where: str) -> list[tuple[Any, Any]]:
        # A negative share counts from the largest value.
        both = "quantile_disc({0}, 0.5), quantile_disc({0}, -0.5)".format
        rows = frame.layout.rows if frame.layout else 1
        width = max(1, _HELD_VALUES // max(1, rows))
        found: list[tuple[Any, Any]] = []
        for start in range(0, len(columns), width):
            names = [DUCKDB.ident(name) for name in columns[start : start + width]]
            source = f"{frame.view} WHERE {where}"
            if len(names) <= FEW:
                (row,) = self.rows(f"SELECT {', '.join(map(both, names))} FROM {source}")
                found += zip(row[0::2], row[1::2], strict=True)
                continue
            melted = melt(DUCKDB, [f"CAST({name} AS DOUBLE)" for name in names], source)
            of = {
                i: middles
                for i, *middles in self.rows(f"SELECT i, {both('v')} FROM ({melted}) GROUP BY i")
            }
            found += [tuple(of.get(i, (None, None))) for i in range(len(names))]  # type: ignore[misc]
        return found

    def hashed(self, frame: Frame, *, computed: bool = False) -> Frame:
        columns = list(frame.columns)
        if not computed and self._hashed.get(frame.view) == columns:
            return frame
        made = self._with(frame, HASH, lambda batch: hash_rows(batch.select(columns), computed))
        if not computed:
            self._hashed[made.view] = columns
        return made

    def hashed_unless(self, frame: Frame, odd: str) -> tuple[Frame | None, list[list[str]]]:
        """As ``hashed``, without the hidden column ``odd`` of lists of texts; no frame as soon as
        that is not null in a row, and the lists of some such rows."""
        columns = list(frame.columns)
        found: list[list[str]] = []

        def hashes(batch: pa.RecordBatch) -> Longs | None:
            texts = batch[odd]
            if texts.null_count < len(texts):
                some = texts.drop_null().slice(0, max(1, _ODD_VALUES // len(columns)))
                found.extend([text or "" for text in row] for row in some.to_pylist())
                return None
            return hash_rows(batch.select(columns))

        made = self._with(frame, HASH, hashes, without=odd)
        if found:
            self.drop(made.view)
            return None, found
        self._hashed[made.view] = columns
        return made, found

    def distinct(self, frame: Frame) -> Frame:
        if self._hashed.get(frame.view) != list(frame.columns) or frame.hidden != (HASH,):
            return distinct(self, frame)
        # Only rows that share their hash may be equal.
        shared = self.view(
            f"SELECT {HASH} FROM {frame.view} GROUP BY 1 HAVING count(*) > 1", wide=True
        )
        if not self.rows(f"SELECT 1 FROM {shared} LIMIT 1"):
            return frame
        same = f"FROM {frame.view} {{}} JOIN {shared} USING ({HASH})"
        names = ", ".join([*map(DUCKDB.ident, frame.columns), HASH])
        return frame.over(
            self.view(
                f"SELECT {names} {same.format('ANTI')} UNION ALL "
                f"SELECT {names} {same.format('SEMI')} GROUP BY ALL"
            )
        )

    def ordered(self, frame: Frame, seed: int, keys: Sequence[str] = ()) -> Frame:
        if keys:
            frame = self._with(
                frame, GROUP, lambda batch: group_places(hash_rows(batch.select(keys)), seed)
            )
        ((rows, different),) = self.rows(
            f"SELECT count(*), count(DISTINCT {HASH}) FROM {frame.view}"
        )
        # Numbering moves every row to where its equals are: only where there are some.
        number = f"row_number() OVER (PARTITION BY {HASH}) - 1" if rows > different else "0"
        hidden = [name for name in frame.hidden if name != HASH]
        names = ", ".join([*map(DUCKDB.ident, frame.columns), *hidden])
        placed = f"java_place({HASH}, {number}, CAST({seed} AS BIGINT)) AS {HASH}"
        # Rows that lie in order let the files be cut out of the table without reading all of it.
        ordered = self.keep(
            replace(
                frame,
                view=f"(SELECT {names}, {placed} FROM {frame.view} ORDER BY {HASH})",
                hidden=(*hidden, HASH),
            )
        )
        return replace(ordered, layout=Layout(rows))

    def by_file(
        self, frame: Frame, each: Rows, between: pa.Schema, whole: Rows, made: pa.Schema
    ) -> str:
        layout = frame.layout
        assert layout is not None
        names = ", ".join([SPLIT, HASH, *map(DUCKDB.ident, frame.columns)])

        def rows() -> Iterator[pa.RecordBatch]:
            for index in range(layout.files):
                least, greatest = layout.hashes_of(index)
                yield from self.batches(
                    f"SELECT CAST({index} AS INTEGER) AS {FILE}, {names} FROM {frame.view} "
                    f"WHERE {HASH} BETWEEN {least} AND {greatest} ORDER BY {SPLIT}, {HASH}",
                    _TEXT_WIDTH,
                )

        return self._made(made, whole(each(rows())))

    def places(self, frame: Frame) -> Longs | None:
        return None  # a query takes no longer

    def divided(self) -> None:
        for table in self._tables & set(self._hashed):
            self.drop(table)
        self._hashed.clear()

    def shared(self, frame: Frame, one: str, other: str) -> int:
        # Equal rows are equal in a few columns: nearly always those tell that there are none.
        doubles = [name for name, kind in frame.columns.items() if kind == "double"][:_FEW_DOUBLES]
        few = len(doubles) == _FEW_DOUBLES < len(frame.columns)
        if few and not self._shared(frame, doubles, one, other):
            return 0
        return self._shared(frame, list(frame.columns), one, other)

    def _shared(self, frame: Frame, columns: Sequence[str], one: str, other: str) -> int:
        content = f"hash({', '.join(map(DUCKDB.ident, columns))})"
        # Once for each row: of thousands of columns the expression takes longer than its values.
        ((found,),) = self.rows(
            f"WITH rows AS MATERIALIZED (SELECT {one} AS one, {content} AS content "
            f"FROM {frame.view} WHERE {one} OR {other}) SELECT count(*) FROM rows "
            "WHERE one AND content IN (SELECT content FROM rows WHERE NOT one)"
        )
        return int(found)

    def write(
        self, frame: Frame, place: Place, total: str = "", seal: Seal | None = None
    ) -> dict[SplitName, list[Part]]:
        return write(self, frame, place, total, seal)


def _paths(source: Source) -> str:
    return ", ".join(DUCKDB.text(path) for path in source.paths)
