"""A manifest checked as the API server checks it, and what is wrong in words for people.

``check_manifest`` takes whatever YAML can hold and never raises. It refuses what a server with
the generated CRD refuses (unknown fields included: `kubectl apply` asks for that), and what the
operator refuses by its size; like the server it drops explicit nulls, takes 2.0 for an integer and
ignores status.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import hints, uris
from .lists import duplicates
from .paths import Path, field_path, plain_number, shown
from .size import excess
from .v1alpha1 import TrainingJob
from .v1alpha1.features import UNIT
from .v1alpha1.patterns import (
    BALANCED,
    CONFIG_MAP_KEY,
    DATE_FORMAT,
    DELIMITER,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    ENV_NAME,
    FILE_PATH,
    HADOOP_USER,
    IMAGE,
    INPUT_URI,
    JOB_NAME,
    LABEL_KEY,
    LABEL_VALUE,
    MANAGER,
    METRIC,
    MOUNT_PATH,
    NO_LINE_END,
    NO_NUL,
    ONE_CHARACTER,
    PACKAGE,
    PRINCIPAL,
    QUANTITY,
    SHA256,
    SUB_PATH,
    TABLE,
    TIME_ZONE,
    TRAIN_FIELD,
    URI,
)
from .walk import child_type, fields_of, is_model, members, plain_type

MAX_DEPTH = 64
MAX_SIZE = 1_500_000  # what etcd takes in one object, in bytes
_INT64 = 2**63 - 1  # Kubernetes reads whole numbers as int64


@dataclass(frozen=True)
class Problem:
    """One fault: where (``spec.preprocess.steps[2].fillna``), and what about it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def check_manifest(obj: object) -> tuple[TrainingJob | None, list[Problem]]:
    """The job, or None and at least one problem. Never raises."""
    found = list(_not_json(obj))
    if found:
        return None, found
    if isinstance(obj, dict):  # status is the operator's: the server ignores what users write
        obj = {key: value for key, value in obj.items() if key != "status"}
    obj = _as_stored(obj, TrainingJob)
    try:
        job = TrainingJob.model_validate(obj, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, problems(error)
    found = [Problem(field_path(at), message) for at, message in duplicates(obj, TrainingJob)]
    if not found and (more := excess(job.spec)) is not None:
        found = [Problem(more.field, more.message)]
    return (None, found) if found else (job, [])


def problems(error: ValidationError, model: type[BaseModel] = TrainingJob) -> list[Problem]:
    """The faults of an object of class ``model``, one per field, in the order of the fields."""
    by_field: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_field.setdefault(_locate(model, detail), []).append(detail)
    return [Problem(field_path(path), _message(model, path, d)) for path, d in by_field.items()]


# --- where: pydantic's locations, less what it adds for unions and keys -----------------------


def _type_at(kind: Any, path: Path) -> Any:
    for part in path:
        kind = child_type(kind, part)
    return plain_type(kind)


def _locate(model: type[BaseModel], detail: ErrorDetails) -> Path:
    kind: Any = model
    for depth, part in enumerate(detail["loc"]):
        kind = child_type(kind, part)
        if kind is None:  # a member of a union, "[key]", or a field that does not exist
            return detail["loc"][: depth + (detail["type"] in ("extra_forbidden", "invalid_key"))]
    return detail["loc"]


# --- what: one message for all that pydantic says about a field --------------------------------

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}

