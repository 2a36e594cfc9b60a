"""The CRD: valid for Kubernetes, bounded, and of one opinion with the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.api.corpus import BAD, GOOD, as_served, defaulted, each_good, in_annotation
from trainingjob.api.base import Model, Plain, Rule
from trainingjob.api.crd import (
    AS_SCHEMA,
    IMMUTABLE,
    INT_OR_STRING,
    PRESERVE,
    RULES,
    crd,
    openapi_schema,
)
from trainingjob.api.errors import PATTERNS, check_manifest
from trainingjob.api.v1alpha1 import Status, TrainingJob
from trainingjob.api.walk import child_type, is_model, plain_type

SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
FULL = openapi_schema()
SPEC, STATUS = SCHEMA["properties"]["spec"], SCHEMA["properties"]["status"]
Node = dict[str, Any]


def nodes(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Every schema below a schema, with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", "[*]")):
        if key in node:
            yield from nodes(node[key], path + suffix)


def models(kind: Any = TrainingJob) -> Iterator[type[Plain]]:
    """Every model below a model."""
    yield kind
    for field in kind.model_fields.values():
        inner = plain_type(field.annotation)
        while inner is not None and not is_model(inner):
            inner = plain_type(child_type(inner, 0))
        if inner is not None:
            yield from models(inner)


# --- as Kubernetes wants it -------------------------------------------------------------------


def test_it_is_a_valid_definition() -> None:
    kubernetes_validate.validate(crd(), "1.37", strict=True)


def test_client_side_apply_can_hold_it() -> None:
    """In an annotation, of which all together may have 256 KiB; the rest is for fields to come."""
    assert len(in_annotation(crd())) < 220 * 1024


def test_every_schema_is_structural() -> None:
    allowed = {
        *(
            "description",
            "type",
            "format",
            "default",
            "enum",
            "pattern",
            "required",
            "oneOf",
            "allOf",
        ),
        *("properties", "items", "additionalProperties", PRESERVE, INT_OR_STRING, RULES),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    }
    for path, node in nodes(SCHEMA, ""):
        assert set(node) <= allowed, path
        assert "type" in node or PRESERVE in node or INT_OR_STRING in node, path
        assert not {"properties", "additionalProperties"} <= set(node), path
        assert isinstance(node.get("exclusiveMinimum", True), bool), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path


def test_metadata_restricts_the_name_alone() -> None:
    metadata = SCHEMA["properties"]["metadata"]

    assert set(metadata) == {"type", "properties"}  # even a description is refused
    assert set(metadata["properties"]) == {"name"}
    assert metadata["properties"]["name"]["maxLength"] == 63


def test_every_field_has_a_description() -> None:
    for path, node in nodes(FULL, ""):
        if path != ".metadata" and not path.endswith("]"):
            assert node.get("description"), path


def test_explain_tells_every_field_or_where_it_is_told() -> None:
    elsewhere: list[str] = []
    for path, node in nodes(SCHEMA, ""):
        if found := re.search(r" Fields: see (.*)\.$", node.get("description", "")):
            told = SCHEMA
            for part in found[1].split("."):
                told = told["properties"][part]
                told = told.get("items", told)
            assert told["properties"].keys() == node.get("items", node)["properties"].keys()
            assert all(field["description"] for field in told["properties"].values())
            elsewhere.append(path)
        elif path != ".metadata" and not path.endswith("]") and "description" not in node:
            assert path.startswith(tuple(elsewhere)), path
    assert ".spec.evaluate.template" in elsewhere
    assert not any(path.startswith(".spec.train.template.volumes") for path in elsewhere)


def test_what_the_operator_alone_checks_is_little() -> None:
    assert [model.__name__ for model in dict.fromkeys(models()) if model.outlined] == [
        *("NodeTerm", "PodTerm", "TopologySpread", "ResourceClaim", "EphemeralVolume"),
        *("ServerResources", "ServerTemplate"),
        *("PredictInput", "PredictResources", "PredictTemplate"),
    ]


def test_columns_lead_to_fields() -> None:
    (version,) = crd()["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        node = SCHEMA
        if column["jsonPath"].startswith(".metadata"):
            continue
        # [0] and [?(@.phase=='Running')] lead to one of a list's items.
        path = re.sub(r"\[\?\(.*?\)\]", ".0", column["jsonPath"])
        for part in re.findall(r"\w+", path):
            node = node["items"] if part.isdigit() else node["properties"][part]
        assert node["type"] == column["type"]
    assert [c["name"] for c in version["additionalPrinterColumns"] if "priority" not in c] == [
        *("Phase", "Stage", "Progress", "Score", "Age")
    ]


# --- bounds -----------------------------------------------------------------------------------


def unbounded(root: Node, path: str) -> list[str]:
    found = []
    for here, node in nodes(root, path):
        kind = node.get("type")
        open_map = "additionalProperties" in node or PRESERVE in node
        if (
            (kind == "string" and not {"maxLength", "enum", "format"} & set(node))
            or (kind == "array" and "maxItems" not in node)
            or (open_map and "maxProperties" not in node)
            or (INT_OR_STRING in node and not {"maxLength", "maximum"} <= set(node))
        ):
            found.append(here)
    return found


def test_every_string_list_and_map_of_the_spec_is_bounded() -> None:
    assert unbounded(SPEC, "spec") == []


def test_every_number_of_the_spec_is_bounded() -> None:
    for path, node in nodes(SPEC, "spec"):
        if node.get("type") in ("integer", "number"):
            assert {"minimum", "maximum"} <= set(node), path


def test_every_string_list_and_map_of_status_is_bounded() -> None:
    assert unbounded(STATUS, "status") == []


def test_patterns_mean_the_same_to_go_and_to_rust() -> None:
    for path, node in nodes(SCHEMA, ""):
        if pattern := node.get("pattern"):
            assert not re.search(r"\\[swdbSWDB]", pattern), f"{path}: Unicode there, ASCII here"
            assert pattern.startswith("^"), path
            assert pattern.endswith("$"), path
            assert pattern in PATTERNS, f"{path}: say in errors.PATTERNS what it asks for"


# --- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "list_type", "keys"),
    [
        ("spec.preprocess.env", "map", ["name"]),
        ("spec.train.env", "map", ["name"]),
        ("spec.evaluate.env", "map", ["name"]),
        ("spec.train.template.volumes", "map", ["name"]),
        ("spec.train.template.volumeMounts", "map", ["mountPath"]),
        ("spec.train.template.imagePullSecrets", "map", ["name"]),
        ("spec.evaluate.metrics", "set", None),
        ("spec.evaluate.gates", None, None),
        ("status.conditions", "map", ["type"]),
        ("status.stages", "map", ["name"]),
        ("spec.preprocess.steps", None, None),
        ("spec.train.command", None, None),
        ("spec.train.template.tolerations", None, None),
        ("status.progress.metrics", None, None),
        ("status.evaluation.metrics", None, None),
    ],
)
def test_a_list_is_of_its_type(path: str, list_type: str | None, keys: list[str] | None) -> None:
    node = SCHEMA
    for part in path.split("."):
        node = node["properties"][part]

    assert node.get("x-kubernetes-list-type") == list_type
    assert node.get("x-kubernetes-list-map-keys") == keys
    assert set(keys or ()) <= set(node["items"].get("required", ()))


# --- defaults ---------------------------------------------------------------------------------


@each_good
def test_the_server_gives_a_job_the_defaults_that_pydantic_gives_it(name: str) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None

    stored = GOOD[name] | {"spec": defaulted(GOOD[name]["spec"], SPEC)}

    assert TrainingJob.from_dict(stored).spec == job.spec
    assert defaulted(stored["spec"], FULL["properties"]["spec"]) == job.to_dict()["spec"]
    assert outside_lists(stored["spec"]) == outside_lists(job.to_dict()["spec"])


def outside_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: outside_lists(v) for k, v in value.items()}
    return len(value) if isinstance(value, list) else value


def test_items_of_lists_get_no_defaults_from_the_server() -> None:
    """`kubectl apply` and Argo CD compare lists as a whole: they would differ for ever."""
    for path, node in nodes(SPEC, "spec"):
        assert "default" not in node or "[]" not in path, path
    assert SPEC["properties"]["train"]["properties"]["nodes"]["default"] == 1


def test_descriptions_tell_defaults_wherever_they_are_applied() -> None:
    described = {
        path: node["description"] for path, node in nodes(SPEC, "spec") if "description" in node
    }

    assert {path for path, words in described.items() if " Default: " in words} == {
        path
        for path, node in nodes(FULL["properties"]["spec"], "spec")
        if "default" in node and "properties" not in node and path in described
    }
    assert ' Default: "standard".' in described["spec.preprocess.steps[].scale.method"]


def test_a_new_job_has_the_status_that_pydantic_gives_it() -> None:
    assert defaulted({}, SCHEMA)["status"] == Status().to_dict()


# --- rules ------------------------------------------------------------------------------------


def rules_at(kind: Any, node: Node, path: str) -> Iterator[tuple[str, Node, Rule]]:
    if kind.outlined:
        return
    for rule in getattr(kind, "rules", ()):
        yield path, node, rule
    for name, child in node.get("properties", {}).items():
        inner = plain_type(child_type(kind, name))
        while inner is not None and not is_model(inner):
            child = child.get("items") or child.get("additionalProperties") or {}
            inner = plain_type(child_type(inner, 0))
        if inner is not None:
            yield from rules_at(inner, child, f"{path}.{name}")


ALL_RULES = list(rules_at(TrainingJob, SCHEMA, ""))


def test_every_rule_is_in_the_schema_of_its_object() -> None:
    assert len(ALL_RULES) > 20
    for path, node, rule in ALL_RULES:
        if rule.schema is not None:
            assert rule.schema in node["allOf"], path
        elif rule.cel is not None and not any(rule in model.rules for model in AS_SCHEMA):
            assert {"rule": rule.cel, "message": rule.message} in node[RULES], path


def test_what_has_rules_checks_them() -> None:
    for model in set(models()):
        assert issubclass(model, Model) or not hasattr(model, "rules"), model


def test_rules_that_the_operator_alone_checks_are_few() -> None:
    alone = [rule.message for _, _, rule in ALL_RULES if (rule.cel, rule.schema) == (None, None)]
    other_claim, other_folder, searched = sorted(alone)
    assert other_claim.startswith("evaluate.sealed needs what preprocess reads on another claim")
    assert other_folder.startswith("output must not be input.uri")
    # A setting is checked by the whole of train with it.
    assert searched.startswith("search: each setting must be one that train takes")


def test_rules_told_as_a_schema_have_a_reason_to_be() -> None:
    for model, schema in AS_SCHEMA.items():
        assert model.rules
        assert model in set(models())
        assert schema in [{"oneOf": node.get("oneOf")} for _, node in nodes(SPEC, "spec")]


def test_only_the_policy_of_a_job_and_its_suspension_can_change() -> None:
    fixed = ["task", "storage", "preprocess", "train", "evaluate", "deploy", "predict", "managedBy"]
    assert [name for name in SPEC["properties"] if name not in fixed] == [
        "policy",
        "suspend",
    ]
    rule = {"message": IMMUTABLE, "reason": "FieldValueForbidden"}
    for name in ("task", "storage", "managedBy"):
        assert rule | {"rule": "self == oldSelf"} in SPEC["properties"][name][RULES]
    for name in fixed:
        # What may be absent may neither come nor go.
        there = f"has(self.{name}) == has(oldSelf.{name})"
        added = rule | {"rule": there, "fieldPath": f".{name}"}
        assert (added in SPEC[RULES]) == (name not in SPEC["required"])


def field_at(node: Node, parts: list[str]) -> Node:
    """The schema of a field that CEL can see: declared, and of a type."""
    for part in parts:
        node = node["properties"][part]
        assert "type" in node or INT_OR_STRING in node, f"CEL does not see {part}"
    return node


@pytest.mark.parametrize(
    ("path", "node", "rule"), ALL_RULES, ids=[f"{p}: {r.message:.40}" for p, _, r in ALL_RULES]
)
def test_a_rule_names_fields_that_exist(path: str, node: Node, rule: Rule) -> None:
    if rule.cel is None or any(rule in model.rules for model in AS_SCHEMA):
        return
    text = re.sub(r"'[^']*'", "''", rule.cel)
    scope = {"self": node}
    for base, chain, _, variable in re.findall(
        r"\b(self)((?:\.\w+)+)\.(all|exists|filter)\((\w+),", text
    ):
        of = field_at(scope[base], chain.strip(".").split("."))
        scope[variable] = of.get("items", {"type": "string"})
    for base, chain, call in re.findall(r"\b(\w+)((?:\.\w+)+)(\(?)", text):
        if base in scope:
            parts = chain.strip(".").split(".")
            field_at(scope[base], parts[:-1] if call else parts)


# --- the corpus against the schema ------------------------------------------------------------


def plain_json_schema(node: Node) -> Node:
    """For jsonschema: no extensions, and objects closed as with fieldValidation=Strict."""
    result = {k: v for k, v in node.items() if not k.startswith("x-") and k != "format"}
    if "pattern" in node:  # in Python alone `$` also matches before a last line feed
        result["pattern"] = node["pattern"].removesuffix("$") + r"\Z"
    if INT_OR_STRING in node:
        result["type"] = ["integer", "string"]
    if "properties" in node:
        result["properties"] = {k: plain_json_schema(v) for k, v in node["properties"].items()}
        result["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if key in node:
            result[key] = plain_json_schema(node[key])
    return result


# Draft 4, as OpenAPI v3: exclusiveMinimum is a boolean.
VALIDATOR = jsonschema.Draft4Validator(plain_json_schema(SCHEMA))
VALIDATOR.schema["properties"]["metadata"]["additionalProperties"] = True


def schema_errors(obj: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(defaulted(obj, SCHEMA))]


@each_good
def test_the_schema_accepts_a_good_manifest(name: str) -> None:
    assert schema_errors(GOOD[name]) == []


# What something else than the schema refuses: CEL, list types, what no JSON can hold, and what the
# server knows of every kind.
BY_SCHEMA = {rule.message for _, _, rule in ALL_RULES if rule.schema is not None}
MESSAGES = {rule.message for _, _, rule in ALL_RULES if "strategy is value" not in rule.message}
ELSEWHERE = re.compile(
    r"apiVersion|kind|metadata(\.(labels|annotations|namespace).*)?|metadata\.name: required.*"
    r"|.*: (duplicate|must be a finite number|must be a number that fits).*"
)


@pytest.mark.parametrize("name", BAD)
def test_the_schema_refuses_a_structural_fault_and_no_other(name: str) -> None:
    (problem,) = check_manifest(BAD[name].obj)[1]
    if ELSEWHERE.fullmatch(problem.field) or ELSEWHERE.fullmatch(str(problem)):
        return
    if check_manifest(as_served(BAD[name].obj))[0] is not None:
        assert schema_errors(BAD[name].obj) == []
        return

    faults = schema_errors(BAD[name].obj)
    # What it adds about the object is not the server's to say.
    rules = {message for message in MESSAGES if problem.message.startswith(message)}
    if rules & BY_SCHEMA:  # of one message there may be two rules
        return
    assert (faults == []) == (rules != set())
