"""The files of a dataset, out of DuckDB."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType

from ...dataset.manifest import SplitName
from ...dataset.seal import Seal
from ...storage import Place
from ..expressions.duckdb_dialect import DUCKDB
from ..expressions.many import FEW
from ..parts import Part, files, finish
from .duckdb_tables import Tables
from .frame import HASH, SPLIT, SPLIT_NUMBER, Frame, Layout

# Up to so many values of many columns, a statement that names every column, for each file, takes
# longer than Arrow, which is the slower writer of long columns.
_FEW_VALUES = 2**22
# Of eight bytes at most, as files have them.
_SHORT: dict[ColumnType, pa.DataType] = {
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_STORED = _SHORT | {"string": pa.string()}
# Files of a dataset that are on their way to a slow storage, while the next one is made.
_PUT_AT_ONCE = 2
_SPLITS = {number: split for split, number in SPLIT_NUMBER.items()}

Written = dict[SplitName, list[Part]]


def write(
    tables: Tables, frame: Frame, place: Place, total: str, seal: Seal | None = None
) -> Written:
    """As ``Engine.write``."""
    layout = frame.layout
    assert layout is not None
    few = FEW < len(frame.columns) <= _FEW_VALUES // max(1, layout.rows)
    if few and {*frame.columns.values()} <= _SHORT.keys():
        return _by_arrow(tables, frame, layout, place, total, seal)
    found = tables.rows(
        f"SELECT {SPLIT}, {layout.file_of_row} AS file, count(*), "
        f"{f'sum({total})' if total else '0'} FROM {frame.view} GROUP BY ALL ORDER BY ALL"
    )
    # DuckDB knows which columns hold no null and would mark them so in the file's schema, which
    # would then differ from file to file.
    tables.without("type_pushdown", "statistics_propagation")
    written: Written = {split: [] for split in SPLIT_NUMBER}
    # While one is on its way the next one is written.
    with ExitStack() as stack, ThreadPoolExecutor(_PUT_AT_ONCE) as pool:
        coming: deque[tuple[SplitName, Future[Part]]] = deque()
        for owner, index, rows, sum_ in found:
            if seal is not None and _SPLITS[owner] == "test":
                continue
            aside = stack.enter_context(place.aside())
            least, greatest = layout.hashes_of(index)
            tables.run(
                f"COPY (SELECT {_columns(frame)} FROM {frame.view} WHERE {SPLIT} = {owner} AND "
                f"{HASH} BETWEEN {least} AND {greatest} ORDER BY {HASH}) "
                f"TO {DUCKDB.text(str(aside))} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {layout.row_group})"
            )
            split = _SPLITS[owner]
            put = pool.submit(finish, place, aside, split, index, rows, int(sum_))
            coming.append((split, put))
            if len(coming) > _PUT_AT_ONCE:
                first, one = coming.popleft()
                written[first].append(one.result())
        for split, put in coming:
            written[split].append(put.result())
    if seal is not None:
        where = f"WHERE {SPLIT} = {SPLIT_NUMBER['test']}"
        written |= {"test": _by_arrow(tables, frame, layout, place, total, seal, where)["test"]}
    return written


def _by_arrow(
    tables: Tables,
    frame: Frame,
    layout: Layout,
    place: Place,
    total: str,
    seal: Seal | None,
    where: str = "",
) -> Written:
    """By one statement, as Spark's tasks do."""
    rows = tables.batches(
        f"SELECT CAST({layout.file_of_row} AS INTEGER), {SPLIT}, {_columns(frame)} "
        f"FROM {frame.view} {where} ORDER BY {SPLIT}, {HASH}",
        len(frame.columns),
    )
    schema = pa.schema([(name, _STORED[kind]) for name, kind in frame.columns.items()])
    written: Written = {split: [] for split in SPLIT_NUMBER}
    for split, part in files(rows, place, _SPLITS, schema, layout.row_group, total, seal):
        written[split].append(part)
    return written


def _columns(frame: Frame) -> str:
    return ", ".join(_stored(name, kind) for name, kind in frame.columns.items())


def _stored(name: str, kind: ColumnType) -> str:
    """A column as the file has it: timestamps say that they are UTC."""
    quoted = DUCKDB.ident(name)
    return f"CAST({quoted} AS TIMESTAMPTZ) AS {quoted}" if kind == "timestamp" else quoted
