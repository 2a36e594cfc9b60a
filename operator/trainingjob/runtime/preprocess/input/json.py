"""Reading JSON: one object a line, or all in one array. Objects in objects are columns ``a.b``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...base.errors import StageFailure
from ...base.text import listed
from ..engines.arrow import INFINITE, beyond
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import MOST_JSON, Engine, Frame, JsonForm, JsonFound, Unread
from ..given import OF_FILE
from ..names import check_names, refuse_keys
from ..notes import Notes
from . import called
from .absent import are_splits, warn
from .files import Source, malformed
from .json_files import check_json, first_object, form_of
from .nested import MOST_DEPTH
from .schema import Wanted
from .together import Part, together

# Up to this size, files for Spark are inspected on the driver: that takes less time than starting
# a pass in Spark.
_SMALL_BYTES = 256 * 2**20

# The kinds of a key's values, nulls aside, and the type of its column.
_SCALARS: dict[frozenset[str], pa.DataType] = {
    frozenset(): pa.string(),
    frozenset({"boolean"}): pa.bool_(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"huge"}): pa.string(),
    frozenset({"number"}): pa.float64(),
    frozenset({"integer", "number"}): pa.float64(),
    frozenset({"string"}): pa.string(),
}
# Kinds of values that are the same text in both engines.
_TEXTS = {"boolean", "integer", "long", "huge", "string"}
_NUMBERS = {"integer", "long", "huge", "number", "infinite"}
_SCALAR_KINDS = _TEXTS | _NUMBERS
# Of lists: with whole numbers of more than 15 digits, and of those beyond 64 bits or beside others.
_LISTS = {"integers", "longs", "huges", "numbers", "infinites", "empty"}
_WORDS = {
    "boolean": "booleans",
    "integer": "whole numbers",
    "huge": "whole numbers beyond 64 bits",
    "number": "numbers",
    "infinite": "numbers",
    "string": "texts",
    "object": "objects",
    "integers": "lists of numbers",
    "numbers": "lists of numbers",
    "longs": "lists of numbers",
    "huges": "lists of numbers",
    "infinites": "lists of numbers",
    "texts": "lists of texts",
    "empty": "lists",
    "nested": "lists of objects, of lists, or of values of several types",
}


def read_json(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Mapping[str, Wanted] | None = None,
    as_json: str | None = None,
) -> Frame:
    """Columns in the order of the first object's keys, then others by name. Text stays text.
    ``typed``: columns to which the user gives a type; ``as_json``: that which is text, whatever it
    has."""
    forms = {file: form_of(file) for file in source.files}
    try:
        tree = _inspect(engine, source, forms)
    except StageFailure as failure:
        check_json(source, forms)
        raise malformed(source, failure) from failure
    objects = tree[()]
    if {"malformed", "suspicious"} & {*objects.kinds}:
        check_json(source, forms)
    if "malformed" in objects.kinds:
        raise StageFailure("InputMalformed", f"{source.uri}: not one JSON object a line")
    if not objects.kinds:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = sum(one.total for one in objects.kinds.values())
    if not objects.keys:
        raise StageFailure("InputEmpty", f"{source.uri}: the objects have no keys")
    _refuse_one_object(source, tree, notes.rows)
    found = _Schema(source, tree, notes, typed or {})
    schema = pa.schema(found.fields((), first_object(forms)))
    refuse_keys(source.uri, schema.names, source.keys)
    check_names(source.uri, [*schema.names, *source.keys])
    found.tell_absent()
    parts = [
        Part(part, engine.read_json(part, forms[part.files[0]], schema), schema)
        for part in source.parts(forms)
    ]
    return together(engine, source, parts, notes, found.unread, as_json=as_json)


@dataclass
class _Values:
    """What the values of a key are, by kind; how many files have the key, and which splits, if
    files say so; and the keys of its objects, unless these are too many or too deep to be looked
    at."""

    kinds: dict[str, JsonFound] = field(default_factory=dict)
    files: int = 0
    splits: set[str | None] = field(default_factory=set)
    keys: list[str] | None = None


_Tree = dict[tuple[str, ...], _Values]


def _inspect(engine: Engine, source: Source, forms: Mapping[Path, JsonForm]) -> _Tree:
    """Of every key, by its path; of () the objects themselves."""
    if engine.runs_spark_sql and ("array" in forms.values() or source.size <= _SMALL_BYTES):
        with DuckdbEngine() as duckdb_engine:
            return _inspect(duckdb_engine, source, forms)
    # Not the partitions: they do not matter here, but for splits.
    splits = {file: values.get(OF_FILE) for file, values in source.partitions.items()}
    plain = Source(source.uri, source.files, {}, source.size)
    groups = {file: (form, splits.get(file)) for file, form in forms.items()}
    tree: _Tree = {(): _Values()}
    for depth in range(MOST_DEPTH + 1):
        found = [
            (one, splits.get(part.files[0]))
            for part in plain.parts(groups)
            for one in engine.json_level(part, forms[part.files[0]], depth)
        ]
        if len(found) > MOST_JSON:
            if depth == 0:
                message = f"{source.uri}: the objects have too many different keys"
                raise StageFailure("InputUnreadable", message)
            break
        for values in [v for path, v in tree.items() if len(path) == depth]:
            values.keys = []
        for one, split in found:
            _add(tree, one)
            tree[one.path].splits.add(split)
        if "malformed" in tree[()].kinds:
            break
        if not any(one.path and one.kind == "object" for one, _ in found):
            break
    return tree


def _refuse_one_object(source: Source, tree: _Tree, rows: int) -> None:
    """Raises StageFailure(InputUnreadable) for one object that holds the rows: in a list, or by
    columns, as pandas writes them unless it is told otherwise."""
    kinds = {path[0]: {*one.kinds} - {"null"} for path, one in tree.items() if len(path) == 1}
    lists = [name for name, found in kinds.items() if found == {"nested"}]
    if rows == 1 and (lists or not any(found & {*_SCALAR_KINDS} for found in kinds.values())):
        where = f"the list {listed(lists)} in it" if lists else "its parts"
        raise StageFailure(
            "InputUnreadable",
            f"{source.uri} is one object, and {where} may be the rows: write one object a row, as "
            "pandas does with to_json(PATH, orient='records', lines=True), or set format raw and "
            "read it in preprocess.script",
        )


def _add(tree: _Tree, one: JsonFound) -> None:
    values = tree.setdefault(one.path, _Values())
    if one.path:
        parent = tree[one.path[:-1]]
        if not values.files and not values.kinds and parent.keys is not None:
            parent.keys.append(one.path[-1])
    if one.kind == "any":
        values.files += one.files
        return
    if one.kind == "malformed":
        tree[()].kinds["malformed"] = one
    before = values.kinds.get(one.kind)
    values.kinds[one.kind] = one if before is None else _both(before, one)


def _both(one: JsonFound, other: JsonFound) -> JsonFound:
    shortest = [n for n in (one.shortest, other.shortest) if n is not None]
    longest = [n for n in (one.longest, other.longest) if n is not None]
    return one._replace(
        total=one.total + other.total,
        shortest=min(shortest, default=None),
        longest=max(longest, default=None),
        files=one.files + other.files,
    )


@dataclass
class _Schema:
    """The types of columns, and which have none."""

    source: Source
    tree: _Tree
    notes: Notes
    typed: Mapping[str, Wanted]
    unread: dict[str, Unread] = field(default_factory=dict)
    columns: list[tuple[str, ...]] = field(default_factory=list)

    def fields(self, path: tuple[str, ...], first: Any) -> list[pa.Field]:
        """Of the objects at a path; ``first``: the first of them, whose keys come first."""
        first = first if isinstance(first, dict) else {}
        keys = self.tree[path].keys or []
        check_names(f"{self.source.uri}{': in ' if path else ''}{'.'.join(path)}", keys)
        found = []
        for key in dict.fromkeys([*(key for key in first if key in {*keys}), *sorted(keys)]):
            type_ = self._type((*path, key), first.get(key))
            if type_ is not None:
                found.append(pa.field(key, type_))
        return found

    def _type(self, path: tuple[str, ...], first: Any) -> pa.DataType | None:
        """None for objects that are all without keys."""
        values, name = self.tree[path], ".".join(path)
        kinds = {*values.kinds} - {"null"}
        if kinds == {"object"}:
            if values.keys is None:
                what = f"below {MOST_DEPTH} others" if len(path) > MOST_DEPTH else "of many keys"
                return self._unread(path, f"has objects {what}")
            fields = self.fields(path, first)
            return pa.struct(fields) if fields else None
        self.columns.append(path)
        where = f"{self.source.uri}: {name}"
        if kinds and kinds <= _LISTS:
            return self._list(path, where, kinds)
        if kinds and kinds <= {"texts", "empty"}:
            self._unread(path, "has lists of texts")
            return pa.list_(pa.string())
        if "infinite" in kinds:
            if kinds <= _NUMBERS:
                self.notes.warn("ValuesBecameNull", f"{where}: {INFINITE}")
            kinds = kinds - {"infinite"} | {"number"}
        if "number" in kinds and kinds & {"long", "huge"}:
            self._rounded(where, "beyond 2**53 among numbers with a fraction")
            kinds -= {"long", "huge"}
        elif "huge" in kinds and kinds <= {"integer", "long", "huge"}:
            if name not in self.typed:
                self.notes.warn("ReadAsText", f"{where} is text: {beyond()}")
            kinds = {"huge"}
        kinds = {"integer" if kind == "long" else kind for kind in kinds}
        type_ = _SCALARS.get(frozenset(kinds))
        return self._mixed(path) if type_ is None else type_

    def _rounded(self, where: str, what: str) -> None:
        self.notes.warn(
            "ValuesRounded",
            f"{where} has whole numbers {what}: they are read as doubles, which hold 15 to 17 "
            "digits",
        )

    def _list(self, path: tuple[str, ...], where: str, kinds: set[str]) -> pa.DataType:
        lists = [self.tree[path].kinds[kind] for kind in kinds]
        least = min(one.shortest or 0 for one in lists)
        most = max(one.longest or 0 for one in lists)
        doubles = kinds & {"numbers", "huges", "infinites"}
        number = pa.float64() if doubles else pa.int64()
        if least == most and most:
            if "infinites" in kinds:
                self.notes.warn("ValuesBecameNull", f"{where}: {INFINITE}")
            if "huges" in kinds or (doubles and "longs" in kinds):
                self._rounded(where, "of more than 15 digits in its lists")
            return pa.list_(number, most)
        self._unread(path, f"has lists of {least} to {most} numbers" if most else "has empty lists")
        return pa.list_(number)

    def _mixed(self, path: tuple[str, ...]) -> pa.DataType:
        kinds = {kind: one for kind, one in self.tree[path].kinds.items() if kind != "null"}
        words: dict[str, str] = {}
        for kind, one in kinds.items():
            words.setdefault(_WORDS["integer" if kind == "long" else kind], one.file)
        name, advice = ".".join(path), ""
        if {*kinds} <= _TEXTS:
            if name in self.typed:
                return pa.string()
            advice = f"; {called.field('schema')}: {{{name}: string}} makes text of all"
        several = len({*words.values()}) > 1
        parts = [f"{what} (in {file})" if several else what for what, file in sorted(words.items())]
        self.unread[name] = Unread(
            "ColumnsDiffer" if several else "ColumnUnreadable", f"has {' and '.join(parts)}{advice}"
        )
        return pa.string()

    def _unread(self, path: tuple[str, ...], why: str) -> pa.DataType:
        self.unread[".".join(path)] = Unread("ColumnUnreadable", why)
        return pa.string()

    def tell_absent(self) -> None:
        """Warn of columns that not every file has; raises StageFailure(ColumnsDiffer) for those
        that not every split has."""
        total = len(self.source.files)
        every = self.tree[()].splits
        for path in self.columns if are_splits(self.source) else ():
            if less := sorted(map(str, every - self.tree[path].splits)):
                raise StageFailure(
                    "ColumnsDiffer",
                    f"{self.source.uri}: {'.'.join(path)} is not in the files of the split "
                    f"{listed(less)}, and in those of others",
                )
        lacking: dict[tuple[int, str], list[str]] = {}
        for path in self.columns:
            values = self.tree[path]
            if values.files < total:
                one = min(found.file for found in values.kinds.values())
                lacking.setdefault((values.files, Path(one).name), []).append(".".join(path))
        for (files, one), names in lacking.items():
            having = f"{one} alone" if files == 1 else f"{files} files of {total}, {one} is one,"
            warn(self.source, names, f"in {having} and null in other rows", self.notes)
