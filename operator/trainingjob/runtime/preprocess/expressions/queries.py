"""Spark SQL queries with one meaning in both engines, built on ``compiler.py``.

What Spark leaves to chance is decided here: sums do not depend on the order of rows, LIMIT needs
ORDER BY, and ties are broken by the rest of the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ...base.text import listed
from ..names import column_not_found, refuse_duplicates
from .compiler import Compiler
from .dialect import Dialect
from .syntax import Unportable, ignore, parse, refuse_unread, spelled, text_of
from .typed import Typed, common_kind

# Values from here on are added as they come; smaller ones exactly.
_LARGE = 2.0**62
_JOINS = {
    "": "JOIN",
    "INNER": "JOIN",
    "LEFT": "LEFT JOIN",
    "RIGHT": "RIGHT JOIN",
    "FULL": "FULL JOIN",
}
_RANKS = ("row_number", "rank", "dense_rank")


@dataclass(frozen=True)
class Relation:
    """Something with columns that FROM can name."""

    sql: str
    columns: Mapping[str, ColumnType]


def compile_query(text: str, data: Relation, dialect: Dialect, where: str) -> Relation:
    """A query over the table ``data`` as SQL of the engine, and its columns.

    Raises StageFailure(ExpressionInvalid, ColumnNotFound) or Unportable."""
    tree = parse(text)
    compiled = _Queries(dialect, where).query(tree, {"data": data})
    refuse_unread(tree, text)
    return compiled


class _SelectCompiler(Compiler):
    """Expressions of a SELECT: qualified columns, aggregates, window functions."""

    def __init__(self, sources: dict[str, Relation], dialect: Dialect, where: str) -> None:
        super().__init__({}, dialect, where)
        self.sources = sources
        self.grouped = False
        self._inside_aggregate = False
        self._over = ""
        self.aliases: Mapping[str, exp.Expr] = {}  # what HAVING may name besides columns
        self._handlers[exp.Window] = self._window

    def name_of(self, node: exp.Column) -> str:
        """A column's name as it is written in the data."""
        names = {n.lower(): n for source in self.sources.values() for n in source.columns}
        return names[node.name.lower()]

    def _column(self, node: exp.Column) -> Typed:
        computed = self.aliases.get(node.name.lower())
        if computed is not None and not node.table and not self._inside_aggregate:
            aliases, self.aliases = self.aliases, {}
            value = self.compile(computed)
            self.aliases = aliases
            return value
        if node.args.get("db"):
            raise self.invalid(f"{text_of(node)}: columns have at most a table's name before them")
        found = []
        for alias, relation in self.sources.items():
            if node.table and node.table.lower() != alias.lower():
                continue
            for name, kind in relation.columns.items():
                if name.lower() == node.name.lower():
                    quoted = f"{self.dialect.ident(alias)}.{self.dialect.ident(name)}"
                    found.append(Typed(quoted, kind))
        if not found:
            everything = [n for source in self.sources.values() for n in source.columns]
            raise column_not_found(self.where, text_of(node), everything)
        if len(found) > 1:
            raise self.invalid(f"{node.name} is in several tables: put the table's name before it")
        return found[0]

    def call(self, name: str, arguments: Sequence[exp.Expr]) -> Typed:
        if name in _RANKS:
            raise self.invalid(f"{name} needs OVER (… ORDER BY …)")
        aggregate = self._aggregate(name, arguments)
        return aggregate if aggregate is not None else super().call(name, arguments)

    def _aggregate(self, name: str, arguments: Sequence[exp.Expr]) -> Typed | None:
        if name not in (
            "count",
            "count_if",
            "sum",
            "avg",
            "mean",
            "min",
            "max",
            "bool_and",
            "bool_or",
        ):
            return None
        if self._inside_aggregate:
            raise self.invalid(f"{name} stands inside another aggregate")
        if len(arguments) != 1:
            raise Unportable(f"{name} of {len(arguments)} arguments")
        self.grouped = self.grouped or not self._over
        argument, over = arguments[0], self._over
        if name == "count" and isinstance(argument, exp.Star):
            return Typed(f"count(*){over}", "bigint")
        distinct = isinstance(argument, exp.Distinct)
        if distinct:
            if name != "count" or over or len(argument.expressions) != 1:
                raise Unportable(f"{name}(DISTINCT …)")
            argument = argument.expressions[0]
        self._inside_aggregate, self._over = True, ""
        value = self.compile(argument)
        self._inside_aggregate, self._over = False, over
        if name == "count":
            return Typed(f"count({'DISTINCT ' if distinct else ''}{value.sql}){over}", "bigint")
        if name in ("min", "max"):
            return Typed(f"{name}({value.sql}){over}", value.kind)
        if name in ("bool_and", "bool_or", "count_if"):
            condition = (
                self.as_kind(value, "boolean") if value.kind in ("boolean", "null") else None
            )
            if condition is None:
                raise self.invalid(f"{name} does not take a {value.kind}")
            if name == "count_if":
                return Typed(f"count(CASE WHEN {condition} THEN 1 END){over}", "bigint")
            return Typed(f"{name}({condition}){over}", "boolean")
        if value.kind not in ("bigint", "double"):
            raise self.invalid(f"{name} does not take a {value.kind}")
        total = (
            Typed(self.dialect.whole_sum(value.sql, over), "bigint")
            if value.kind == "bigint"
            else Typed(_exact_sum(self.dialect, value.sql, over), "double")
        )
        if name == "sum":
            return total
        count = f"nullif(count({value.sql}){over}, 0)"
        return Typed(f"(CAST({total.sql} AS DOUBLE) / CAST({count} AS DOUBLE))", "double")

    def _window(self, node: exp.Window) -> Typed:
        if node.args.get("spec") or node.args.get("over") != "OVER" or self.grouped:
            raise Unportable(f"the window {text_of(node)}")
        call = node.this
        if not isinstance(call, exp.Anonymous):
            raise Unportable(f"the window {text_of(node)}")
        name = call.name.lower()
        keys = [self.compile(key).sql for key in node.args.get("partition_by") or ()]
        order = self.order_by(node.args.get("order"))
        if name in ("row_number", "lag", "lead"):
            if not order:
                raise self.invalid(f"{name} needs ORDER BY: rows have no order of their own")
            order += [f"{column} NULLS FIRST" for column in self.all_columns()]
        parts = [f"PARTITION BY {', '.join(keys)}"] if keys else []
        parts += [f"ORDER BY {', '.join(order)}"] if order else []
        over = f" OVER ({' '.join(parts)})"
        if name in _RANKS and not call.expressions:
            return Typed(f"CAST({name}(){over} AS BIGINT)", "bigint")
        if name in ("lag", "lead") and len(call.expressions) in (1, 2):
            value = self.compile(call.expressions[0])
            offset = spelled(call.expressions[1]) if len(call.expressions) == 2 else "1"
            if not (offset.isascii() and offset.isdigit()):
                raise Unportable(f"{name} with a computed offset")
            return Typed(f"{name}({value.sql}, {offset}){over}", value.kind)
        self._over = over
        found = self._aggregate(name, call.expressions)
        self._over = ""
        if found is None:
            raise Unportable(f"the window function {name}")
        return found

    def order_by(self, order: exp.Expr | None) -> list[str]:
        """Terms of an ORDER BY, with the place of nulls spelled out."""
        terms = []
        for term in order.expressions if order else ():
            nulls = "FIRST" if term.args.get("nulls_first") else "LAST"
            direction = "DESC" if term.args.get("desc") else "ASC"
            terms.append(f"{self.compile(term.this).sql} {direction} NULLS {nulls}")
        return terms

    def all_columns(self) -> list[str]:
        """Every column in scope, qualified."""
        return [
            f"{self.dialect.ident(alias)}.{self.dialect.ident(name)}"
            for alias, relation in self.sources.items()
            for name in relation.columns
        ]