# What the patterns of the API ask for; a test sees to it that none is missing.
PATTERNS = {
    BALANCED: "`balanced`, or a weight by class",
    DNS_LABEL: "lower-case letters, digits and '-', with a letter or digit at both ends",
    DNS_SUBDOMAIN: "lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    JOB_NAME: "lower-case letters, digits and '-', beginning with a letter "
    "and ending with a letter or digit",
    SHA256: "`sha256:` and 64 digits from 0 to f",
    QUANTITY: 'a quantity such as 2, "500m" or "4Gi"',
    MANAGER: "a domain, a slash and a name, such as `kueue.x-k8s.io/multikueue`",
    LABEL_KEY: "the name of a label: at most 63 letters, digits, '-', '_' and '.', "
    "maybe after a domain and '/'",
    LABEL_VALUE: "the value of a label: letters, digits, '-', '_' and '.', "
    "with a letter or digit at both ends",
    IMAGE: "an image name in ASCII without spaces",
    URI: f"{uris.listed('or')}, without spaces",
    HADOOP_USER: "letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'",
    PRINCIPAL: "a principal such as trainer@EXAMPLE.COM or trainer/host@EXAMPLE.COM",
    TABLE: "lower-case letters, digits and '_', beginning with a letter",
    MOUNT_PATH: "an absolute path without spaces, ':' and '//', and not '/' alone",
    FILE_PATH: "a relative path such as train.py or lib/data.py, of letters, digits and '_-.+@='",
    PACKAGE: "a package as in requirements.txt, such as keras==3.15.1",
    METRIC: "letters, digits and '_.:@/%+-', beginning with a letter, digit or '_'",
    SUB_PATH: "a path that does not begin with '/'",
    NO_NUL: "text without NUL characters",
    INPUT_URI: uris.listed("or"),
    ONE_CHARACTER: "a character that does not end a line",
    NO_LINE_END: "a character that does not end a line, or empty",
    DELIMITER: "a character that does not end a line, up to four signs such as '::', or "
    'whitespace; a tab is "\\t", in double quotes',
    DATE_FORMAT: "of the letters yyyy yy MM M MMM MMMM dd d HH H hh h mm m ss s S a XXX, signs "
    "between them, and other text in '…', such as dd/MM/yyyy",
    TRAIN_FIELD: "the path of a field below train, such as `optimizer.adam.learningRate` or "
    "`model.mlp.hidden[0]`",
    TIME_ZONE: "the name of a zone, such as Europe/Berlin",
    ENV_NAME: "letters, digits, '_', '-' and '.', beginning with a letter or '_'",
    CONFIG_MAP_KEY: "letters, digits, '-', '_' and '.', not beginning with '..'",
    UNIT: "text without digits, signs, parentheses, '%', '.' and ','",
}


def _uri_words(pattern: str, given: object) -> str:
    """``; `` and what to do about a URI of another kind."""
    if pattern not in (URI, INPUT_URI) or not isinstance(given, str):
        return ""
    words = next((w for start, w in uris.INSTEAD.items() if given.startswith(start)), None)
    if words is None and given.startswith("/"):
        words = f"write {uris.FILE.start}{given[:100]}, on one machine"
    elif words is None and given.strip() and "://" not in given:
        words = f"a path alone is none: {uris.CLAIM.form}, where CLAIM may be a folder beside the "
        words += f"manifest, or {uris.FILE.form} from the root on, on one machine"
    elif words is None and given != given.strip():
        words = "remove the blanks around it"
    return f"; {words}" if words else ""


# What to do with formats that people bring and that we do not read.
_INSTEAD = {
    "avro": "; write it as parquet, or set format: raw and read the files in preprocess.script",
}

_MESSAGES: dict[str, Callable[[dict[str, Any], Any], str]] = {
    "missing": lambda ctx, got: "required field is missing",
    "greater_than": lambda ctx, got: f"must be greater than {ctx['gt']}, not {shown(got)}",
    "greater_than_equal": lambda ctx, got: (
        f"must be greater than or equal to {ctx['ge']}, not {shown(got)}"
    ),
    "less_than": lambda ctx, got: f"must be less than {ctx['lt']}, not {shown(got)}",
    "less_than_equal": lambda ctx, got: (
        f"must be less than or equal to {ctx['le']}, not {shown(got)}"
    ),
    "finite_number": lambda ctx, got: "must be a finite number",
    "string_too_short": lambda ctx, got: _at_least(ctx["min_length"], "character"),
    "string_too_long": lambda ctx, got: (
        f"must have at most {_count(ctx['max_length'], 'character')}"
    ),
    "too_short": lambda ctx, got: _at_least(ctx["min_length"], "item"),
    "too_long": lambda ctx, got: f"must have at most {_count(ctx['max_length'], 'item')}",
    "string_pattern_mismatch": lambda ctx, got: (
        f"must be {PATTERNS.get(ctx['pattern'], 'text that matches ' + ctx['pattern'])}"
        f"{_uri_words(ctx['pattern'], got)}"
    ),
    "string_unicode": lambda ctx, got: "must be valid Unicode text",
    "invalid_key": lambda ctx, got: "keys must be strings",
}


