"""The reference page, docs/reference.md, made from the models and the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from .crd import IMMUTABLE, INT_OR_STRING, PRESERVE, Schema, openapi_schema
from .errors import PATTERNS
from .v1alpha1 import API_VERSION, KIND, REASONS, FailureClass, Spec, Status
from .v1alpha1.preprocess import RESERVED_SPARK_CONF
from .walk import child_type, is_model, plain_type

# What becomes of a stage that failed with a reason of this class.
RETRIED: dict[FailureClass, str] = {
    "configuration": "never",
    "data": "never",
    "application": "up to `policy.retries.application` times",
    "outOfMemory": "up to `policy.retries.application` times",
    "infrastructure": "up to `policy.retries.infrastructure` times",
    "disruption": "always, without charge",
    "verdict": "never: it is an answer",
}

_INTRODUCTION = f"""\
<!-- Made by `python -m trainingjob.api.generate` from the models in operator/trainingjob/api. -->
# Reference

A `{KIND}` (`apiVersion: {API_VERSION}`, short name `tj`) has a `spec`, which you write, and a
`status`, which the operator writes. Below is every object of both in reading order. Fields in
**bold** are required. Unknown fields are refused. The API server and `trainingjob run` apply the
same bounds and rules. An object that is marked as *checked by the operator* `kubectl apply` takes
as it is; what is wrong in it is told in status (`InvalidSpec`), or before by `trainingjob
validate`.
"""


def reference() -> str:
    """The whole page, ending in a newline."""
    properties = openapi_schema()["properties"]
    blocks = [
        _INTRODUCTION,
        "## Spec",
        *_objects(Spec, properties["spec"]),
        _SPARK_CONF,
        "\n".join(f"- `{key}`" for key in RESERVED_SPARK_CONF),
        "## Status",
        *_objects(Status, properties["status"]),
        _REASONS,
        "\n".join(_reasons()),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _objects(root: type[BaseModel], schema: Schema) -> Iterator[str]:
    """A section for each object below a field, each class once, in the order of the fields."""
    seen: set[type[BaseModel]] = set()

    def visit(model: type[BaseModel], node: Schema) -> Iterator[str]:
        if model in seen:
            return
        seen.add(model)
        yield _section(model, node)
        for name, child in node["properties"].items():
            kind = plain_type(child_type(model, name))
            while get_origin(kind) is list:
                kind, child = plain_type(child_type(kind, 0)), child["items"]
            if is_model(kind):
                yield from visit(kind, child)

    return visit(root, schema)


def _section(model: type[BaseModel], node: Schema) -> str:
    marked = " *Checked by the operator.*" if getattr(model, "outlined", False) else ""
    lines = [f"### {model.__name__}\n", " ".join((model.__doc__ or "").split()) + marked, ""]
    lines += ["| Field | Type | Default | Bounds | Description |", "|---|---|---|---|---|"]
    required = node.get("required", ())
    for name, child in node["properties"].items():
        cells = (
            f"**`{name}`**" if name in required else f"`{name}`",
            _type(child_type(model, name), child),
            _default(child),
            _bounds(child),
            child["description"],
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    rules = getattr(model, "rules", ())
    if rules:
        lines += ["", "Rules:", "", *(f"- {rule.message}." for rule in rules)]
    if fixed := [f"`{to_camel(field)}`" for field in getattr(model, "immutable", ())]:
        lines += ["", f"{', '.join(fixed[:-1])} and {fixed[-1]} {IMMUTABLE}."]
    if free := [f"`{to_camel(field)}`" for field in getattr(model, "resumable", ())]:
        lines += ["", f"While `spec.suspend` is true, {' and '.join(free)} can change."]
    return "\n".join(lines)


def _default(node: Schema) -> str:
    if "default" not in node:
        return ""
    if "properties" in node:
        return "its fields' defaults"
    return f"`{json.dumps(node['default'], ensure_ascii=False)}`"


def _type(kind: Any, node: Schema) -> str:
    kind = plain_type(kind)
    if is_model(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if get_origin(kind) is list:
        each = _type(child_type(kind, 0), node["items"])
        return f"list of {each}{'s' if each.isalpha() else ''}"
    if get_origin(kind) is dict:
        entry = node.get("additionalProperties")
        return f"map of strings to {_type(child_type(kind, ''), entry)}" if entry else "object"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{json.dumps(option)}`" for option in get_args(kind))
    if INT_OR_STRING in node:
        return "quantity"
    if PRESERVE in node:
        return "number, string or boolean"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _bounds(node: Schema) -> str:
    """Bounds in words: `1 to 64 items; each 1 to 253 characters`."""
    words = []
    if "minimum" in node or "maximum" in node:
        words.append(_number_range(node))
    for noun, low, high in (
        ("characters", "minLength", "maxLength"),
        ("items", "minItems", "maxItems"),
        ("entries", "minProperties", "maxProperties"),
    ):
        if PRESERVE in node and noun != "characters":
            continue
        if node.get(low) == node.get(high) and low in node:
            words.append(f"{node[low]} {noun if node[low] != 1 else noun.rstrip('s')}")
        elif low in node:
            words.append(f"{node[low]} to {node[high]} {noun}")
        elif high in node:
            words.append(f"at most {node[high]} {noun}")
    if "pattern" in node:
        words.append(PATTERNS[node["pattern"]])
    for inner in (node.get("items"), node.get("additionalProperties")):
        if inner and "properties" not in inner and (each := _bounds(inner)):
            words.append(f"each {each}")
    if "x-kubernetes-list-map-keys" in node:
        words.append(f"`{node['x-kubernetes-list-map-keys'][0]}` must differ")
    elif node.get("x-kubernetes-list-type") == "set":
        words.append("items must differ")
    return "; ".join(words)


def _number_range(node: Schema) -> str:
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if "minimum" in node and "maximum" in node and not above and not below:
        return f"{node['minimum']} to {node['maximum']}"
    parts = []
    if "minimum" in node:
        parts.append(f"{'above' if above else 'at least'} {node['minimum']}")
    if "maximum" in node:
        parts.append(f"{'below' if below else 'at most'} {node['maximum']}")
    return ", ".join(parts)


_SPARK_CONF = """\
### Reserved sparkConf keys

The operator sets these itself, so that Spark finds its driver, keeps to the pods it was given and
encrypts its traffic. `sparkConf` is refused if one of its keys begins with one of them:
"""

_REASONS = """\
## Reasons

Why a job failed, in `status.reason`, `status.lastFailure.reason` and `status.stages[].reason`.
What keeps pods from starting is told there at once, and fails the stage after the time under
"Waits"; what may pass by itself only when `policy.startupDeadlineSeconds` are over.
"""


def _reasons() -> Iterator[str]:
    yield "| Reason | Class | Retried | Waits | What to do |"
    yield "|---|---|---|---|---|"
    for name, reason in REASONS.items():
        retried = RETRIED[reason.failure_class]
        remedy = reason.remedy.replace("|", "\\|")
        waits = f"{reason.grace_seconds} s" if reason.grace_seconds else ""
        yield f"| `{name}` | {reason.failure_class} | {retried} | {waits} | {remedy} |"
