"""Tables, and what an engine must be able to do with them.

Shared code decides and writes SQL over named views; the engines only run it. Both see the same
six column types and the same text, spelled by their dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions
from trainingjob.api.v1alpha1.reasons import ReasonName

from ...dataset.manifest import SplitName
from ...dataset.seal import Seal
from ...storage import Place
from ..expressions.dialect import Dialect, Value
from ..input.files import Source
from ..notes import Notes
from ..parts import Part

# Columns that rows carry, invisible to the user's steps. HASH: from reading on, a hash of the row
# as it was read; from the split on, its place in the random order that comes from that hash (see
# ``rowhash.py``). SPLIT: from the split on, its split's number.
HASH = "__trainingjob_hash"
SPLIT = "__trainingjob_split"
# Where groups of rows are divided: the place of a row's group in the random order of groups.
GROUP = "__trainingjob_group"

# The number of the file that a row will be in, by the layout.
FILE = "trainingjob_file"

# The number of a split: rows with the smallest hashes are held out.
SPLIT_NUMBER: dict[SplitName, int] = {"test": 0, "validation": 1, "train": 2}
TRAIN = SPLIT_NUMBER["train"]
# That of the first fold, where there are some: until each is made a dataset of its own.
FIRST_FOLD = TRAIN + 1

# Of the values of a column; deviation: the standard deviation of the population, over their count.
Figure = Literal["least", "greatest", "mean", "deviation"]
# Some batches of rows to others.
Rows = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
# What a function of Python gives for a value.
Gives = Literal["bigint", "bigints", "double", "doubles", "text", "texts"]

Longs = np.ndarray[Any, np.dtype[np.int64]]

NUMERIC: tuple[ColumnType, ...] = ("bigint", "double")

# Upper bound of rows in a file, as long as 2**MAX_FILE_BITS files suffice.
ROWS_PER_FILE = 250_000
MAX_FILE_BITS = 12
ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class Layout:
    """Which file a row goes to: by the leading bits of its hash, so that files are ranges of
    hashes and rows lie in the order of their hash across files."""

    rows: int  # when they were divided
    row_group: int = ROW_GROUP_ROWS

    @property
    def bits(self) -> int:
        """How many leading bits: the smallest sufficient number of files is a power of two."""
        return min(MAX_FILE_BITS, ((max(self.rows, 1) - 1) // ROWS_PER_FILE).bit_length())

    @property
    def files(self) -> int:
        """The number of files of a split that has rows everywhere."""
        return 1 << self.bits

    @property
    def file_of_row(self) -> str:
        """SQL: the number of the row's file."""
        # HASH is signed, files are numbered from 0.
        bits = self.bits
        return f"(({HASH} >> {64 - bits}) + {1 << (bits - 1)})" if bits else "0"

    def hashes_of(self, index: int) -> tuple[int, int]:
        """The least and the greatest hash of a file."""
        width = 64 - self.bits
        return (index << width) - 2**63, ((index + 1) << width) - 1 - 2**63


@dataclass(frozen=True)
class Unread:
    """Why a column of the input is in no view: a reason of ``REASONS``, and the predicate of a
    sentence whose subject is the column. Nothing is wrong until a job uses it."""

    reason: ReasonName
    why: str
    in_whole: bool = False  # whether ``Frame.whole`` has it


@dataclass(frozen=True)
class Frame:
    """A view of the engine, the user's columns in it, and the hidden ones that are there.

    ``kept``: whether an engine that computes views anew for each query holds these rows, or those
    that they are made of one by one. ``unread``: columns of the input that are in no view;
    ``whole``: a view that has, as the engine reads them, those that it can read. ``most``: rows
    that it has at most, if that is known without a query."""

    view: str
    columns: Mapping[str, ColumnType]
    hidden: tuple[str, ...] = ()
    layout: Layout | None = None  # once rows are divided
    kept: bool = False
    unread: Mapping[str, Unread] = field(default_factory=dict)
    whole: str = ""
    most: int | None = None

    @property
    def is_split(self) -> bool:
        """Whether rows are divided."""
        return SPLIT in self.hidden

    def over(self, view: str, columns: Mapping[str, ColumnType] | None = None) -> Frame:
        """The frame of another view that has the same hidden columns."""
        return replace(self, view=view, columns=self.columns if columns is None else columns)


