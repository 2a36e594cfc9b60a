"""Files put together by the names of their columns: one rule for all formats that have types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ..engines.arrow import converted, decimal_of, is_list, kind_of, kinds_of
from ..engines.frame import Engine, Frame, Unread
from ..expressions.many import Same, select
from ..names import check_names, refuse_duplicates, refuse_keys
from ..notes import Notes
from . import nested
from .absent import tell_absent
from .called import field
from .files import Source, columns_differ
from .nested import Leaf
from .partitions import partition_kinds, partition_values
from .schema import Wanted

# Types whose values are the same text in both engines.
_TEXTS = {"boolean", "bigint", "string", "date"}


@dataclass(frozen=True)
class Part:
    """Files that have the same columns and partition, as the engine reads them."""

    source: Source
    view: str
    schema: pa.Schema

    @property
    def first(self) -> Path:
        """The file that messages name."""
        return self.source.files[0]


def by_columns(
    source: Source,
    schemas: Mapping[Path, pa.Schema],
    read: Callable[[Source, pa.Schema], tuple[str, pa.Schema]],
) -> list[Part]:
    """The files, each read with those that have the same columns."""
    groups = {file: tuple(sorted((f.name, str(f.type)) for f in s)) for file, s in schemas.items()}
    parts = source.parts(groups)
    return [Part(part, *read(part, schemas[part.files[0]])) for part in parts]


@dataclass(frozen=True)
class _Flat:
    """A part with structs and lists as columns; ``schema`` is of those that are read, ``types`` of
    all that the view has."""

    part: Part
    view: str
    schema: pa.Schema
    types: Mapping[str, pa.DataType]


def together(
    engine: Engine,
    source: Source,
    parts: Sequence[Part],
    notes: Notes,
    unread: Mapping[str, Unread] | None = None,
    typed: Mapping[str, Wanted] | None = None,
    as_json: str | None = None,
    infinite: Callable[[str], bool] = lambda name: False,
) -> Frame:
    """All rows of the parts: columns by name, null where a part lacks one, whole numbers as doubles
    where another part has fractions. ``unread``: columns that are known to have no type;
    ``typed``: those to which the user gives one; ``as_json``: that which is text, whatever it has;
    ``infinite``: as in ``kinds_of``.

    Raises StageFailure(DuplicateColumns, ColumnsDiffer, InputUnreadable)."""
    _refuse_strangers(parts)
    of_json = unread is not None
    unread = {name: why for name, why in (unread or {}).items() if name != as_json}
    flats = _flattened(engine, parts, unread, as_json)
    kinds = _kinds(engine, source, flats, unread, notes, typed or {}, infinite)
    if not kinds:
        name, one = next(iter(unread.items()))
        records = "write one object a row, as pandas does with orient='records'"
        raise StageFailure(
            "InputUnreadable",
            f"{source.uri}: no column is of numbers or texts: {name} {one.why}; "
            f"{records if of_json else 'write columns of these'}, or set format raw and read it in "
            "a script",
        )
    refuse_keys(source.uri, kinds, source.keys)
    check_names(source.uri, [*kinds, *source.keys])
    tell_absent(
        source, {f: flat.schema.names for flat in flats for f in flat.part.source.files}, notes
    )
    raw = _given_as_they_are(flats, unread)
    unread |= {name: replace(unread[name], in_whole=True) for name in raw}
    view = _union(engine, source, flats, kinds)
    whole = _union(engine, source, flats, kinds, raw) if raw else ""
    return Frame(view, kinds | partition_kinds(source), unread=unread, whole=whole)


def _refuse_strangers(parts: Sequence[Part]) -> None:
    """Raises StageFailure(ColumnsDiffer) for files that have nothing in common with the first."""
    first = parts[0]
    for part in parts[1:]:
        if not {*part.schema.names} & {*first.schema.names}:
            raise columns_differ(part.first, part.schema.names, first.first, first.schema.names)


def _flattened(
    engine: Engine, parts: Sequence[Part], unread: dict[str, Unread], as_json: str | None
) -> list[_Flat]:
    found = [
        [_as_text(engine, leaf) if leaf.name == as_json else leaf for leaf in leaves]
        for leaves in (nested.leaves(engine, part.schema) for part in parts)
    ]
    sizes: dict[str, tuple[int, int]] = {}
    for part, leaves in zip(parts, found, strict=True):
        wanted = [x for x in leaves if x.name not in unread and engine.reads(x.type)]
        for name, (least, most) in nested.lengths(engine, part.view, wanted).items():
            before = sizes.get(name, (least, most))
            sizes[name] = (min(least, before[0]), max(most, before[1]))
    lists = {leaf.name for leaves in found for leaf in leaves if leaf.elements is not None}
    for leaf in (leaf for leaves in found for leaf in leaves):
        why = nested.unread(engine, leaf, sizes.get(leaf.name))
        if why is not None:
            unread.setdefault(leaf.name, why)
    counts = {name: most for name, (_, most) in sizes.items() if name not in unread}
    unread |= nested.too_many(counts)
    # A column without values has no type: in another part it may be a list, or a struct.
    wider = lists | {leaf.name.rpartition(".")[0] for leaves in found for leaf in leaves}
    flats = []
    for part, leaves in zip(parts, found, strict=True):
        flat: list[Leaf] = []
        raw: list[Leaf] = []
        for leaf in leaves:
            if leaf.name in unread:
                raw += [leaf] if engine.reads(leaf.type) else []
            elif leaf.elements is not None:
                flat += nested.elements_of(engine, leaf, sizes[leaf.name][1])
            elif not pa.types.is_null(leaf.type) or leaf.name not in wider:
                flat.append(leaf)
        refuse_duplicates(part.source.uri, [leaf.name for leaf in flat])
        schema = pa.schema([pa.field(leaf.name, leaf.type) for leaf in flat])
        types = {leaf.name: leaf.type for leaf in [*flat, *raw]}
        selected = [f"{leaf.sql} AS {engine.dialect.ident(leaf.name)}" for leaf in [*flat, *raw]]
        # A file may have none of the columns, but it has rows.
        view = engine.view(f"SELECT {', '.join(selected or ['1'])} FROM {part.view}")
        flats.append(_Flat(part, view, schema, types))
    return flats


def _as_text(engine: Engine, leaf: Leaf) -> Leaf:
    """Lists as their JSON."""
    if not is_list(leaf.type) or not engine.reads(leaf.type):
        return leaf
    return replace(leaf, sql=engine.dialect.to_json(leaf.sql), type=pa.string())


def _kinds(
    engine: Engine,
    source: Source,
    flats: Sequence[_Flat],
    unread: dict[str, Unread],
    notes: Notes,
    typed: Mapping[str, Wanted],
    infinite: Callable[[str], bool],
) -> dict[str, ColumnType]:
    """The type of each column in all parts; one that has several is unread."""
    kinds: dict[str, ColumnType] = {}
    origin: dict[str, _Flat] = {}
    as_text = {name for name, one in typed.items() if one.kind == "string"}
    as_text -= {f.name for flat in flats for f in flat.schema if not _is_decimal(f.type)}
    for flat in flats:
        # A column without values has no type of its own.
        fields = pa.schema([field for field in flat.schema if not pa.types.is_null(field.type)])
        found = kinds_of(
            engine,
            flat.view,
            fields,
            source.uri,
            "InputUnreadable",
            notes,
            as_text=as_text,
            typed=typed,
            infinite=infinite,
        )
        for name, kind in found.items():
            before = kinds.setdefault(name, kind)
            first = origin.setdefault(name, flat)
            pair = {kind, before}
            if kind == before:
                continue
            if pair == {"bigint", "double"}:
                kinds[name] = "double"
                message = (
                    f"{source.uri}: {name} is a {before} in {first.part.first} and a {kind} in "
                    f"{flat.part.first}: read as doubles, which hold whole numbers up to 2**53"
                )
                notes.warn("ValuesRounded", message)
            elif pair == {"date", "timestamp"}:
                kinds[name] = "timestamp"
            elif (pair == {"bigint", "string"} and _both_whole(name, flat, first)) or (
                name in typed and pair <= _TEXTS
            ):
                kinds[name] = "string"
            else:
                why = f"is a {before} in {first.part.first} and a {kind} in {flat.part.first}"
                if pair <= _TEXTS:
                    why += f"; {field('schema')}: {{{name}: string}} makes text of all"
                unread.setdefault(name, Unread("ColumnsDiffer", why))
    names = dict.fromkeys(name for flat in flats for name in flat.schema.names)
    return {name: kinds.get(name, "string") for name in names if name not in unread}


def _is_decimal(type_: pa.DataType) -> bool:
    """Whether its values have as many digits as they have, and a point at most."""
    return decimal_of(type_) is not None or kind_of(type_) == "bigint"


def _both_whole(name: str, *flats: _Flat) -> bool:
    """Whether a column has whole numbers everywhere, of which some are beyond 64 bits."""
    return all(kind_of(flat.schema.field(name).type) == "bigint" for flat in flats)


def _given_as_they_are(flats: Sequence[_Flat], unread: Mapping[str, Unread]) -> list[str]:
    """The unread columns that have one type in all parts: the user's own code may read them."""
    found = []
    for name in unread:
        types = {str(flat.types[name]) for flat in flats if name in flat.types}
        found += [name] if len(types) == 1 else []
    return found


def _union(
    engine: Engine,
    source: Source,
    flats: Sequence[_Flat],
    kinds: Mapping[str, ColumnType],
    as_they_are: Sequence[str] = (),
) -> str:
    dialect = engine.dialect
    queries = []
    for flat in flats:
        types = {field.name: field.type for field in flat.schema}
        values: dict[str, str | Same] = {
            name: Same(dialect.ident(name), partial(converted, dialect, types[name], kind))
            if name in types
            else dialect.literal(None, kind)
            for name, kind in kinds.items()
        }
        values |= {
            name: dialect.ident(name) if name in flat.types else "NULL" for name in as_they_are
        }
        partition = partition_values(dialect, source, flat.part.source)
        queries.append(select(dialect, values, partition, flat.view))
    return engine.view(" UNION ALL ".join(queries))
