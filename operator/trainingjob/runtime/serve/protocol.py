"""Requests and answers of the Open Inference Protocol, version 2, over HTTP.

https://github.com/open-inference/open-inference-protocol: one tensor [n] or [n, 1] for each raw
column, by its name. Beyond the protocol, ``null`` among the data is a null of the column.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Never

import numpy as np
import pyarrow as pa
from pydantic_core import from_json, to_json

from trainingjob.api.v1alpha1.input import ColumnType

from ..base.text import cut, listed
from ..preprocess.fitted.columns import ARROW, Columns
from . import pieces
from .served import Answers, Served

PREDICTION, PROBABILITIES = "prediction", "probabilities"
_WHOLE = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_REAL = {"FP16", "FP32", "FP64", "BF16"}
# The datatypes that a column takes, the first one being how the model's metadata call it.
DATATYPES: dict[ColumnType, tuple[str, ...]] = {
    "bigint": ("INT64", *sorted((_WHOLE | _REAL) - {"INT64"})),
    "double": ("FP64", *sorted((_WHOLE | _REAL) - {"FP64"})),
    "boolean": ("BOOL",),
    "string": ("BYTES",),
    "date": ("BYTES",),
    "timestamp": ("BYTES",),
}
_SHOWN = 60
# How JSON writes half of a character beyond 16 bits; without the other half it is none.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Numbers that the model gives for a request, whatever is asked for of them; the widest one is
# written in so many bytes.
MOST_OUTPUTS = 2**20
OUTPUT_BYTES = 26
# So many values are written at a time: while they are, no other thread runs.
PIECE = 4096
# A body of more bytes is read in pieces, for the same reason.
LARGE_BODY = 256 * 2**10
# Values of a list in such a body, or as many as the request may have rows.
_MOST_VALUES = 16_384


class BadRequest(Exception):
    """What is wrong with a request, in words."""


@dataclass(frozen=True)
class Request:
    """``outputs``: the names of those that are asked for, in order."""

    id: str | None
    columns: Columns
    rows: int
    outputs: Sequence[str]


def read(body: bytes, served: Served, most_rows: int) -> Request:
    """Raises BadRequest. No request has more than ``most_rows``, nor than fit in an answer."""
    most_rows = min(most_rows, MOST_OUTPUTS // outputs_of_row(served))
    most_values = max(_MOST_VALUES, most_rows, len(served.inputs) + len(served.ignored))
    value = _json(body, most_values)
    asked = _object(value, "the request", ("id", "parameters", "inputs", "outputs"))
    id_ = asked.get("id")
    if id_ is not None and not (isinstance(id_, str) and len(id_) <= 256):
        raise BadRequest("id must be text of at most 256 characters")
    given = _list(asked.get("inputs"), "inputs")
    if not given:
        raise BadRequest(f"inputs is empty: send {listed([*served.inputs])}")
    columns: Columns = {}
    rows: int | None = None
    for place, tensor in enumerate(given):
        where = f"inputs[{place}]"
        one = _object(tensor, where, ("name", "shape", "datatype", "parameters", "data"))
        name = one.get("name")
        if not isinstance(name, str):
            raise BadRequest(f"{where} has no name")
        if name not in served.inputs and name not in served.ignored:
            raise BadRequest(f"{where}: {_unknown(name, served)}")
        if name in columns:
            raise BadRequest(f"{where}: there is a tensor {name} before it")
        where = f"input {_short(name)}"
        count = _rows(one.get("shape"), where, most_rows)
        if rows is not None and count != rows:
            raise BadRequest(f"{where} has {count} rows, and the inputs before it have {rows}")
        rows = count
        if name in served.inputs:
            columns[name] = _column(one, served.inputs[name], count, where)
    missing = [name for name in served.inputs if name not in columns]
    if missing:
        raise BadRequest(f"inputs lacks {listed(missing)}: the model is made of {_all(served)}")
    return Request(id_, columns, rows or 0, _outputs(asked.get("outputs"), served))


def _json(body: bytes, most_values: int) -> Any:
    if len(body) <= LARGE_BODY:
        try:
            # In a quarter of the time; of what it refuses json says what is wrong.
            return from_json(body, allow_inf_nan=False)
        except ValueError:
            pass
    try:
        text = body.decode()
        if len(body) > LARGE_BODY:
            value = pieces.loads(text, most_values, _constant)
        else:
            value = json.loads(text, parse_constant=_constant)
        if _SURROGATE.search(text):
            for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
                piece.encode()
        return value
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from error
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise BadRequest(
            f"the body has half of a character: {half} without the other one"
        ) from error
    except json.JSONDecodeError as error:
        words = f"{error.msg} (line {error.lineno}, column {error.colno})"
        raise BadRequest(f"the body is not JSON: {words}") from error
    except RecursionError as error:
        raise BadRequest("the body has too many brackets in each other") from error
    except pieces.TooLong as error:
        raise BadRequest(str(error)) from error
    except ValueError as error:  # a number with thousands of digits
        raise BadRequest(f"the body is not JSON: {cut(str(error), 100)}") from error


def _constant(name: str) -> Never:
    raise BadRequest(f"the body is not JSON: {name} is no number there; send null")


def _object(value: Any, where: str, fields: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} must be an object, not {_called(value)}")
    for name in value:
        if name not in fields:
            raise BadRequest(f"{where} has {_short(name)}, and may have {', '.join(fields)}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(f"{where} must be a list, not {_called(value)}")
    return value


def outputs_of_row(served: Served) -> int:
    """How many numbers the model gives for a row."""
    return 1 + len(served.classes or ())


def _rows(shape: Any, where: str, most: int) -> int:
    sizes = _list(shape, f"{where}: shape")
    if not all(type(size) is int for size in sizes) or sizes[1:] not in ([], [1]) or not sizes:
        raise BadRequest(f"{where}: shape must be [n] or [n, 1], not {_short(sizes)}")
    if not 1 <= sizes[0] <= most:
        raise BadRequest(f"{where}: shape {_short(sizes)}: a request has 1 to {most} rows")
    return int(sizes[0])


def _column(tensor: Mapping[str, Any], kind: ColumnType, rows: int, where: str) -> pa.Array:
    datatype = tensor.get("datatype")
    if datatype not in DATATYPES[kind]:
        raise BadRequest(
            f"{where} is a {kind}: its datatype must be {' or '.join(DATATYPES[kind][:1])}, "
            f"not {_short(datatype)}"
        )
    data = _list(tensor.get("data"), f"{where}: data")
    if data and isinstance(data[0], list):
        if not all(isinstance(row, list) and len(row) == 1 for row in data):
            raise BadRequest(f"{where}: data must be values, or lists of one value each")
        data = [row[0] for row in data]
    if len(data) != rows:
        raise BadRequest(f"{where}: shape says {rows} values, and data has {len(data)}")
    return column_of(data, kind, where)


def column_of(data: list[Any], kind: ColumnType, where: str) -> pa.Array:
    """Values of JSON as a column. Raises BadRequest, which begins with ``where``."""
    plain, converted, convert = _VALUES[kind]
    # By the types of all values at once, which seldom are more than two.
    types, allowed = set(map(type, data)), plain | converted
    if not types <= allowed:
        place, value = next((p, v) for p, v in enumerate(data) if type(v) not in allowed)
        raise BadRequest(f"{where}: data[{place}] is {_called(value)}, and no {kind}")
    try:
        column = pa.array(convert(data) if types & converted else data, type=ARROW[kind])
    except _BadValue as error:
        raise BadRequest(f"{where}: data[{error.place}] is {error.words}") from error
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise BadRequest(f"{where}: data has a value that is no {kind}") from error
    if kind == "double" and not np.isfinite(column.drop_null().to_numpy()).all():
        raise BadRequest(f"{where}: data has a number that is too large for a double")
    return column


class _BadValue(Exception):
    def __init__(self, place: int, words: str) -> None:
        super().__init__(words)
        self.place, self.words = place, words


def _each(convert: Callable[[Any], Any], words: str) -> Callable[[list[Any]], list[Any]]:
    def converted(data: list[Any]) -> list[Any]:
        found = []
        for place, value in enumerate(data):
            try:
                found.append(None if value is None else convert(value))
            except (ValueError, OverflowError) as error:
                raise _BadValue(place, f"{_short(value)}, and no {words}") from error
        return found

    return converted


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def _moment(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


_NONE = type(None)
# The types of values that Arrow takes for the column's, those that are converted first, and how.
_VALUES: dict[ColumnType, tuple[set[type], set[type], Callable[[list[Any]], list[Any]]]] = {
    "bigint": ({int, _NONE}, {float}, _each(_whole, "whole number")),
    "double": ({float, _NONE}, {int}, _each(float, "number of 64 bits")),
    "boolean": ({bool, _NONE}, set(), list),
    "string": ({str, _NONE}, set(), list),
    "date": ({_NONE}, {str}, _each(date.fromisoformat, "date as 2026-01-31")),
    "timestamp": ({_NONE}, {str}, _each(_moment, "moment as 2026-01-31T12:00:00")),
}


def _outputs(asked: Any, served: Served) -> list[str]:
    names = outputs_of(served)
    if asked is None:
        return names
    wanted = []
    for place, one in enumerate(_list(asked, "outputs")):
        name = _object(one, f"outputs[{place}]", ("name", "parameters")).get("name")
        if name not in names:
            known = " and ".join(names)
            raise BadRequest(f"outputs[{place}]: there is {known}, and no {_short(name)}")
        wanted.append(name)
    return list(dict.fromkeys(wanted)) or names


def outputs_of(served: Served) -> list[str]:
    """The names of what the model gives."""
    return [PREDICTION] if served.classes is None else [PREDICTION, PROBABILITIES]


def written(name: str, request: Request, answers: Answers, served: Served) -> bytes:
    """The answer to a request, as JSON."""
    told: dict[str, Any] = {"model_name": name, "model_version": served.version}
    if request.id is not None:
        told["id"] = request.id
    body = bytearray(_dumped(told)[:-1] + b',"outputs":[')
    for place, output in enumerate(request.outputs):
        head, values = _tensor(output, answers, served)
        body += (b"," if place else b"") + _dumped(head)[:-1] + b',"data":['
        for start in range(0, len(values), PIECE):
            some = values[start : start + PIECE]
            body += (b"," if start else b"") + _dumped(some.tolist())[1:-1]
        body += b"]}"
    return bytes(body + b"]}")


def _tensor(name: str, answers: Answers, served: Served) -> tuple[dict[str, Any], Any]:
    """What an output is called and how it looks, and its values as an array of numpy's."""
    if name == PROBABILITIES:
        assert answers.scores is not None
        shape, datatype, values = answers.scores.shape, "FP64", answers.scores.ravel()
    else:
        shape, datatype = answers.predicted.shape, datatype_of(served)
        values = np.array(values_of(answers, served), dtype=object)
    return {"name": name, "datatype": datatype, "shape": list(shape)}, values


