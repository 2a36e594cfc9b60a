"""The CustomResourceDefinition, made from the models.

pydantic's JSON schema is turned into what Kubernetes calls a structural schema: no references,
no unions but int-or-string, every field with its description, its bounds and the default that
pydantic would give it, and the models' rules in CEL.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from .base import Model, Plain
from .lists import list_type
from .paths import plain_number
from .v1alpha1 import GROUP, KIND, PLURAL, VERSION, TrainingJob
from .v1alpha1.steps import FillNa
from .walk import child_type, is_model, plain_type

Schema = dict[str, Any]

RULES = "x-kubernetes-validations"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"

# Constraints that mean the same in pydantic's JSON schema and in Kubernetes'.
_KEPT = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
)

# What the server says of a field that is not what it was.
IMMUTABLE = "cannot change after creation: create another job, or delete this one first"

# CEL does not see fields without a type, as FillNa.value has none: here its rule is a schema.
AS_SCHEMA: dict[type[Model], Schema] = {
    FillNa: {
        "oneOf": [
            {"properties": {"strategy": {"enum": ["value"]}}, "required": ["value"]},
            {
                "properties": {"strategy": {"enum": ["mean", "median", "mode"]}},
                "required": ["strategy"],
                "not": {"required": ["value"]},
            },
        ]
    }
}


def crd() -> Schema:
    """The definition as `kubectl apply` takes it."""
    schema = openapi_schema()
    _settle_defaults(schema["properties"]["spec"])
    _shorten(schema, TrainingJob)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["tj"],
                "categories": ["all", "ml"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _printer_columns(),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def openapi_schema() -> Schema:
    """The structural schema of the whole object, with every default that pydantic gives."""
    tree = _Generator(by_alias=True).generate(TrainingJob.__pydantic_core_schema__)
    schema = _structural(tree, tree["$defs"], TrainingJob)
    properties = schema["properties"]
    # The server knows the group, the version and the kind. Of metadata it lets a schema
    # restrict the name, and not even describe the rest.
    for known in ("apiVersion", "kind"):
        del properties[known]["enum"]
    name = properties["metadata"]["properties"]["name"]
    properties["metadata"] = {"type": "object", "properties": {"name": name}}
    schema["required"] = ["spec"]
    return schema


def _settle_defaults(node: Schema, in_list: bool = False) -> None:
    """Tell defaults in descriptions, because `kubectl explain` shows them in no other way, and
    leave those of items of lists to whoever reads the object.

    `kubectl apply` and Argo CD compare lists as a whole: a default that the server puts into an
    item would be a difference for ever.
    """
    if "default" in node and "properties" not in node:
        told = json.dumps(plain_number(node["default"]), ensure_ascii=False)
        node["description"] += f" Default: {told}."
    if in_list:
        node.pop("default", None)
    for child in node.get("properties", {}).values():
        _settle_defaults(child, in_list)
    if "additionalProperties" in node:
        _settle_defaults(node["additionalProperties"], in_list)
    if "items" in node:
        _settle_defaults(node["items"], in_list=True)


def _shorten(
    node: Schema, kind: Any, path: str = "", described: dict[Any, str] | None = None
) -> None:
    """Say once what the definition would say several times, and only outline the largest objects.

    `kubectl apply` writes the whole of it into an annotation, and an object's annotations may have
    256 KiB. An object that several stages have is described where train has it, which no job is
    without; elsewhere the fields have no descriptions, and the object's own says where they are.
    ``described`` has the place by class; None below an object that was described before.
    """
    kind, top = plain_type(kind), path == ""
    described = {} if top else described
    if is_model(kind):
        if kind.outlined:
            fields = node.pop("properties")
            for key in ("required", RULES):
                node.pop(key, None)
            node |= {"maxProperties": len(fields), PRESERVE: True}
            return
        if described is not None and kind in described and len(kind.model_fields) > 1:
            node["description"] = f"{node['description']} Fields: see {described[kind]}."
            described = None
        elif described is not None:
            described.setdefault(kind, path)
        for name in sorted(node["properties"], key=lambda name: name != "train"):
            child = node["properties"][name]
            if described is None:
                child.pop("description", None)
            _shorten(child, child_type(kind, name), f"{path}.{name}".lstrip("."), described)
    for key, part in (("items", 0), ("additionalProperties", "")):
        if key in node:
            if described is None:
                node[key].pop("description", None)
            _shorten(node[key], child_type(kind, part), path, described)


_DEPLOYED = ".status.conditions[?(@.type=='Deployed')].reason"


def _printer_columns() -> list[Schema]:
    """What `kubectl get` shows, and from Reason on only with `-o wide`."""
    columns = [
        ("Phase", "string", ".status.phase", "A summary.", 0),
        ("Stage", "string", ".status.stages[?(@.phase=='Running')].name", "What runs.", 0),
        ("Progress", "integer", ".status.progress.percent", "Share done of it, in percent.", 0),
        ("Score", "number", ".status.evaluation.metrics[0].value", "The first metric.", 0),
        ("Age", "date", ".metadata.creationTimestamp", "Time since creation.", 0),
        ("Deployed", "string", _DEPLOYED, "Whether its model is served.", 1),
        ("Reason", "string", ".status.reason", "Why, in one word.", 1),
        ("Nodes", "integer", ".spec.train.nodes", "Training pods.", 1),
        ("Task", "string", ".spec.task.type", "The kind of task.", 1),
        ("Message", "string", ".status.message", "Why, and what to do.", 1),
    ]
    return [
        {"name": name, "type": kind, "jsonPath": path, "description": text}
        # The server drops a 0: `kubectl apply` would find a difference for ever.
        | ({"priority": priority} if priority else {})
        for name, kind, path, text, priority in columns
    ]


class _Generator(GenerateJsonSchema):
    """pydantic's generator, and with it the rules of models and the values of factories."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        node = super().model_schema(schema)
        model = schema["cls"]
        if model in AS_SCHEMA:
            node |= AS_SCHEMA[model]
            return node
        rules = getattr(model, "rules", ())
        if stated := [rule for rule in rules if rule.cel is not None]:
            node[RULES] = [{"rule": rule.cel, "message": rule.message} for rule in stated]
        if schemas := [rule.schema for rule in rules if rule.schema is not None]:
            node["allOf"] = schemas
        return node

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        value: Any = factory() if factory else super().get_default_value(schema)  # type: ignore[call-arg]
        return value.to_dict() if isinstance(value, Plain) else value


