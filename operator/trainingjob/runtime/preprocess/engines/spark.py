"""The engine `spark`: data of any size, on the executors or on the cores of one machine.

Rows never come to the driver; only statistics of bounded size do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import to_arrow_schema

from trainingjob.api.v1alpha1.input import TEXT, ColumnType, CsvOptions
from trainingjob.api.v1alpha1.reasons import ReasonName

from ...base.errors import StageFailure
from ...dataset.buffers import array_of, numpy_of
from ...dataset.manifest import DataFile, SplitName
from ...dataset.seal import Seal
from ...storage import Place, from_spark, spark_uri
from .. import apply, parts
from ..expressions.dialect import Dialect, Value
from ..expressions.spark_dialect import SPARK
from ..input.files import Source, check_utf8
from ..names import check_names
from ..notes import Notes
from ..parts import Part
from ..tokens import alike, chat, pack
from . import connectors, spark_figures, spark_json, spark_query, spark_types
from .arrow import convert
from .frame import (
    FILE,
    GROUP,
    HASH,
    SPLIT,
    SPLIT_NUMBER,
    Figure,
    Frame,
    Gives,
    JsonForm,
    JsonFound,
    Layout,
    Longs,
    Rows,
    distinct,
)
from .java import ensure_java
from .rowhash import place, spark_group, spark_hash, spark_place
from .spark_session import fit, launch, own_session, spark_failures, starting

_TYPES: dict[str, ColumnType] = {
    "boolean": "boolean",
    **dict.fromkeys(("byte", "short", "integer", "long"), "bigint"),
    **dict.fromkeys(("float", "double", "decimal"), "double"),
    **dict.fromkeys(("string", "char", "varchar", "void"), "string"),
    "date": "date",
    **dict.fromkeys(("timestamp", "timestamp_ntz"), "timestamp"),
}
# Up to so many numbers, 8 bytes each, the driver compares or orders: a shuffle takes longer.
_COLLECTED = 4_000_000
_MALFORMED = "trainingjob_malformed"


class SparkEngine:
    """Runs SQL over temporary views of a Spark session."""

    dialect: Dialect = SPARK
    runs_spark_sql = True

    def __init__(self, conf: Mapping[str, str]) -> None:
        self._conf = conf
        self._session: SparkSession | None = None
        self._views = 0
        self._kept: list[DataFrame] = []
        # By view.
        self._places: dict[str, Longs] = {}

    def __enter__(self) -> Self:
        ensure_java()
        self._owns_spark = SparkSession.getActiveSession() is None
        self._context = launch(self._conf)
        return self

    @property
    def session(self) -> SparkSession:
        if self._session is None:
            with spark_failures(), starting():
                self._context.result()
                self._session = own_session(self._conf)
        return self._session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._owns_spark:
            for kept in self._kept:
                kept.unpersist()
        elif self._session is not None:
            self._session.stop()
        elif self._context.exception() is None:
            self._context.result().stop()

    def view(self, sql: str, *, wide: bool = False) -> str:
        with spark_failures():
            return self._named(self.session.sql(sql))

    def read_csv(
        self, source: Source, options: CsvOptions, width: int, *, line_breaks: bool = False
    ) -> str:
        fields = [T.StructField(f"c{index}", T.StringType()) for index in range(width)]
        fields.append(T.StructField(_MALFORMED, T.StringType()))
        with spark_failures():
            frame = self.session.read.csv(
                self._paths(source),
                schema=T.StructType(fields),
                header=options.header,
                sep=options.delimiter or ",",
                quote=options.quote,
                escape=options.quote,
                multiLine=line_breaks,
                mode="PERMISSIVE",
                columnNameOfCorruptRecord=_MALFORMED,
                maxCharsPerColumn=-1,
            )
        return self._named(
            frame.selectExpr(
                *(f"c{index}" for index in range(width)), f"{_MALFORMED} IS NOT NULL AS malformed"
            )
        )

    def reads(self, type_: pa.DataType) -> bool:
        return spark_types.readable(type_)

    def read_parquet(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        less = spark_types.schema_without(schema)
        with spark_failures():
            reader = self.session.read if less is None else self.session.read.schema(less)
            return self._named(reader.parquet(*self._paths(source))), schema

    def read_orc(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        with spark_failures():
            # As Arrow takes files that do not say which calendar their days before 1582 are of.
            reader = self.session.read.option("orc.proleptic.gregorian.default", "true")
            view = self._named(reader.orc(self._paths(source)))
        return view, spark_types.in_microseconds(schema)

    def read_text(self, source: Source, *, lines: bool) -> str:
        end = "endswith(value, '\\r')" if lines else "FALSE"
        with spark_failures():
            rows = self.session.read.text(
                self._paths(source), wholetext=not lines, lineSep="\n" if lines else None
            )
            view = self._named(
                rows.selectExpr(
                    f"CASE WHEN {end} THEN left(value, length(value) - 1) ELSE value END AS {TEXT}",
                    "CASE WHEN NOT is_valid_utf8(value) THEN _metadata.file_path END AS wrong",
                )
            )
        ((file,),) = self.rows(f"SELECT min(wrong) FROM {view}")
        if file is not None:
            check_utf8(Path(from_spark(file)))
            raise StageFailure("InputNotUtf8", f"{from_spark(file)} is not UTF-8")
        return self.view(f"SELECT {TEXT} FROM {view}")

    def has_open_quotes(self, source: Source, quote: str) -> bool:
        mark = SPARK.text(quote)
        with spark_failures():
            lines = self._named(self.session.read.text(self._paths(source)))
        quotes = f"length(value) - length(replace(value, {mark}))"
        ((found,),) = self.rows(f"SELECT coalesce(max({quotes} & 1), 0) FROM {lines}")
        return bool(found)

    def json_level(self, source: Source, form: JsonForm, depth: int) -> list[JsonFound]:
        with spark_failures():
            lines = self._named(
                self.session.read.text(self._paths(source)).selectExpr(
                    "value", "_metadata.file_path AS file"
                )
            )
        return spark_json.level(self, lines, depth)

    def read_json(self, source: Source, form: JsonForm, schema: pa.Schema) -> str:
        with spark_failures():
            return self._named(
                self.session.read.json(
                    self._paths(source),
                    schema=_spark_schema(schema),
                    multiLine=form == "array",
                    allowSingleQuotes=False,
                    allowNonNumericNumbers=False,
                )
            )

    def query(self, text: str, tables: Mapping[str, str]) -> Frame:
        given = {name: self.session.table(view) for name, view in tables.items()}
        for name, table in given.items():
            table.createOrReplaceTempView(name)
        with spark_failures(), spark_query.settings(self.session):
            made = spark_query.run(self.session, text, given)
            check_names("the query's result", made.columns)
            frame = self.keep(self._held(made, "the query's result", "ExpressionInvalid"))
            self.rows(f"SELECT count(*) FROM {frame.view}")
        return frame

    def columns_of(self, view: str) -> list[tuple[str, ColumnType | None]]:
        schema = self.session.table(view).schema
        return [(f.name, _TYPES.get(re.split(r"\W", f.dataType.typeName())[0])) for f in schema]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with spark_failures():
            frame = self.session.sql(sql)
            # PySpark would turn timestamps into the time zone of this process.
            moments = [
                index
                for index, field in enumerate(frame.schema)
                if isinstance(field.dataType, T.TimestampType)
            ]
            if moments:
                names = [f"c{index}" for index in range(len(frame.columns))]
                frame = frame.toDF(*names).selectExpr(
                    *(
                        f"CAST({name} AS STRING)" if index in moments else name
                        for index, name in enumerate(names)
                    )
                )
            rows = [list(row) for row in frame.collect()]
        for row, index in itertools.product(rows, moments):
            if row[index] is not None:
                row[index] = datetime.fromisoformat(row[index])
        return [tuple(row) for row in rows]

    def arrow(self, sql: str) -> pa.Table:
        with spark_failures():
            return self.session.sql(sql).toArrow()

    def keep(self, frame: Frame) -> Frame:
        if frame.kept:
            return frame
        kept = self.session.table(frame.view).persist()
        self._kept.append(kept)
        return replace(frame, kept=True)

    def computed(self, frame: Frame) -> Frame:
        return frame

    def frame_for_user(self, frame: Frame) -> DataFrame:
        return self.session.table(frame.view)

    def frame_of_user(self, frame: Any, notes: Notes | None = None) -> Frame:
        if not isinstance(frame, DataFrame):
            raise StageFailure(
                "ScriptInvalid",
                f"preprocess returned {type(frame).__name__} instead of a Spark DataFrame",
            )
        check_names("the script's frame", frame.columns)
        return self._held(frame, "the script's frame", "ScriptInvalid", notes)

    def _held(
        self, frame: DataFrame, what: str, reason: ReasonName, notes: Notes | None = None
    ) -> Frame:
        """A frame of Spark's as a dataset holds it; raises StageFailure of ``reason``."""
        with spark_failures():
            view = self._named(frame)
        for name, kind in self.columns_of(view):
            if kind is None:
                type_ = frame.schema[name].dataType.simpleString()
                raise StageFailure(
                    reason, f"{what}: column {name} is of type {type_}, which a dataset cannot hold"
                )
        schema = to_arrow_schema(frame.schema, timezone="UTC")
        return convert(self, view, schema, what, reason, notes)

    def table(
        self, columns: Mapping[str, ColumnType], rows: Sequence[Sequence[Value | None]]
    ) -> str:
        schema = T.StructType([T.StructField(n, _spark_type(kind)) for n, kind in columns.items()])
        arrow = {"timestamp": pa.timestamp("us", tz="UTC")}
        arrays = [
            pa.array([row[index] for row in rows], type=arrow.get(kind))
            for index, kind in enumerate(columns.values())
        ]
        table = pa.table(arrays, names=list(columns))
        with spark_failures():
            return self._named(self.session.createDataFrame(table, schema))

    def figures(
        self, frame: Frame, columns: Sequence[str], where: str, which: Sequence[Figure]
    ) -> list[tuple[Any, ...]]:
        return spark_figures.figures(self, frame, columns, where, which)

    def middle(self, frame: Frame, columns: Sequence[str], where: str) -> list[tuple[Any, Any]]:
        small = self._is_small(frame, len(columns))
        return spark_figures.middle(self, frame, columns, where, small=small)

    def function(self, call: Callable[..., pa.Array], takes: ColumnType, gives: Gives) -> str:
        types: dict[Gives, T.DataType] = {
            "bigint": T.LongType(),
            "bigints": T.ArrayType(T.LongType()),
            "double": T.DoubleType(),
            "doubles": T.ArrayType(T.DoubleType()),
            "text": T.StringType(),
            "texts": T.ArrayType(T.StringType()),
        }

        def on_array(values: pa.Array) -> pa.Array:
            return call(values)

        # Python workers of executors have no module of ours at hand.
        for module in (apply, chat, pack, alike):
            cloudpickle.register_pickle_by_value(module)
        self._views += 1
        name = f"function_{self._views}"
        with spark_failures():
            # Spark sees by the hints that whole arrays are meant.
            function = arrow_udf(on_array, types[gives])  # type: ignore[call-overload]
            self.session.udf.register(name, function)
        return name

    def hashed(self, frame: Frame, *, computed: bool = False) -> Frame:
        doubles = [name for name, kind in frame.columns.items() if computed and kind == "double"]
        return self._with_hash(frame, spark_hash(frame.columns, doubles))

    def distinct(self, frame: Frame) -> Frame:
        return self.keep(replace(distinct(self, frame), kept=False))

    def ordered(self, frame: Frame, seed: int, keys: Sequence[str] = ()) -> Frame:
        if keys:
            frame = self._with_hash(frame, spark_group(keys, seed), GROUP)
        frame = self.keep(frame)
        rows, hashes = self._hashes(frame)
        if hashes is None:
            ((found,),) = self.rows(f"SELECT count(DISTINCT {HASH}) FROM {frame.view}")
            copies = rows > found
        else:
            copies = bool((hashes[1:] == hashes[:-1]).any())
        # Numbering moves every row to where its equals are: only where there are some.
        number = f"row_number() OVER (PARTITION BY {HASH} ORDER BY {HASH}) - 1" if copies else "0"
        ordered = self._with_hash(frame, spark_place(number, seed))
        ordered = replace(ordered, layout=Layout(rows), kept=not copies)
        if hashes is not None and not copies:
            columns = (hashes, np.zeros_like(hashes), np.full_like(hashes, seed))
            self._places[ordered.view] = np.sort(numpy_of(place(*map(array_of, columns))))
        return self.keep(ordered)

    def _hashes(self, frame: Frame) -> tuple[int, Longs | None]:
        """The number of rows, and their hashes, rising, where the driver may have them."""
        if frame.most is None or frame.most > _COLLECTED:
            ((rows,),) = self.rows(f"SELECT count(*) FROM {frame.view}")
            if rows > _COLLECTED:
                return rows, None
        hashes = np.sort(numpy_of(self.arrow(f"SELECT {HASH} FROM {frame.view}")[HASH]))
        return len(hashes), hashes

    def places(self, frame: Frame) -> Longs | None:
        return self._places.get(frame.view)

    def by_file(
        self, frame: Frame, each: Rows, between: pa.Schema, whole: Rows, made: pa.Schema
    ) -> str:
        layout = frame.layout
        assert layout is not None
        columns = [SPARK.ident(name) for name in frame.columns]
        # Tasks are one a core.
        alone = partial(parts.telling, partial(each, threads=1))  # type: ignore[call-arg]
        with spark_failures():
            rows = self.session.table(frame.view).selectExpr(
                f"CAST({layout.file_of_row} AS INT) AS {FILE}", SPLIT, HASH, *columns
            )
            rows = rows.mapInArrow(alone, _spark_schema(between))
            rows = rows.repartitionById(layout.files, FILE)
            rows = rows.sortWithinPartitions(FILE, SPLIT, HASH)
            return self._named(rows.mapInArrow(whole, _spark_schema(made)).drop(FILE))

    def divided(self) -> None:
        pass  # what is kept is what rows are made of

    def shared(self, frame: Frame, one: str, other: str) -> int:
        content = spark_hash(frame.columns)
        if self._is_small(frame):
            table = self.arrow(
                f"SELECT {one} AS one, {content} AS c FROM {frame.view} WHERE {one} OR {other}"
            )
            mask = table["one"]
            left, right = table["c"].filter(mask), table["c"].filter(pc.invert(mask))
            return int(pc.is_in(left, value_set=right).combine_chunks().true_count)
        ((found,),) = self.rows(
            f"SELECT count(*) FROM {frame.view} WHERE {one} AND {content} IN "
            f"(SELECT {content} FROM {frame.view} WHERE {other})"
        )
        return int(found)

    def _is_small(self, frame: Frame, width: int = 1) -> bool:
        """Whether the driver may have so many numbers of every row."""
        return frame.kept and frame.layout is not None and frame.layout.rows * width <= _COLLECTED

    def _with_hash(self, frame: Frame, value: str, into: str = HASH) -> Frame:
        hidden = (*(name for name in frame.hidden if name != into), into)
        names = ", ".join([*(SPARK.ident(name) for name in frame.columns), *hidden[:-1]])
        view = self.view(f"SELECT {names}, {value} AS {into} FROM {frame.view}")
        return replace(frame, view=view, hidden=hidden)

    def write(
        self, frame: Frame, place: Place, total: str = "", seal: Seal | None = None
    ) -> dict[SplitName, list[Part]]:
        layout = frame.layout
        assert layout is not None
        columns = [SPARK.ident(name) for name in frame.columns]
        with spark_failures():
            rows = self.session.table(frame.view).selectExpr(
                f"CAST({layout.file_of_row} AS INT) AS {FILE}", SPLIT, HASH, *columns
            )
            rows = rows.repartitionById(layout.files, FILE)
            rows = rows.sortWithinPartitions(FILE, SPLIT, HASH).drop(HASH)
            write = partial(
                parts.write,
                place=place,
                splits={number: split for split, number in SPLIT_NUMBER.items()},
                schema=_stored(to_arrow_schema(rows.schema, timezone="UTC")),
                row_group=layout.row_group,
                total=total,
                seal=seal,
            )
            # By place: mapInArrow does not find columns with dots in their names.
            rows = rows.toDF(*(f"c{number}" for number in range(len(rows.columns))))
            found = rows.mapInArrow(write, _spark_schema(parts.WRITTEN)).toArrow().to_pylist()
        written: dict[SplitName, list[Part]] = {split: [] for split in SPLIT_NUMBER}
        for one in sorted(found, key=lambda one: str(one["name"])):
            split, sum_ = one.pop("split"), one.pop("total")
            written[split].append(Part(DataFile(**one), sum_))
        return written

    def _paths(self, source: Source) -> list[str]:
        """The files as Spark takes them, which is as globs."""
        fit(self.session, self._conf, source.size)
        but = connectors.unread(self._conf)
        uris = (spark_uri(path, but) for path in source.paths)
        return [re.sub(r"([\\{}\[\]*?])", r"\\\1", uri) for uri in uris]

    def _named(self, frame: DataFrame) -> str:
        self._views += 1
        name = f"frame_{self._views}"
        frame.createOrReplaceTempView(name)
        return name


def _stored(schema: pa.Schema) -> pa.Schema:
    """Of files; any column may have nulls, whatever Spark knows of the expression."""
    return pa.schema([field.with_nullable(True) for field in list(schema)[2:]])


def _spark_schema(schema: pa.Schema) -> T.StructType:
    return spark_types.spark_type(pa.struct(list(schema)))  # type: ignore[return-value]


def _spark_type(kind: ColumnType) -> T.DataType:
    types: dict[ColumnType, T.DataType] = {
        "boolean": T.BooleanType(),
        "bigint": T.LongType(),
        "double": T.DoubleType(),
        "string": T.StringType(),
        "date": T.DateType(),
        "timestamp": T.TimestampType(),
    }
    return types[kind]