# How the objects stand in a file of JSON: one a line, or all in one array.
JsonForm = Literal["lines", "array"]

# Pairs of a key and what its values are, of one depth.
MOST_JSON = 20_000


class JsonFound(NamedTuple):
    """Values of one kind that a key has in objects of JSON. ``path``: the keys that lead there; ()
    for the objects themselves. ``kind``: null, boolean, integer, long (beyond 2**53), huge (beyond
    64 bits), number, string, object; of arrays integers, numbers, texts, empty, or nested, which is
    anything else; any stands for all of them. Of the objects themselves: object, malformed, or
    suspicious, which may be so.
    ``shortest``, ``longest``: of arrays of numbers. ``files`` that have such values, and one."""

    path: tuple[str, ...]
    kind: str
    total: int
    shortest: int | None
    longest: int | None
    files: int
    file: str


class Engine(Protocol):
    """Runs SQL over views. Failures are raised as StageFailure."""

    dialect: Dialect
    runs_spark_sql: bool

    @property
    def session(self) -> Any:
        """The SparkSession; None for engine pandas."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def view(self, sql: str, *, wide: bool = False) -> str:
        """A new view of a query, not yet run; returns its name. One that is ``wide`` may be
        computed at once, where it takes longer to plan it again and again."""
        ...

    def read_csv(
        self, source: Source, options: CsvOptions, width: int, *, line_breaks: bool = False
    ) -> str:
        """A view of the fields as text, c0, c1, …, and ``suspicious``: whether the row may have
        been read wrongly because it has a line break inside a field, is not UTF-8, or has another
        number of fields. With ``line_breaks`` the former are read rightly at any cost.

        May raise StageFailure(InputMalformed, InputNotUtf8) now or when the view is used."""
        ...

    def read_text(self, source: Source, *, lines: bool) -> str:
        """A view of the column ``text``: the files, or their ``lines``, which end with a line feed
        that a carriage return may stand before.

        Raises StageFailure(InputNotUtf8) with the file and its line."""
        ...

    def has_open_quotes(self, source: Source, quote: str) -> bool:
        """Whether a line of CSV has an odd number of quotes, and the engine reads on: one may be
        open at the line's end."""
        ...

    def reads(self, type_: pa.DataType) -> bool:
        """Whether a file's values of this type can be read at all."""
        ...

    def read_parquet(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        """A view of files that have the same columns, and their types in it; columns of types that
        the engine does not read may be left out of the view."""
        ...

    def read_orc(self, source: Source, schema: pa.Schema) -> tuple[str, pa.Schema]:
        """The same for ORC."""
        ...

    def json_level(self, source: Source, form: JsonForm, depth: int) -> list[JsonFound]:
        """What the values of keys are that lie ``depth`` objects below the objects of the files; of
        depth 0 also what these are themselves, and nothing else where one is malformed.

        At most MOST_JSON + 1 of them, in no order."""
        ...

    def read_json(self, source: Source, form: JsonForm, schema: pa.Schema) -> str:
        """A view of the objects; a value whose column is text and that is none is its JSON."""
        ...

    def query(self, text: str, tables: Mapping[str, str]) -> Frame:
        """What the user's query, in the engine's own SQL, makes of views that it calls as
        ``tables`` does, ``data`` first: computed, so that what fails does so here. It sees no other
        table, and no files.

        Raises StageFailure(ExpressionInvalid, ColumnNotFound, DuplicateColumns, StepFailed)."""
        ...

    def columns_of(self, view: str) -> list[tuple[str, ColumnType | None]]:
        """Names and types; None for a type that a dataset cannot hold. Narrower types count as
        ours."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The result of a query whose size is bounded."""
        ...

    def arrow(self, sql: str) -> pa.Table:
        """The same as a table."""
        ...

    def keep(self, frame: Frame) -> Frame:
        """The frame computed once, because several queries over it follow."""
        ...

    def computed(self, frame: Frame) -> Frame:
        """The frame computed once, where it costs more to plan its queries than to hold it."""
        ...

    def frame_for_user(self, frame: Frame) -> Any:
        """The frame as the user's script takes it: of pandas or of Spark."""
        ...

    def frame_of_user(self, frame: Any, notes: Notes | None = None) -> Frame:
        """What the script gave back; values that change are told. Raises
        StageFailure(ScriptInvalid)."""
        ...

    def table(
        self, columns: Mapping[str, ColumnType], rows: Sequence[Sequence[Value | None]]
    ) -> str:
        """A view of rows that the driver holds: a lookup table."""
        ...

    def figures(
        self, frame: Frame, columns: Sequence[str], where: str, which: Sequence[Figure]
    ) -> list[tuple[Any, ...]]:
        """Some figures of each numeric column's values, as doubles; None when it has none."""
        ...

    def function(self, call: Callable[..., pa.Array], takes: ColumnType, gives: Gives) -> str:
        """The name in SQL of a function of a column, which Python runs over Arrow arrays. It may
        be a partial one, of a function in ``apply.py``, ``tokens/chat.py`` or ``alike.py``."""
        ...

    def middle(self, frame: Frame, columns: Sequence[str], where: str) -> list[tuple[Any, Any]]:
        """The two middle values of each numeric column (one value twice when their number is
        odd; nulls do not count; None when there are none)."""
        ...

    def hashed(self, frame: Frame, *, computed: bool = False) -> Frame:
        """The frame with HASH, the hash of its columns, which replaces one that is there.
        ``computed``: doubles count to nine digits, as the order of a sum changes the last ones."""
        ...

    def distinct(self, frame: Frame) -> Frame:
        """One row of those that are equal, the one with the smallest hash. The frame has no hidden
        columns but HASH and SPLIT; rows of different splits are not equal."""
        ...

    def ordered(self, frame: Frame, seed: int, keys: Sequence[str] = ()) -> Frame:
        """The frame, kept, with each row's place in the random order in HASH, and the layout; with
        ``keys``, hidden columns, also the place of its group in GROUP: the rows of equal keys."""
        ...

    def places(self, frame: Frame) -> Longs | None:
        """HASH of every row of a frame that was ordered, rising, where the driver has them; None
        elsewhere."""
        ...

    def by_file(
        self,
        frame: Frame,
        each: Rows,
        between: pa.Schema,
        whole: Rows,
        made: pa.Schema,
    ) -> str:
        """A view of what Python makes of a frame whose rows are divided: ``each`` of batches of
        rows in any order, and ``whole`` of the batches of each of the layout's files, in the order
        of SPLIT and HASH. They are partial ones of functions in ``tokens``;
        the number of threads of ``each`` is its argument ``threads``.

        Batches begin with FILE, SPLIT and HASH, before and after; ``between`` and ``made`` are the
        schemas. One call of ``whole`` may get several files, one after the other."""
        ...

    def divided(self) -> None:
        """Rows were divided, and what went before was counted: nobody asks for it any more."""
        ...

    def shared(self, frame: Frame, one: str, other: str) -> int:
        """How many rows that meet a condition are equal to some that meet the ``other``. None
        meets both."""
        ...

    def write(
        self, frame: Frame, place: Place, total: str = "", seal: Seal | None = None
    ) -> dict[SplitName, list[Part]]:
        """Write each split's rows, ordered by hash, a file for each of the layout's, to a folder of
        the split below ``place``. ``total``: a column whose sum each part tells. ``seal``: by which
        files of the test split are encrypted; no byte of them is written before."""
        ...


def distinct(engine: Engine, frame: Frame) -> Frame:
    """``Engine.distinct`` as one query: of equal rows, as they are now, the smallest hash."""
    names = [engine.dialect.ident(name) for name in frame.columns]
    hidden = ", ".join(f"min({HASH}) AS {HASH}" if n == HASH else n for n in frame.hidden)
    keys = ", ".join([*names, *(name for name in frame.hidden if name != HASH)])
    query = f"SELECT {', '.join(names)}, {hidden} FROM {frame.view} GROUP BY {keys}"
    return frame.over(engine.view(query))
