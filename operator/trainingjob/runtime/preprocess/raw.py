"""Some rows as they were before the steps, and as the dataset has them: for the manifest.

By them a server of the model proves that it prepares rows as this stage did. A pass over the input
for a few rows would be dear: they are sought among its first ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from trainingjob.api.payload import PreprocessPayload

from ..base.errors import StageFailure
from ..base.imports import without
from ..dataset.buffers import array_of, numpy_of
from ..dataset.manifest import RawRows, RawValue, SplitName
from .engines.frame import HASH, SPLIT, SPLIT_NUMBER, Engine, Frame
from .engines.rowhash import hashes_of, place
from .fitted import Pipeline, begin_of
from .notes import Notes

ROWS = 32
# The first rows of the input, among which rows of the test split are sought.
_HEAD = 1024
# More than are kept: steps after the division may drop some.
_CANDIDATES = 128
# Values of them, and characters of what is kept of one row and of all.
_VALUES = 2**18
_ROW_CHARS = 2**16
_ALL_CHARS = 2**20
_NUMBER_CHARS = 24


@dataclass
class Raw:
    """Of one run: told what frames there are on the way, it keeps some rows of theirs."""

    engine: Engine
    payload: PreprocessPayload
    _begin: int = 0
    _given: Frame | None = None
    _split: SplitName = "train"
    # By their place in the dataset's order.
    _rows: dict[int, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begin = begin_of(self.payload.steps)

    def seen(self, frame: Frame, done: int) -> None:
        """The frame after so many steps: the rows that a server is sent are as they are after
        ``begin`` of them."""
        if done == self._begin and self._given is None and self.payload.tokenize is None:
            self._given = frame
            if frame.is_split:
                self._take(frame, [])

    def divided(self, frame: Frame) -> None:
        """Rows were divided; those of before are still there."""
        given = self._given
        if given is None or given.is_split:
            return
        heads = self.engine.arrow(f"SELECT {HASH} FROM {given.view} LIMIT {_HEAD}")
        hashes = np.unique(numpy_of(heads.column(0)))
        places = (hashes, np.zeros_like(hashes), np.full_like(hashes, self._seed))
        self._take(frame, place(*map(array_of, places)).to_pylist())

    @property
    def _seed(self) -> int:
        """By which rows are put in order."""
        split = self.payload.split
        return 0 if split.time is not None else split.seed or 0

    def _take(self, frame: Frame, head: Sequence[int]) -> None:
        """Rows of the first split of ``frame`` that has some; ``head``: places of rows that are
        found soon."""
        given, engine = self._given, self.engine
        assert given is not None
        width = max(1, len(given.columns))
        most = max(1, min(_CANDIDATES, _VALUES // width))

        def places(split: SplitName, known: str = "") -> list[int]:
            found = engine.rows(
                f"SELECT {HASH} FROM {frame.view} WHERE {SPLIT} = {SPLIT_NUMBER[split]}{known} "
                f"ORDER BY {HASH} LIMIT {most}"
            )
            return [at for (at,) in found]

        in_head = f" AND {HASH} IN ({_longs(engine, head)})"
        found: list[int] = []
        near = False
        # Of a test split that is sealed none is shown.
        shown: tuple[SplitName, ...] = ("test", "validation", "train")
        for split in shown[1:] if self.payload.sealed else shown:
            found = places(split, in_head) if head else []
            near = bool(found)
            found = found or places(split)
            if found:
                self._split = split
                break
        if not found:
            return
        wanted = {at: at for at in found}
        if not given.is_split:
            back = hashes_of(np.array(found, dtype=np.int64), self._seed)
            wanted = dict(zip(back.tolist(), found, strict=True))
        names = ", ".join([HASH, *map(engine.dialect.ident, given.columns)])
        # In Spark the files are read again: no more of them than before.
        rows = f"(SELECT * FROM {given.view} LIMIT {_HEAD}) AS head"
        source = rows if near and engine.runs_spark_sql else given.view
        for hash_, *values in engine.rows(
            f"SELECT {names} FROM {source} WHERE {HASH} IN ({_longs(engine, wanted)})"
        ):
            self._rows[wanted[hash_]] = values

    def told(
        self,
        frame: Frame,
        features: Sequence[str],
        pipeline: Sequence[Mapping[str, Any]],
        notes: Notes,
    ) -> RawRows | None:
        """What the manifest has of it, now that the dataset is made; None, and why in the log,
        where nobody but this engine could prepare other rows."""
        if self._given is None:
            return None
        given, engine = self._given.columns, self.engine
        begin = self._begin
        try:
            with without("pandas"):  # which Arrow loads unasked, in half a second
                prepared = Pipeline(given, pipeline, features, self.payload.task.label, begin)
            prepared.close()
            needed = [*prepared.needed]
        except StageFailure as failure:
            notes.log(
                f"a server of the model takes rows as the last step leaves them: {failure.message}"
            )
            begin, needed = len(pipeline), [*features]
            given = {name: frame.columns[name] for name in features}
        found: dict[int, Sequence[Any]] = {}
        kinds = [*(given[name] for name in needed), *(frame.columns[name] for name in features)]
        if self._rows and _NUMBER_CHARS * sum(kind != "string" for kind in kinds) <= _ROW_CHARS:
            names = ", ".join([HASH, *map(engine.dialect.ident, features)])
            found = {
                at: values
                for at, *values in engine.rows(
                    f"SELECT {names} FROM {frame.view} WHERE {HASH} IN "
                    f"({_longs(engine, self._rows)}) AND {SPLIT} = {SPLIT_NUMBER[self._split]}"
                )
            }
        at = {name: number for number, name in enumerate(self._given.columns)}
        rows: list[list[RawValue]] = []
        made: list[list[RawValue]] = []
        chars = 0
        for key in sorted(found):
            its = [_json(value) for value in found[key]]
            if begin == self._begin:
                row = [_json(self._rows[key][at[name]]) for name in needed]
            else:
                row = its
            size = sum(len(v) if isinstance(v, str) else _NUMBER_CHARS for v in (*row, *its))
            if size > _ROW_CHARS or chars + size > _ALL_CHARS:
                continue
            rows.append(row)
            made.append(its)
            chars += size
            if len(rows) == ROWS:
                break
        if self._split == "train" and any("targetEncode" in entry["step"] for entry in pipeline):
            rows, made = [], []  # of training rows it has made what it makes of no others
        return RawRows(
            begin=begin,
            columns=dict(given),
            needed=needed,
            split=self._split,
            rows=rows,
            features=made,
        )


def _longs(engine: Engine, values: Any) -> str:
    return ", ".join(engine.dialect.literal(int(value), "bigint") for value in values)


def _json(value: Any) -> RawValue:
    if isinstance(value, datetime):
        value = value.replace(tzinfo=None)
    return str(value) if isinstance(value, date) else value
