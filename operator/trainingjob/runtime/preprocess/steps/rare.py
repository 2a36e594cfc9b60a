"""groupRare: categories that few training rows have become one."""

from __future__ import annotations

import math

from trainingjob.api.v1alpha1.features import GroupRare
from trainingjob.api.v1alpha1.input import ColumnType

from ..account import Tally
from ..engines.frame import Frame
from . import chosen
from .step import Fitted, Where

_OTHER = "other"
# They are listed in the dataset's manifest.
_MOST_KEPT = 100_000


def group_rare(spec: GroupRare, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: a category that is not one of those kept becomes ``other``; null stays."""
    names = chosen.texts(frame, where, spec.columns)
    other = where.dialect.text(spec.other or _OTHER)
    source = f"{frame.view} AS data"
    kept: dict[str, list[str]] = {}
    changed: dict[str, tuple[str, ColumnType]] = {}
    tallies = []
    for index, name in enumerate(names):
        kept[name] = sorted(_kept(spec, name, frame, where))
        table = where.engine.table(
            {f"kept{index}": "string"}, [(category,) for category in kept[name]]
        )
        column = f"data.{where.dialect.ident(name)}"
        source += f" LEFT JOIN {table} ON {column} = {table}.kept{index}"
        rare = f"{column} IS NOT NULL AND {table}.kept{index} IS NULL"
        changed[name] = (f"CASE WHEN {rare} THEN {other} ELSE {column} END", "string")
        column = where.dialect.ident(name)
        tallies.append(
            Tally(
                name,
                f"{column} IS NOT NULL",
                f"{column} = {other}",
                "",
                "null",
                became=f"are {spec.other or _OTHER} now",
                when_all="warn",
                when_some="tell",
                reason="CategoriesUnseen",
                remedy="no category is frequent enough: keep more of them, or drop the column",
            )
        )
    same = {n: (f"data.{quoted}", kind) for n, (quoted, kind) in where.unchanged(frame).items()}
    made = where.project(frame, {**same, **changed}, source=source)
    where.watch(made, tallies)
    return made, {"kept": kept}


def _kept(spec: GroupRare, name: str, frame: Frame, where: Where) -> list[str]:
    """The categories that stay, by their counts in the training split; of equals, the least."""
    column = where.dialect.ident(name)
    source = f"FROM {frame.view} WHERE {where.train} AND {column} IS NOT NULL"
    least = spec.min_count or 1
    if spec.min_share is not None:
        ((rows,),) = where.engine.rows(f"SELECT count(*) {source}")
        # As value_counts(normalize=True) >= share would have it.
        least = max(1, math.ceil(spec.min_share * rows))
        least -= least > 1 and (least - 1) / rows >= spec.min_share
    limit = spec.keep or _MOST_KEPT + 1
    found = where.engine.rows(
        f"SELECT {column} AS category, count(*) AS times {source} GROUP BY {column} "
        f"HAVING count(*) >= {least} ORDER BY times DESC, category LIMIT {limit}"
    )
    if len(found) > _MOST_KEPT:
        raise where.failure(
            f"column {name} keeps more than {_MOST_KEPT} categories: raise minCount or minShare, "
            "or set keep"
        )
    return [category for category, _ in found]