def _exact_sum(dialect: Dialect, value: str, over: str) -> str:
    """A sum of doubles that does not depend on their order: each is cut into whole numbers of
    26 or 32 bits, whose sums are exact. What is below 2**-104 is lost."""
    double = dialect.double
    finite = f"CASE WHEN abs({value}) < {double(_LARGE)} THEN {value} END"
    whole = f"floor({finite})"
    part = f"({finite} - {whole}) * {double(2.0**52)}"
    rest = f"({part} - floor({part})) * {double(2.0**52)}"
    terms = []
    for number, low_bits, unit in (
        (whole, 32, 0),
        (f"floor({part})", 26, -52),
        (f"floor({rest})", 26, -104),
    ):
        bits = f"CAST({number} AS BIGINT)"
        for half, shift in (
            (f"{bits} >> {low_bits}", low_bits),
            (f"{bits} & {2**low_bits - 1}", 0),
        ):
            total = f"CAST(sum({half}){over} AS DOUBLE)"
            terms.append(f"{total} * {double(2.0 ** (unit + shift))}")
    large = f"sum(CASE WHEN abs({value}) >= {double(_LARGE)} THEN {value} END){over}"
    zero = double(0.0)
    exact = f"coalesce({' + '.join(terms)}, {zero})"
    return f"CASE WHEN count({value}){over} > 0 THEN {exact} + coalesce({large}, {zero}) END"


