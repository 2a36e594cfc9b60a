"""The files of a dataset, each written by whoever has its rows: the stage, or a task of Spark's.

A file gets its name once it is whole: its number in the split, the stamp of who writes the dataset,
and some of its digest. So a task that runs twice, or is cut short, leaves nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.reasons import reason_of

from ..base.digest import sha256
from ..base.errors import StageFailure, from_os_error
from ..dataset.columns import numbers
from ..dataset.manifest import ROWS, DataFile, SplitName, file_name
from ..dataset.seal import Seal
from ..storage import Place

# A row group of wide rows ends before it has all of them.
_GROUP_BYTES = 64 * 2**20
# Of as many values as fit a dictionary pays; Arrow's own limit is a row group of numbers, a quarter
# larger than without.
_DICTIONARY_BYTES = 64 * 2**10
# What a task tells of each file.
WRITTEN = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("name", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("total", pa.int64()),
    ]
)
# How a failure of a task reaches the driver, through Spark's messages.
_MARK = "trainingjob:"


class Part(NamedTuple):
    """A file of a split, and the sum of one of its columns, where somebody asked for that."""

    file: DataFile
    total: int


def finish(
    place: Place, aside: Path, split: SplitName, number: int, rows: int, total: int = 0
) -> Part:
    """Have a file that was written aside among those of its split."""
    size, digest = aside.stat().st_size, sha256(aside)
    name = file_name(number, place.stamp, digest)
    place.put(aside, f"{split}/{name}")
    return Part(DataFile(name=name, rows=rows, bytes=size, sha256=digest), total)


def files(
    batches: Iterator[pa.RecordBatch],
    place: Place,
    splits: Mapping[int, SplitName],
    schema: pa.Schema,
    row_group: int,
    total: str,
    seal: Seal | None = None,
) -> Iterator[tuple[SplitName, Part]]:
    """Write batches of (the file's number, the split's number, the columns of ``schema`` …), in the
    order of those two, and tell each file. Those of the test split are encrypted by ``seal``."""
    with ExitStack() as stack:
        file = None
        for batch in batches:
            places, owners = (numbers(batch.column(index)) for index in (0, 1))
            changes = np.flatnonzero((np.diff(places) != 0) | (np.diff(owners) != 0)) + 1
            for start, stop in zip([0, *changes], [*changes, len(batch)], strict=True):
                if start == stop:
                    continue
                key = int(places[start]), splits[int(owners[start])]
                if file is None or file.key != key:
                    if file is not None:
                        yield file.finish()
                        stack.close()
                    by = seal if key[1] == "test" else None
                    file = _File(stack, place, *key, schema, row_group, total, by)
                file.add([one.slice(start, stop - start) for one in batch.columns[2:]])
        if file is not None:
            yield file.finish()


def write(
    batches: Iterator[pa.RecordBatch], place: Place, **given: Any
) -> Iterator[pa.RecordBatch]:
    """``files``, told as WRITTEN. Sent to Spark's Python workers.

    Raises RuntimeError, which ``failure`` reads."""
    try:
        for split, part in files(batches, place, **given):
            told = {"split": split, **part.file.to_dict(), "total": part.total}
            yield pa.RecordBatch.from_pylist([told], schema=WRITTEN)
    except OSError as error:
        raise _told(from_os_error(error, "write the dataset")) from error
    except StageFailure as error:
        raise _told(error) from error


def telling(
    each: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """What ``each`` makes of them. Raises RuntimeError of its failures, which ``failure`` reads."""
    try:
        yield from each(batches)
    except StageFailure as error:
        raise _told(error) from error


def failure(text: str) -> StageFailure | None:
    """What failed in ``write`` or ``telling``, from what Spark says; None for everything else."""
    _, mark, rest = text.partition(_MARK)
    if not mark:
        return None
    name, _, message = rest.partition("\n")[0].partition(":")
    reason = reason_of(name)
    return StageFailure(reason, message) if reason is not None else None


def _told(failure: StageFailure) -> RuntimeError:
    return RuntimeError(f"{_MARK}{failure.reason}:{failure.message}")


class _File:
    """One that is being written; ``stack`` closes it."""

    def __init__(
        self,
        stack: ExitStack,
        place: Place,
        number: int,
        split: SplitName,
        schema: pa.Schema,
        row_group: int,
        total: str,
        seal: Seal | None,
    ) -> None:
        self.key = number, split
        self._place, self._schema, self._row_group = place, schema, row_group
        self._aside = stack.enter_context(place.aside())
        self._sink = stack.enter_context(pa.OSFile(str(self._aside), "wb"))
        name = file_name(number, place.stamp, "").removesuffix(ROWS)
        # Without Arrow's own schema: as the other engine's files are.
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            store_schema=False,
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            encryption_properties=seal and seal.encryption(name),
        )
        self._held: list[pa.RecordBatch] = []
        self._size = self._rows = self._total = 0
        self._summed = schema.get_field_index(total) if total else -1

    def add(self, columns: list[pa.Array]) -> None:
        """Rows in order; a row group is in memory."""
        batch = pa.RecordBatch.from_arrays(
            [one.cast(field.type) for one, field in zip(columns, self._schema, strict=True)],
            schema=self._schema,
        )
        if self._summed >= 0:
            self._total += pc.sum(batch.column(self._summed)).as_py() or 0
        self._held.append(batch)
        self._size += batch.nbytes
        self._rows += len(batch)
        self._flush(self._row_group)

    def finish(self) -> tuple[SplitName, Part]:
        """Have it where it belongs."""
        self._flush(1)
        self._writer.close()
        self._sink.close()
        number, split = self.key
        return split, finish(self._place, self._aside, split, number, self._rows, self._total)

    def _flush(self, least: int) -> None:
        """Write row groups while as many rows are held."""
        while (held := sum(map(len, self._held))) >= least or self._size > _GROUP_BYTES:
            if not held:
                return
            table = pa.Table.from_batches(self._held)
            group, rest = table.slice(0, self._row_group), table.slice(self._row_group)
            self._writer.write_table(group, row_group_size=self._row_group)
            self._held = rest.to_batches()
            self._size = rest.nbytes