def _structural(node: Schema, definitions: dict[str, Schema], kind: Any) -> Schema:
    """The structural schema of a type, from its JSON schema."""
    node = _flat(node, definitions)
    result: Schema = {}
    if "description" in node:
        result["description"] = " ".join(node["description"].split())
    result |= {key: plain_number(node[key]) for key in _KEPT if key in node}
    if "const" in node:
        result["enum"] = [node["const"]]
    for side, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if side in node:
            result |= {bound: plain_number(node[side]), side: True}
    if node.get("default") is not None:
        result["default"] = node["default"]
    if members := node.get("anyOf"):
        result |= _union(members)
    result |= list_type(kind)
    if "items" in node:
        result["items"] = _structural(node["items"], definitions, child_type(kind, 0))
    entries = node.get("additionalProperties")
    if isinstance(entries, dict):
        result["additionalProperties"] = _structural(entries, definitions, child_type(kind, ""))
    elif entries is True:
        result[PRESERVE] = True
    if is_model(plain_type(kind)):
        result |= {key: node[key] for key in ("required", "oneOf", "allOf", RULES) if key in node}
        result["properties"] = {
            name: _structural(child, definitions, child_type(kind, name))
            for name, child in node["properties"].items()
        }
        _fix(result, plain_type(kind))
    return result


def _fix(node: Schema, model: Any) -> None:
    """Transition rules for fields of an object: they stay as they are, there or not."""
    for field in model.immutable:
        name = to_camel(field)
        inner = plain_type(child_type(model, name))
        free = [to_camel(part) for part in getattr(inner, "resumable", ())]
        optional = name not in node.get("required", ())
        child, rules = node["properties"][name], []
        # A rule of the field itself is asked only while there is an old and a new value.
        if optional:
            rules.append(_fixed(f"has(self.{name}) == has(oldSelf.{name})"))
        if free:
            rules.append(_fixed(_but_for(name, child, free, optional=optional), free))
        else:
            child[RULES] = [*child.get(RULES, ()), _fixed("self == oldSelf")]
        node[RULES] = [*node.get(RULES, ()), *(r | {"fieldPath": f".{name}"} for r in rules)]
        if not node[RULES]:
            del node[RULES]


def _but_for(name: str, child: Schema, free: list[str], *, optional: bool) -> str:
    """That a field of the spec stays as it is, but for some of its own while the job is suspended.

    What CEL does not see, a field without a type, can only change together with one of those."""
    new, old = f"self.{name}", f"oldSelf.{name}"
    there = {
        part
        for part, found in child["properties"].items()
        if part in child.get("required", ()) or "default" in found
    }

    def same(part: str) -> str:
        one, other = f"{new}.{part}", f"{old}.{part}"
        if part in there:
            return f"{one} == {other}"
        return f"(has({one}) ? has({other}) && {one} == {other} : !has({other}))"

    typed = {"type", INT_OR_STRING}
    seen = [part for part, found in child["properties"].items() if typed & {*found}]
    rest = " && ".join(same(part) for part in seen if part not in free)
    none = " && ".join(map(same, free))
    suspended = " || ".join(f"(has({s}.suspend) && {s}.suspend)" for s in ("self", "oldSelf"))
    absent = f"!has({new}) || !has({old}) || " if optional else ""
    return f"{absent}{new} == {old} || (({suspended}) && !({none}) && {rest})"


def _fixed(rule: str, free: list[str] | None = None) -> Schema:
    message = IMMUTABLE
    if free:
        message += f"; while spec.suspend is true, its {' and '.join(free)} can"
    return {"rule": rule, "message": message, "reason": "FieldValueForbidden"}


def _flat(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node with its reference and its `| None` resolved; what stands beside them wins."""
    while True:
        members = [m for m in node.get("anyOf", ()) if m.get("type") != "null"]
        if "$ref" in node:
            inner = definitions[node["$ref"].rpartition("/")[2]]
        elif len(members) == 1:
            inner = members[0]
        else:
            return node | ({"anyOf": members} if members else {})
        node = inner | {key: node[key] for key in node if key not in ("$ref", "anyOf")}


def _union(members: list[Schema]) -> Schema:
    """Values of several types: an int-or-string, else a field that takes any scalar."""
    bounds = {
        key: plain_number(m[key]) for m in members for key in m if key in _KEPT and key != "type"
    }
    if {member["type"] for member in members} == {"integer", "string"}:
        return bounds | {INT_OR_STRING: True}
    # No list, and no object unless it is one of the types; bounds apply to the values whose type
    # has them.
    return {"maxProperties": 0} | bounds | {"maxItems": 0, PRESERVE: True}
