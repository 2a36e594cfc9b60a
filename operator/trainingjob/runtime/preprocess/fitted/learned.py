"""Steps of which the manifest stores all that they need; ``KINDS`` says how each is applied.

The same values as the engines give: tests compare with what these have written, and with
scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.features import Clip, HashEncode, HashText, Tfidf
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import Drop, FillNa, Rename, Select

from .. import apply
from ..steps.categories import text_of
from ..steps.texts import HASHED_VALUES, HASHED_WORDS
from .columns import ARROW, Applied, Columns, doubles, of_doubles, places, value_of, whole

Kinds = Mapping[str, ColumnType]
Fitted = Mapping[str, Any]


def _each(
    made: Mapping[str, tuple[ColumnType, Callable[[pa.Array], pa.Array]]],
) -> Applied:
    """Columns that are made anew, each of itself."""

    def run(columns: Columns, wanted: Sequence[str]) -> Columns:
        return {name: made[name][1](columns[name]) for name in wanted}

    return Applied(
        {name: kind for name, (kind, _) in made.items()}, {name: (name,) for name in made}, run=run
    )


def _instead(
    name: str,
    names: Sequence[str],
    kind: ColumnType,
    values: Callable[[pa.Array], Callable[[int], pa.Array]],
    *,
    keeps: bool = False,
) -> Applied:
    """Columns in place of one: of its values a function that gives the i-th of them."""
    at = {made: place for place, made in enumerate(names)}

    def run(columns: Columns, wanted: Sequence[str]) -> Columns:
        item = values(columns[name])
        return {made: item(at[made]) for made in wanted}

    drops = frozenset() if keeps else frozenset({name} - set(names))
    return Applied(dict.fromkeys(names, kind), dict.fromkeys(names, (name,)), drops, run)


def _together(parts: Sequence[Applied]) -> Applied:
    """Of several columns, one beside the other."""
    owner = {name: part for part in parts for name in part.made}

    def run(columns: Columns, wanted: Sequence[str]) -> Columns:
        found: Columns = {}
        for part in parts:
            own = [name for name in wanted if owner[name] is part]
            if own:
                found |= part.run(columns, own)
        return found

    return Applied(
        {name: kind for part in parts for name, kind in part.made.items()},
        {name: its for part in parts for name, its in part.of.items()},
        frozenset().union(*(part.drops for part in parts)),
        run,
    )


# --- which columns there are ------------------------------------------------------------------


def _select(spec: Select, fitted: Fitted, kinds: Kinds) -> Applied:
    return Applied(drops=frozenset(kinds) - frozenset(spec.columns or ()))


def _drop(spec: Drop, fitted: Fitted, kinds: Kinds) -> Applied:
    return Applied(drops=frozenset(spec.columns or ()))


def _rename(spec: Rename, fitted: Fitted, kinds: Kinds) -> Applied:
    old = {new: name for name, new in spec.columns.items()}
    return Applied(
        {new: kinds[name] for new, name in old.items()},
        {new: (name,) for new, name in old.items()},
        frozenset(spec.columns),
        lambda columns, wanted: {new: columns[old[new]] for new in wanted},
    )


# --- numbers ----------------------------------------------------------------------------------


def _fillna(spec: FillNa, fitted: Fitted, kinds: Kinds) -> Applied:
    def made(name: str, value: Any) -> tuple[ColumnType, Callable[[pa.Array], pa.Array]]:
        kind: ColumnType = "double" if spec.strategy in ("mean", "median") else kinds[name]
        own = int(value) if kind == "bigint" else value_of(value, kind)
        return kind, partial(_filled, kind=kind, value=pa.array([own], ARROW[kind])[0])

    return _each({name: made(name, value) for name, value in fitted["values"].items()})


def _filled(column: pa.Array, kind: ColumnType, value: pa.Scalar) -> pa.Array:
    if column.type != ARROW[kind]:
        column = column.cast(ARROW[kind], safe=False)
    return column.fill_null(value) if column.null_count else column


def _missing_indicator(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    return _together(
        [
            _instead(
                name,
                [f"{name}_missing"],
                "bigint",
                lambda column: lambda _: whole(np.asarray(column.is_null())),
                keeps=True,
            )
            for name in fitted["columns"]
        ]
    )


def _scale(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    def scaled(column: pa.Array, offset: float, divisor: float) -> pa.Array:
        x = doubles(column)
        if divisor == 0:
            return of_doubles(np.where(np.isnan(x), x, 0.0))
        with np.errstate(over="ignore"):
            return of_doubles((x - offset) / divisor)

    return _each(
        {
            name: ("double", partial(scaled, offset=its["offset"], divisor=its["divisor"]))
            for name, its in fitted.get("columns", {}).items()
        }
    )


def _clip(spec: Clip, fitted: Fitted, kinds: Kinds) -> Applied:
    def made(
        name: str, its: Mapping[str, float]
    ) -> tuple[ColumnType, Callable[[pa.Array], pa.Array]]:
        ends = [*its.values()]
        exact = all(float(end).is_integer() and abs(end) < 2**53 for end in ends)
        low, high = its.get("min"), its.get("max")
        if kinds[name] == "bigint" and exact:
            least = None if low is None else int(low)
            most = None if high is None else int(high)
            return "bigint", partial(_clipped_whole, least=least, most=most)
        return "double", lambda column: of_doubles(np.clip(doubles(column), low, high))

    return _each({name: made(name, its) for name, its in fitted["columns"].items()})


def _clipped_whole(column: pa.Array, least: int | None, most: int | None) -> pa.Array:
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    mask = np.asarray(column.is_null()) if column.null_count else None
    return pa.array(np.clip(values, least, most), mask=mask)


def _log1p(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    def log(column: pa.Array) -> pa.Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return of_doubles(np.log1p(doubles(column)))

    return _each(dict.fromkeys(fitted["columns"], ("double", log)))


def _bins(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    return _each(
        {
            name: ("bigint", partial(_of_double, apply.bin_of, its))
            for name, its in fitted["borders"].items()
        }
    )


def _quantile(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    return _each(
        {
            name: ("double", partial(_of_double, apply.rank, its))
            for name, its in fitted["quantiles"].items()
        }
    )


def _of_double(
    function: Callable[[pa.Array, Sequence[float]], pa.Array],
    stored: Sequence[float],
    column: pa.Array,
) -> pa.Array:
    return function(column.cast(pa.float64(), safe=False), stored)


# --- categories -------------------------------------------------------------------------------


def _encode_labels(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    def encoded(column: pa.Array, known: Mapping[Any, int]) -> pa.Array:
        found = places(column, known)
        return pa.array(found, mask=found == -2)

    return _each(
        {
            name: ("bigint", partial(encoded, known=_numbered(values)))
            for name, values in fitted["categories"].items()
        }
    )


def _one_hot(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    def encoded(column: pa.Array, known: Mapping[Any, int]) -> Callable[[int], pa.Array]:
        found = places(column, known)
        return lambda place: whole(found == place)

    return _together(
        [
            _instead(
                name,
                [f"{name}_{text_of(value)}" for value in values],
                "bigint",
                partial(encoded, known=_numbered(values)),
            )
            if values
            else Applied(drops=frozenset({name}))
            for name, values in fitted["categories"].items()
        ]
    )


def _group_rare(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    other = spec.other or "other"

    def grouped(column: pa.Array, kept: set[str]) -> pa.Array:
        texts = column.to_pylist()
        return pa.array([t if t is None or t in kept else other for t in texts], pa.string())

    return _each(
        {
            name: ("string", partial(grouped, kept=set(kept)))
            for name, kept in fitted["kept"].items()
        }
    )


def _target_encode(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    def encoded(
        column: pa.Array, known: Mapping[Any, int], codes: np.ndarray[Any, Any]
    ) -> Callable[[int], pa.Array]:
        found = codes[places(column, known)]
        return lambda place: pa.array(np.ascontiguousarray(found[:, place]))

    parts = []
    for name, its in fitted["columns"].items():
        # Behind those of the values: the codes of null (-2) and of what is not known (-1).
        codes = np.array([*its["codes"], its["null"], its["other"]], dtype=np.float64)
        endings = its.get("endings") or [""]
        names = [f"{name}_{ending}" if ending else name for ending in endings]
        if len(names) != codes.shape[1]:
            raise ValueError(f"the names of what {name} becomes are not stored")
        known = _numbered(its["values"])
        parts.append(_instead(name, names, "double", partial(encoded, known=known, codes=codes)))
    return _together(parts)


def _numbered(values: Sequence[Any]) -> dict[Any, int]:
    return {value: place for place, value in enumerate(values)}


# --- texts ------------------------------------------------------------------------------------


def _widened(
    function: Callable[[pa.Array], pa.Array], size: int
) -> Callable[[pa.Array], Callable[[int], pa.Array]]:
    def values(column: pa.Array) -> Callable[[int], pa.Array]:
        lists = function(column)
        matrix = lists.values.to_numpy(zero_copy_only=False).reshape(len(column), size)
        return lambda place: pa.array(np.ascontiguousarray(matrix[:, place]))

    return values


def _hash_text(spec: HashText, fitted: Fitted, kinds: Kinds) -> Applied:
    size = spec.features or HASHED_WORDS
    values = _widened(partial(apply.hashed_words, size=size), size)
    return _together(
        [
            _instead(name, [f"{name}_{place}" for place in range(size)], "double", values)
            for name in dict.fromkeys(spec.columns)
        ]
    )


def _hash_encode(spec: HashEncode, fitted: Fitted, kinds: Kinds) -> Applied | None:
    if any(kinds[name] != "string" for name in spec.columns):
        return None  # of what is no text a dialect makes some
    size = spec.features or HASHED_VALUES
    values = _widened(partial(apply.hashed_value, size=size), size)
    return _together(
        [
            _instead(name, [f"{name}_{place}" for place in range(size)], "double", values)
            for name in dict.fromkeys(spec.columns)
        ]
    )


def _tfidf(spec: Tfidf, fitted: Fitted, kinds: Kinds) -> Applied:
    parts = []
    for name, weights in fitted["weights"].items():
        function = partial(
            apply.weighted_words, places=_numbered([*weights]), weights=[*weights.values()]
        )
        names = [f"{name}_{word}" for word in weights]
        parts.append(_instead(name, names, "double", _widened(function, len(names))))
    return _together(parts)


def _nothing(spec: Any, fitted: Fitted, kinds: Kinds) -> Applied:
    """Every row that is sent gets an answer, also one that training would have left out."""
    return Applied()


# By the field of ``Step``; None, and what is not here: as ``sql.py`` has it.
KINDS: dict[str, Callable[[Any, Fitted, Kinds], Applied | None]] = {
    "drop_duplicates": _nothing,
    "dropna": _nothing,
    "filter": _nothing,
    "select": _select,
    "drop": _drop,
    "rename": _rename,
    "fillna": _fillna,
    "missing_indicator": _missing_indicator,
    "scale": _scale,
    "clip": _clip,
    "log1p": _log1p,
    "bin": _bins,
    "quantile": _quantile,
    "encode_labels": _encode_labels,
    "one_hot": _one_hot,
    "group_rare": _group_rare,
    "target_encode": _target_encode,
    "hash_text": _hash_text,
    "hash_encode": _hash_encode,
    "tfidf": _tfidf,
}
