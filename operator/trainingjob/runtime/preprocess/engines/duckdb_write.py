"""The files of a dataset, out of DuckDB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.input import ColumnType

from ...dataset.manifest import SplitName
from ..expressions.duckdb_dialect import DUCKDB
from ..expressions.many import FEW
from .buffers import numpy_of
from .duckdb_tables import Tables
from .frame import HASH, SPLIT, SPLIT_NUMBER, Frame, Layout

# Up to so many values of many columns, a statement that names every column, for each file, takes
# longer than Arrow, which is the slower writer of long columns.
_FEW_VALUES = 2**22
# Of eight bytes at most.
_SHORT: set[ColumnType] = {"boolean", "bigint", "double", "date", "timestamp"}


def write(tables: Tables, frame: Frame, folder: Path) -> dict[SplitName, list[Path]]:
    """As ``Engine.write``."""
    layout = frame.layout
    assert layout is not None
    for split in SPLIT_NUMBER:
        (folder / split).mkdir(exist_ok=True)
    few = layout.rows * len(frame.columns) <= _FEW_VALUES and layout.files == 1
    if few and len(frame.columns) > FEW and _SHORT.issuperset(frame.columns.values()):
        return _write_at_once(tables, frame, layout, folder)
    found = tables.rows(
        f"SELECT DISTINCT {SPLIT}, {layout.file_of_row} AS file FROM {frame.view} ORDER BY ALL"
    )
    # DuckDB knows which columns hold no null and would mark them so in the file's schema, which
    # would then differ from file to file.
    tables.without("type_pushdown", "statistics_propagation")
    files: dict[SplitName, list[Path]] = {}
    for split, number in SPLIT_NUMBER.items():
        indices = [index for owner, index in found if owner == number]
        files[split] = [_path(folder, split, place) for place in range(len(indices))]
        for path, index in zip(files[split], indices, strict=True):
            least, greatest = layout.hashes_of(index)
            tables.run(
                f"COPY (SELECT {_columns(frame)} FROM {frame.view} WHERE {SPLIT} = {number} AND "
                f"{HASH} BETWEEN {least} AND {greatest} ORDER BY {HASH}) "
                f"TO {DUCKDB.text(str(path))} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {layout.row_group})"
            )
    return files


def _write_at_once(
    tables: Tables, frame: Frame, layout: Layout, folder: Path
) -> dict[SplitName, list[Path]]:
    """A file for each split that has rows."""
    rows = tables.arrow(
        f"SELECT {_columns(frame)}, {SPLIT} FROM {frame.view} ORDER BY {SPLIT}, {HASH}"
    )
    owners = numpy_of(rows[SPLIT])
    rows = rows.drop_columns([SPLIT])
    files: dict[SplitName, list[Path]] = {}
    for split, number in SPLIT_NUMBER.items():
        first, end = np.searchsorted(owners, [number, number + 1])
        files[split] = [_path(folder, split, 0)] if first < end else []
        for path in files[split]:
            pq.write_table(
                rows.slice(first, end - first),
                path,
                row_group_size=layout.row_group,
                use_dictionary=False,
            )
    return files


def _path(folder: Path, split: SplitName, place: int) -> Path:
    return folder / split / f"part-{place:05}.parquet"


def _columns(frame: Frame) -> str:
    return ", ".join(_stored(name, kind) for name, kind in frame.columns.items())


def _stored(name: str, kind: ColumnType) -> str:
    """A column as the file has it: timestamps say that they are UTC."""
    quoted = DUCKDB.ident(name)
    return f"CAST({quoted} AS TIMESTAMPTZ) AS {quoted}" if kind == "timestamp" else quoted
