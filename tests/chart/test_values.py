"""values.yaml and its schema: the same values in both, each explained, and wrong ones refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from deploy import generate

from .helm import CHART, template
from .variants import EVERYTHING

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a value that does not exist": ({"replicas": 2}, "additional properties 'replicas'"),
    "a typo in a group": ({"crds": {"instal": False}}, "additional properties 'instal'"),
    "a group that is removed": ({"image": None}, "missing property 'image'"),
    "a switch that is text": ({"crds": {"keep": "no"}}, "got string, want boolean"),
    "one namespace that is no list": ({"namespaces": "team-a"}, "got string, want array"),
    "a namespace twice": ({"namespaces": ["a", "a"]}, "items at 0 and 1 are equal"),
    "a namespace in capitals": ({"namespaces": ["Team"]}, "at '/namespaces/0'"),
    "a namespace that is too long": ({"namespaces": ["n" * 64]}, "maxLength"),
    "a pattern of namespaces": ({"namespaces": ["team-*"]}, "at '/namespaces/0'"),
    "a namespace of Spark in capitals": (
        {"spark": {"namespaces": ["Team"]}},
        "at '/spark/namespaces/0'",
    ),
    "a name that is too long for its suffixes": ({"fullnameOverride": "n" * 53}, "maxLength"),
    "a name that ends in a dash": ({"nameOverride": "jobs-"}, "at '/nameOverride'"),
    "a tag within the repository": (
        {"image": {"repository": "registry.example:5000/op:1"}},
        "at '/image/repository'",
    ),
    "no repository": ({"image": {"repository": ""}}, "at '/image/repository'"),
    "a tag that is a number": ({"image": {"tag": 1.1}}, "got number, want string"),
    "a digest without its algorithm": ({"image": {"digest": "0" * 64}}, "at '/image/digest'"),
    "an unknown pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "'/image/pullPolicy'"),
    "a secret by its bare name": ({"imagePullSecrets": ["registry"]}, "got string, want object"),
    "an image with a space": ({"stageImages": {"spark": "a b"}}, "at '/stageImages/spark'"),
    "an unknown log level": ({"log": {"level": "trace"}}, "at '/log/level'"),
    "an unknown log format": ({"log": {"format": "xml"}}, "at '/log/format'"),
    "an account name in capitals": ({"serviceAccount": {"name": "Op"}}, "'/serviceAccount/name'"),
    "an annotation that is no text": ({"podAnnotations": {"a": True}}, "got boolean, want string"),
    "a label of ours": (
        {"podLabels": {"app.kubernetes.io/name": "other"}},
        "at '/podLabels/app.kubernetes.io~1name'",
    ),
    "a label's value with a space": ({"podLabels": {"team": "a b"}}, "at '/podLabels/team'"),
    "a typo in resources": ({"resources": {"limit": {}}}, "additional properties 'limit'"),
    "an affinity of no kind": ({"affinity": {"node": {}}}, "additional properties 'node'"),
    "a toleration that is text": ({"tolerations": ["gpu"]}, "got string, want object"),
    "a peer that selects nothing": ({"networkPolicy": {"metricsFrom": [{}]}}, "minProperties"),
    "a peer with a typo": (
        {"networkPolicy": {"dns": [{"podselector": {}}]}},
        "additional properties 'podselector'",
    ),
    "an address without its length": (
        {"networkPolicy": {"apiServer": {"cidrs": ["192.0.2.1"]}}},
        "at '/networkPolicy/apiServer/cidrs/0'",
    ),
    # A rule without ports would open all of them.
    "an API server without ports": (
        {"networkPolicy": {"apiServer": {"ports": []}}},
        "at '/networkPolicy/apiServer/ports'",
    ),
    "a port that is none": ({"networkPolicy": {"apiServer": {"ports": [0]}}}, "ports/0'"),
    "a budget for more pods than there are": (
        {"podDisruptionBudget": {"maxUnavailable": 2}},
        "at '/podDisruptionBudget/maxUnavailable'",
    ),
    "KServe without Deployments": ({"deploy": {"kserve": {"enabled": True}}}, "at '/deploy'"),
    "an interval without a unit": ({"podMonitor": {"interval": "30"}}, "at '/podMonitor/interval'"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_helm_refuses(what: str) -> None:
    values, words = REFUSALS[what]
    done = template(values, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "values don't meet the specifications of the schema" in done.stderr


@pytest.mark.parametrize("what", ["resources", "nodeSelector", "affinity", "tolerations"])
def test_a_null_removes_a_default_that_can_be_missed(what: str) -> None:
    deployment = template({what: None}).stdout.partition("kind: Deployment")[2].partition("---")[0]
    assert f"{what}:" not in deployment


def test_the_schema_knows_every_value_and_no_other() -> None:
    assert {*_paths(SCHEMA)} == {*_paths_of_values(VALUES, SCHEMA)} | {"global"}


def _paths(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in schema["properties"].items():
        if "properties" in inner:
            yield from _paths(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _paths_of_values(values: Any, schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        inner = schema["properties"].get(key, {})
        if "properties" in inner:
            yield from _paths_of_values(value, inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_object_of_the_schema_is_closed_or_says_what_its_values_are() -> None:
    def check(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if "properties" in node:
                assert node.get("additionalProperties") is False, path
            for key, inner in node.items():
                if key != "anyOf":  # it says nothing of what values there are
                    check(inner, f"{path}/{key}")

    check(SCHEMA, "")


def test_every_value_is_used_by_a_variant_of_the_tests() -> None:
    used = {*_paths_of_values(EVERYTHING, SCHEMA)}
    # Their other side is in other variants.
    elsewhere = {"fullnameOverride", "image.tag", "progress.enabled", "podEvents.enabled"}
    elsewhere |= {"admission.enabled", "networkPolicy.enabled"}
    elsewhere |= {path for path in _paths(SCHEMA) if path.endswith((".create", ".install"))}
    assert {*_paths(SCHEMA)} - used - elsewhere == {"global"}


@pytest.mark.parametrize("path", [path for path, _ in generate.leaves()])
def test_every_value_is_explained_in_whole_sentences(path: str) -> None:
    text = generate.comments((CHART / "values.yaml").read_text("utf-8")).get(path, "")
    assert re.fullmatch(r"[A-Z`\d].+\.", text), text


def test_a_templates_value_exists() -> None:
    used = {
        match
        for source in (CHART / "templates").iterdir()
        for match in re.findall(r"\.Values\.([A-Za-z.]+)", source.read_text("utf-8"))
    }
    known = {*_paths(SCHEMA)}
    assert {path for path in used if path not in known} == set()
    assert known - used == {"global"}
