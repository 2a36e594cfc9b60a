"""SQL over many columns at once, as elements of an array: engines plan thousands of expressions
worse than linearly, and one over an array like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .dialect import Dialect

# Up to so many columns have an expression each.
FEW = 100


@dataclass(frozen=True)
class Same:
    """SQL of a value that other columns have as well: ``write`` gets the value and SQL of the
    column's ``own`` numbers. Those that are written alike are of one type."""

    value: str
    write: Callable[..., str]
    own: tuple[float, ...] = ()

    def sql(self, dialect: Dialect) -> str:
        """For this column alone."""
        return self.write(self.value, *map(dialect.double, self.own))


def select(
    dialect: Dialect,
    columns: Mapping[str, str | Same],
    more: Sequence[str],
    source: str,
    where: str = "",
) -> str:
    """SELECT of these columns, by name, and of some as they are, from a view."""
    items = {n: v.sql(dialect) if isinstance(v, Same) else v for n, v in columns.items()}
    arrays, numbers = [], []
    for number, same in enumerate(_alike(columns)):
        first = next(iter(same.values()))
        own = [f"trainingjob_own_{number}_{place}" for place in range(len(first.own))]
        numbers += [
            f"{dialect.doubles([one.own[place] for one in same.values()])} AS {name}"
            for place, name in enumerate(own)
        ]
        array, result = dialect.array([one.value for one in same.values()]), f"trainingjob_{number}"
        arrays.append(f"{dialect.each(array, first.write, own)} AS {result}")
        items.update({name: dialect.item(result, place) for place, name in enumerate(same)})
    if numbers:
        source = f"(SELECT *, {', '.join(numbers)} FROM {source}) AS o"
    if arrays:
        source = f"(SELECT *, {', '.join(arrays)} FROM {source}{_where(where)}) AS m"
        where = ""
    selected = [f"{value} AS {dialect.ident(name)}" for name, value in items.items()]
    return f"SELECT {', '.join([*selected, *more])} FROM {source}{_where(where)}"


def _alike(columns: Mapping[str, str | Same]) -> list[dict[str, Same]]:
    """The columns that are written alike, where they are many."""
    if len(columns) <= FEW:
        return []
    found: dict[str, dict[str, Same]] = {}
    for name, value in columns.items():
        if isinstance(value, Same):
            own = [f"p{place}" for place in range(len(value.own))]
            found.setdefault(value.write("v", *own), {})[name] = value
    return [same for same in found.values() if len(same) > FEW]


def melt(dialect: Dialect, columns: Sequence[str], source: str, also: Sequence[str] = ()) -> str:
    """A query for (i, v, …): the value v of the i-th of columns of one type, in every row."""
    beside = "".join(f", {name}" for name in also)
    array = dialect.array(columns)
    return dialect.unnested(
        f"(SELECT {array} AS l{beside} FROM {source}) AS a", len(columns), beside
    )


def _where(condition: str) -> str:
    return f" WHERE {condition}" if condition else ""
