"""join: the columns of a table of ``preprocess.inputs``, where keys are equal."""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob.api.v1alpha1.join import Join

from ...dataset.meant import ANY, matches
from ..engines.frame import NUMERIC, Frame
from ..names import check_names, column_not_found
from .step import Fitted, Where

# What a join may make of the data's rows: more rows, and more for each, are no features of them.
_MOST_ROWS = 1_000_000
_MOST_TIMES = 1000


def join(spec: Join, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """A row that has one match at most stays what it is, in its split. Where a key has several
    rows in the table, rows are new ones, and their hash comes from their content."""
    table, dialect = where.tables[spec.table], where.dialect
    keys = list(zip(spec.keys, spec.table_keys or spec.keys, strict=True))
    where.require(frame, spec.keys)
    for ours, theirs in keys:
        _require(where, spec, table, theirs)
        kinds = frame.columns[ours], table.columns[theirs]
        if kinds[0] != kinds[1] and not {*kinds} <= {*NUMERIC}:
            raise where.failure(
                f"{ours} is a {kinds[0]} and {theirs} of {spec.table} a {kinds[1]}; to compare "
                f"them, `cast: {{columns: {{{ours}: {kinds[1]}}}}}` before this step"
            )
    added = _added(spec, table, where)
    _refuse_clashes(spec, frame, added, where)
    equal = " AND ".join(f"l.{dialect.ident(a)} = r.{dialect.ident(b)}" for a, b in keys)
    several = _count(spec, frame, table, [theirs for _, theirs in keys], equal, where)
    columns = {name: (f"l.{dialect.ident(name)}", kind) for name, kind in frame.columns.items()}
    columns |= {new: (f"r.{dialect.ident(n)}", table.columns[n]) for new, n in added.items()}
    how = "INNER" if spec.how == "inner" else "LEFT"
    needed = dict.fromkeys([*(theirs for _, theirs in keys), *added.values()])
    right = f"SELECT {', '.join(map(dialect.ident, needed))} FROM {table.view}"
    source = f"{frame.view} AS l {how} JOIN ({right}) AS r ON {equal}"
    made = where.project(frame, columns, source=source)
    return (where.engine.hashed(made, computed=True) if several else made), {}


def _added(spec: Join, table: Frame, where: Where) -> dict[str, str]:
    """The names of new columns, and of those in the table that they come from."""
    if spec.columns is None:
        where.leave_out(table.unread, f"of {spec.table} ")
    found: list[str] = []
    for name in spec.columns or [ANY]:
        if ANY in name and name not in table.columns:
            keys = spec.table_keys or spec.keys
            found += [n for n in table.columns if matches(name, n) and n not in keys]
            continue
        _require(where, spec, table, name)
        found.append(name)
    if not found:
        raise where.failure(f"{spec.table} has no such column besides its keys", "ColumnNotFound")
    return {f"{spec.prefix or ''}{name}": name for name in dict.fromkeys(found)}


def _require(where: Where, spec: Join, table: Frame, name: str) -> None:
    if name not in table.columns:
        text = f"{where.text}: table {spec.table}"
        raise column_not_found(text, name, list(table.columns), table.unread)


def _refuse_clashes(spec: Join, frame: Frame, added: dict[str, str], where: Where) -> None:
    check_names(where.text, list(added))
    ours = {name.lower() for name in frame.columns}
    for new in added:
        if new.lower() in ours:
            raise where.failure(
                f"column {new} of {spec.table} is one of the data, too; set `prefix` to have both, "
                "or list `columns`",
                "DuplicateColumns",
            )


def _count(
    spec: Join, frame: Frame, table: Frame, keys: Sequence[str], equal: str, where: Where
) -> bool:
    """Whether a key has several rows in the table. Warns of that, and of rows without a match;
    raises StageFailure when no row has one."""
    ident, engine, notes = where.dialect.ident, where.engine, where.account.notes
    names = ", ".join(ident(name) for name in keys)
    given = " AND ".join(f"{ident(name)} IS NOT NULL" for name in keys)
    counted = engine.view(
        f"SELECT {names}, count(*) AS trainingjob_n FROM {table.view} WHERE {given} "
        f"GROUP BY {names}"
    )
    ((distinct, several, most),) = engine.rows(
        "SELECT count(*), count(CASE WHEN trainingjob_n > 1 THEN 1 END), max(trainingjob_n) "
        f"FROM {counted}"
    )
    ((rows, matched, made),) = engine.rows(
        "SELECT count(*), count(r.trainingjob_n), sum(coalesce(r.trainingjob_n, 1)) "
        f"FROM {frame.view} AS l LEFT JOIN {counted} AS r ON {equal}"
    )
    on = ", ".join(dict.fromkeys(spec.keys))
    if rows and not matched:
        raise where.failure(
            f"no row has a match in {spec.table} by {on}: check that both are written alike"
        )
    if several:
        words = (
            f"{several} of {distinct} keys have several rows in {spec.table}, up to {most}: rows "
            "of the data appear once for each"
        )
        if (made or 0) > max(_MOST_ROWS, _MOST_TIMES * rows):
            raise where.failure(
                f"{words}, which makes {made} rows of {rows}; add keys that tell these rows apart, "
                f"or make one row for each key in a sql step: select {on}, … group by {on}"
            )
        notes.warn("RowsRepeated", f"{where.text}: {words}")
    if matched < rows:
        then = "go" if spec.how == "inner" else "have nulls in its columns"
        notes.warn(
            "RowsUnmatched",
            f"{where.text}: {rows - matched} of {rows} rows have no match in {spec.table} by {on} "
            f"and {then}",
        )
    return bool(several)