def _at_least(count: int, what: str) -> str:
    return "must not be empty" if count == 1 else f"must have at least {_count(count, what)}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _message(model: type[BaseModel], path: Path, details: list[ErrorDetails]) -> str:
    # A union complains once per member: what is wrong with the value says more than what
    # other type it might have had.
    detail = next((d for d in details if d["type"] not in _EXPECTED), details[0])
    kind, given = detail["type"], detail["input"]
    context = {name: plain_number(value) for name, value in (detail.get("ctx") or {}).items()}
    if kind in _EXPECTED:
        wanted = [_EXPECTED[d["type"]] for d in details if d["type"] in _EXPECTED]
        return _wrong_type(_type_at(model, path) if path else None, wanted, given)
    if kind == "extra_forbidden":
        there = _type_at(model, path[:-1])
        words = hints.of_field(model, path) or _did_you_mean(path[-1], list(fields_of(there)))
        return f"unknown field {shown(path[-1])}{words or hints.few_fields(there)}"
    if kind == "literal_error":
        options = get_args(_type_at(model, path))
        words = _not_one_of(options, given) if options else f"must be {context['expected']}"
        return words + _INSTEAD.get(str(given).lower(), "")
    if kind == "value_error":
        said = str(context.get("error", ""))
        # The one parser of ours that speaks Python: status.parse_time.
        if said.startswith("Invalid isoformat"):
            return "must be a time in RFC 3339"
        return said + hints.of_choice(said, given)
    if kind in _MESSAGES:
        return _MESSAGES[kind](context, given)
    return detail["msg"].replace("Input should", "must")


def _wrong_type(kind: Any, expected: list[str], given: object) -> str:
    wanted = [*dict.fromkeys(expected)]
    if "a number" in wanted and "an integer" in wanted:
        wanted.remove("an integer")
    *head, last = wanted
    words = f"{', '.join(head)} or {last}" if head else last
    return f"must be {words}, not {_kind(given)}{hints.of_type(kind, wanted, given)}"


def _kind(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _not_one_of(options: tuple[object, ...], given: object) -> str:
    quoted = [json.dumps(option) for option in options]
    words = quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}"
    got = shown(given) if isinstance(given, str | bool | int | float) else _kind(given)
    names = [str(option) for option in options]
    return f"must be {words}, not {got}" + (_did_you_mean(given, names) if names[1:] else "")


def _did_you_mean(given: object, known: list[str]) -> str:
    """People write batch_size and batchsize for batchSize."""
    if not isinstance(given, str):
        return ""
    by_letters = {name.replace("_", "").lower(): name for name in known}
    close = get_close_matches(given[:100].replace("_", "").lower(), by_letters, n=1)
    return f', did you mean "{by_letters[close[0]]}"?' if close else ""


# --- what the server does around the schema ----------------------------------------------------


def _as_stored(value: Any, kind: Any) -> Any:
    """As the server has it before it applies defaults: without the nulls of known fields and of
    maps, and with 2 where 2.0 stands for an integer."""
    kind = plain_type(kind)
    if is_model(kind) and kind.outlined:  # then what is in it is stored as it is
        return value
    if isinstance(value, dict):
        fields, is_map = fields_of(kind), get_origin(kind) is dict
        return {
            key: _as_stored(item, child_type(kind, key))
            for key, item in value.items()
            if not (item is None and (is_map or key in fields))
        }
    if isinstance(value, list):
        return [_as_stored(item, child_type(kind, 0)) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _INT64:
        return int(value) if int in {plain_type(member) for member in members(kind)} else value
    return value


def _not_json(obj: object) -> Iterator[Problem]:
    """What YAML can hold and JSON, hence the API server, cannot; then nothing else is checked."""
    left = MAX_SIZE
    stack: list[tuple[Path, object]] = [((), obj)]
    while stack:
        path, value = stack.pop()
        left -= 1 + (len(value) if isinstance(value, str) else 0)
        if left < 0:
            yield Problem(field_path(()), f"must not be larger than {MAX_SIZE} bytes")
            return
        if len(path) > MAX_DEPTH:
            yield Problem(field_path(path[:8]), "is nested too deeply")
            return
        if isinstance(value, dict):
            odd = {key: _not_text(key) for key in value if _not_text(key)}
            yield from (Problem(field_path(path), f"keys {words}") for words in odd.values())
            stack += [((*path, key), value[key]) for key in reversed(value) if key not in odd]
        elif isinstance(value, list):
            stack += [((*path, i), value[i]) for i in reversed(range(len(value)))]
        elif isinstance(value, str):
            if words := _not_text(value):
                yield Problem(field_path(path), words)
        elif isinstance(value, int | float):
            if not abs(value) <= sys.float_info.max:
                yield Problem(field_path(path), "must be a finite number")
        elif value is not None:
            yield Problem(field_path(path), f"must be a JSON value, not {_kind(value)}")


def _not_text(value: object) -> str:
    """What about a key or string cannot be sent; empty if nothing."""
    if not isinstance(value, str):
        return f"must be strings, not {_kind(value)}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair
        return "must be valid Unicode text"
    return ""