def _dumped(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="constants")


def values_of(answers: Answers, served: Served) -> list[Any]:
    """What is predicted: classes as the label has them, or values."""
    found: list[Any] = answers.predicted.tolist()
    if served.classes is None:
        return found
    return [served.classes[place] for place in found]


def datatype_of(served: Served) -> str:
    """Of what is predicted."""
    kinds = {type(value) for value in served.classes or (0.0,)}
    names = {bool: "BOOL", int: "INT64", str: "BYTES"}
    return names.get(next(iter(kinds)), "FP64") if len(kinds) == 1 else "FP64"


def metadata(name: str, served: Served) -> dict[str, Any]:
    """Of the model: its inputs and outputs."""
    classes = served.classes
    outputs: list[dict[str, Any]] = [
        {"name": PREDICTION, "datatype": datatype_of(served), "shape": [-1]}
    ]
    if classes is not None:
        outputs.append(
            {
                "name": PROBABILITIES,
                "datatype": "FP64",
                "shape": [-1, len(classes)],
                "parameters": {"classes": [*classes]},
            }
        )
    return {
        "name": name,
        "versions": [served.version],
        "platform": "trainingjob.dev",
        "inputs": [
            {
                "name": column,
                "datatype": DATATYPES[kind][0],
                "shape": [-1],
                "parameters": {"type": kind},
            }
            for column, kind in served.inputs.items()
        ],
        "outputs": outputs,
    }


def _unknown(name: str, served: Served) -> str:
    near = difflib.get_close_matches(cut(name, 200), [*served.inputs], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no column {_short(name)}{hint} (columns: {_all(served)})"


def _all(served: Served) -> str:
    return listed([*served.inputs])


def _called(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", _NONE: "null"}
    return names.get(type(value), "a number")


def _short(value: Any) -> str:
    """As JSON, of which no more is written than is shown: it may be most of a body."""
    if isinstance(value, str):
        return cut(json.dumps(value[:_SHOWN]), _SHOWN)
    text = ""
    for piece in json.JSONEncoder().iterencode(value):
        text += cut(piece, _SHOWN)
        if len(text) > _SHOWN:
            break
    return cut(text, _SHOWN)