class _Queries:
    """Writes queries anew."""

    def __init__(self, dialect: Dialect, where: str) -> None:
        self._dialect = dialect
        self._where = where

    def query(self, node: exp.Expr, tables: Mapping[str, Relation]) -> Relation:
        """A SELECT, a set operation or a parenthesised one."""
        tables = dict(tables)
        for cte in getattr(node.args.get("with_"), "expressions", ()):
            if cte.args["alias"].columns:
                raise Unportable("WITH name (columns)")
            tables[cte.alias.lower()] = self.query(cte.this, tables)
        if isinstance(node, exp.Subquery) and not node.alias:
            return self.query(node.this, tables)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, tables)
        if isinstance(node, exp.Select):
            return self._select(node, tables)
        if not isinstance(node, exp.Query):
            raise self._invalid("a sql step is a query: SELECT … FROM data")
        raise Unportable(type(node).__name__)

    def _select(self, node: exp.Select, tables: Mapping[str, Relation]) -> Relation:
        ignore(node.args.get("hint"))  # how to run it, not what it means
        if node.args.get("from_") is None:
            raise self._invalid("FROM data is missing")
        scope: dict[str, Relation] = {}
        source = self._source(node.args["from_"].this, tables, scope)
        for join in node.args.get("joins") or ():
            source += self._join(join, tables, scope)
        compiler = _SelectCompiler(scope, self._dialect, self._where)
        query = f" FROM {source}"
        if node.args.get("where"):
            query += f" WHERE {compiler.condition(node.args['where'].this)}"
            if compiler.grouped:
                raise self._invalid("an aggregate cannot stand in WHERE: use HAVING")
        aliases = {
            item.alias.lower(): item.this
            for item in node.expressions
            if isinstance(item, exp.Alias)
        }
        keys = self._group_keys(node, compiler, aliases)
        if keys:
            query += f" GROUP BY {', '.join(keys)}"
            compiler.grouped = True
        selected = self._selected(node, compiler)
        names = [name for name, _ in selected]
        refuse_duplicates(self._where, names)
        columns: dict[str, ColumnType] = {}
        items = []
        for name, value in selected:
            kind: ColumnType = "string" if value.kind == "null" else value.kind
            sql = self._dialect.literal(None, kind) if value.kind == "null" else value.sql
            sql = self._dialect.finite(sql) if kind == "double" and not _is_column(sql) else sql
            columns[name] = kind
            items.append(f"{sql} AS {self._dialect.ident(name)}")
        if node.args.get("having"):
            compiler.aliases = aliases
            query += f" HAVING {compiler.condition(node.args['having'].this)}"
        distinct = node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            raise Unportable("DISTINCT ON")
        head = "SELECT DISTINCT" if distinct is not None else "SELECT"
        query = f"{head} {', '.join(items)}{query}"
        return Relation(self._ordered(query, node, columns), columns)

    def _ordered(self, query: str, node: exp.Expr, columns: Mapping[str, ColumnType]) -> str:
        """ORDER BY matters only under LIMIT: rows of a frame have no order."""
        limit = node.args.get("limit")
        if limit is None:
            ignore(node.args.get("order"))
            return query
        count = limit.expression
        if not (isinstance(count, exp.Literal) and count.this.isdigit()):
            raise Unportable("a computed LIMIT")
        if not node.args.get("order"):
            raise self._invalid("LIMIT needs ORDER BY: rows have no order of their own")
        scope = {"result": Relation(query, columns)}
        compiler = _SelectCompiler(scope, self._dialect, self._where)
        try:
            terms = compiler.order_by(node.args["order"])
        except StageFailure as failure:
            raise Unportable("ORDER BY of what is not selected") from failure
        if compiler.grouped:
            raise Unportable("ORDER BY of an aggregate without a name")
        terms += [f"{column} NULLS FIRST" for column in compiler.all_columns()]
        return f"SELECT * FROM ({query}) AS result ORDER BY {', '.join(terms)} LIMIT {count.this}"

    def _source(
        self, node: exp.Expr, tables: Mapping[str, Relation], scope: dict[str, Relation]
    ) -> str:
        if isinstance(node, exp.Table) and not node.db:
            relation = tables.get(node.name.lower())
            if relation is None:
                raise self._invalid(f"there is no table {node.name}, only {listed(list(tables))}")
            alias = node.alias or node.name
        elif isinstance(node, exp.Subquery):
            relation = self.query(node.this, tables)
            alias = node.alias or f"subquery_{len(scope)}"
        else:
            raise Unportable(text_of(node))
        if alias.lower() in (other.lower() for other in scope):
            raise self._invalid(f"two tables are named {alias}")
        scope[alias] = relation
        return f"({relation.sql}) AS {self._dialect.ident(alias)}"

    def _join(
        self, node: exp.Join, tables: Mapping[str, Relation], scope: dict[str, Relation]
    ) -> str:
        if node.args.get("using") or node.args.get("method"):
            raise Unportable("USING and NATURAL of a JOIN")
        source = self._source(node.this, tables, scope)
        kind = (node.side or node.kind or "").upper()
        if node.args.get("on") is None:
            if kind in ("CROSS", "", "INNER"):
                return f" CROSS JOIN {source}"
            raise self._invalid("a JOIN needs ON")
        if kind not in _JOINS or node.kind.upper() not in ("", "INNER", "OUTER"):
            raise Unportable(f"{node.kind} JOIN")
        compiler = _SelectCompiler(scope, self._dialect, self._where)
        return f" {_JOINS[kind]} {source} ON {compiler.condition(node.args['on'])}"

    def _group_keys(
        self, node: exp.Select, compiler: _SelectCompiler, aliases: Mapping[str, exp.Expr]
    ) -> list[str]:
        group = node.args.get("group")
        if group is None:
            return []
        keys = []
        for key in group.expressions:
            if isinstance(key, exp.Literal) and key.this.isdigit():
                place = int(key.this) - 1
                if not 0 <= place < len(node.expressions):
                    raise self._invalid(f"GROUP BY {key.this}: there is no such column")
                key = node.expressions[place].unalias()
            elif isinstance(key, exp.Column) and not key.table and key.name.lower() in aliases:
                try:
                    keys.append(compiler.compile(key).sql)
                    continue
                except StageFailure:
                    key = aliases[key.name.lower()]
            if isinstance(key, exp.Literal | exp.Star):
                raise Unportable("GROUP BY of a constant")
            keys.append(compiler.compile(key).sql)
        return keys

    def _selected(self, node: exp.Select, compiler: _SelectCompiler) -> list[tuple[str, Typed]]:
        selected: list[tuple[str, Typed]] = []
        for item in node.expressions:
            star = item if isinstance(item, exp.Star) else item.this
            if isinstance(star, exp.Star) and isinstance(item, exp.Star | exp.Column):
                table = item.table.lower() if isinstance(item, exp.Column) else None
                selected += [
                    (name, compiler.compile(exp.column(name, table=alias, quoted=True)))
                    for alias, relation in compiler.sources.items()
                    if table in (None, alias.lower())
                    for name in relation.columns
                ]
                continue
            value = compiler.compile(item.unalias())
            name = item.alias or (item.name if isinstance(item, exp.Column) else "")
            if not name:
                raise self._invalid(f"give {text_of(item)} a name with AS")
            if isinstance(item, exp.Column):
                name = compiler.name_of(item)
            selected.append((name, value))
        return selected

    def _set_operation(self, node: exp.SetOperation, tables: Mapping[str, Relation]) -> Relation:
        left, right = self.query(node.this, tables), self.query(node.expression, tables)
        if len(left.columns) != len(right.columns):
            raise self._invalid("the queries of a UNION have different numbers of columns")
        columns: dict[str, ColumnType] = {}
        sides: tuple[list[str], list[str]] = ([], [])
        for (name, one), (other_name, other) in zip(
            left.columns.items(), right.columns.items(), strict=True
        ):
            kind = common_kind(one, other)
            assert kind != "null"
            columns[name] = kind
            for items, side_name, side in ((sides[0], name, one), (sides[1], other_name, other)):
                value = self._dialect.cast(self._dialect.ident(side_name), side, kind)
                items.append(f"{value} AS {self._dialect.ident(name)}")
        word = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}[type(node)]
        if not node.args.get("distinct"):
            if word != "UNION":
                raise Unportable(f"{word} ALL")
            word = "UNION ALL"
        query = (
            f"SELECT {', '.join(sides[0])} FROM ({left.sql}) AS one {word} "
            f"SELECT {', '.join(sides[1])} FROM ({right.sql}) AS other"
        )
        return Relation(self._ordered(query, node, columns), columns)

    def _invalid(self, what: str) -> StageFailure:
        return StageFailure("ExpressionInvalid", f"{self._where}: {what}")


def _is_column(sql: str) -> bool:
    return "(" not in sql and " " not in sql
