"""Manifests that nobody would write: those of the corpus with some values that the CRD's schema
allows, that lie at its bounds or just beyond them, or that another manifest has in that place."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.cluster.podstatus import report
from tests.unit.api.corpus import GOOD, defaulted
from tests.unit.core.world import World, ended, running
from trainingjob.api.crd import PRESERVE, crd
from trainingjob.api.errors import check_manifest
from trainingjob.api.payload import STAGE_PAYLOAD

Node = dict[str, Any]
SPEC: Node = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
_TEXTS = ("", "a", "x" * 64, "é", " ", "a b", "a\nb", "-", "../up", "10Gi", "pvc://a/b", "\u0000")
_WORLD = {"namespace": "team", "uid": "uid-1", "generation": 1}
# Stages, attempts and a wait between them.
_ROUNDS = 12
# Larger gangs take seconds: they are seldom.
_NODES = 20
# The largest gang, in batches.
_STEPS = 60


def _pools(node: Any, schema: Node, path: str, found: dict[str, list[Any]]) -> None:
    found.setdefault(path, []).append(node)
    if isinstance(node, dict):
        for name, value in node.items():
            child = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if isinstance(child, dict):
                _pools(value, child, f"{path}.{name}", found)
    elif isinstance(node, list):
        for value in node:
            _pools(value, schema.get("items", {}), f"{path}[]", found)


POOLS: dict[str, list[Any]] = {}
for _manifest in GOOD.values():
    _pools(_manifest["spec"], SPEC, "", POOLS)


def tried(seeds: range) -> tuple[Counter[str], list[str]]:
    """What became of these, and of which it was not what it should be, and why."""
    found: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        try:
            found[verdict(generated(seed))] += 1
        except Exception as error:
            wrong.append(f"manifest {seed}: {type(error).__name__}: {error}"[:1000])
    return found, wrong


def generated(seed: int) -> dict[str, Any]:
    """Always the same for the same seed."""
    roll = random.Random(seed)
    made: dict[str, Any] = copy.deepcopy(GOOD[roll.choice(sorted(GOOD))])
    made["metadata"] = {"name": "digits"}
    for _ in range(roll.randint(1, 4)):
        _mutate(made["spec"], SPEC, "", roll)
    train = made["spec"].get("train")
    nodes = train.get("nodes") if isinstance(train, dict) else None
    if isinstance(nodes, int) and nodes > _NODES and roll.random() < 0.98:
        train["nodes"] = _NODES
    return made


def _mutate(node: dict[str, Any], schema: Node, path: str, roll: random.Random) -> None:
    properties: Mapping[str, Node] = schema.get("properties") or {}
    if not properties:
        return
    present = [name for name in node if name in properties]
    name = roll.choice(present if present and roll.random() < 0.6 else sorted(properties))
    child, place = properties[name], f"{path}.{name}"
    if name in node and roll.random() < 0.7:
        value = node[name]
        if isinstance(value, dict) and child.get("properties"):
            _mutate(value, child, place, roll)
            return
        items = child.get("items", {})
        if isinstance(value, list) and value and isinstance(value[0], dict):
            _mutate(roll.choice(value), items, f"{place}[]", roll)
            return
    if name in node and roll.random() < 0.2:
        del node[name]
    else:
        node[name] = _value(child, place, roll)


def _value(schema: Node, path: str, roll: random.Random, depth: int = 0) -> Any:
    pool = POOLS.get(path)
    if pool and roll.random() < 0.5:
        return copy.deepcopy(roll.choice(pool))
    if "enum" in schema:
        return roll.choice(schema["enum"])
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return roll.choice([1, "1", "500m", "2Gi", *_TEXTS])
    if kind == "object" and depth < 4:
        return _object(schema, path, roll, depth)
    if kind == "array" and depth < 4:
        least = schema.get("minItems", 0)
        count = roll.randint(least, min(max(least, 3), schema.get("maxItems", 3)))
        return [_value(schema["items"], f"{path}[]", roll, depth + 1) for _ in range(count)]
    if kind == "boolean":
        return roll.random() < 0.5
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31)
        beyond = [low - 1, high + 1, float("nan")] if roll.random() < 0.1 else []
        return roll.choice([low, high, (low + high) // 2, 1, 2, 0, *beyond])
    if kind == "string":
        most = schema.get("maxLength", 64)
        return roll.choice([*_TEXTS, "x" * min(most, 4096), "x" * min(most + 1, 4097)])
    return roll.choice(({}, [], None, "a", 1))


def _object(schema: Node, path: str, roll: random.Random, depth: int) -> dict[str, Any]:
    if schema.get(PRESERVE) or "properties" not in schema:
        inner = schema.get("additionalProperties")
        if not isinstance(inner, dict):
            return {}
        return {key: _value(inner, f"{path}.{key}", roll, depth + 1) for key in ("a", "b.c/d")}
    names = schema["properties"]
    wanted = {*schema.get("required", ())} | {n for n in names if roll.random() < 0.25}
    return {n: _value(names[n], f"{path}.{n}", roll, depth + 1) for n in sorted(wanted)}


def verdict(manifest: dict[str, Any]) -> str:
    """What becomes of it, in a word: "refused", or the phase at the end.

    Raises AssertionError when nobody says why it is refused, or it does not come to an end.
    """
    found, problems = check_manifest(manifest)
    if found is None:
        assert problems and all(str(problem).strip() for problem in problems), "refused, no words"
        return "refused"
    stored = {**manifest, "spec": defaulted(manifest["spec"], SPEC)}
    world = World({**stored, "metadata": {**manifest["metadata"], **_WORLD}})
    world.settle(_STEPS)
    for number in range(_ROUNDS):
        for pod in [*world.pods.values()]:
            _lives(pod, world.seconds, number)
        world.seconds += 100
        world.settle(_STEPS)
    status = world.status
    phase, words = status["phase"], f"{status['reason']}: {status}"
    if manifest["spec"].get("managedBy") not in (None, "trainingjob.dev/operator"):
        assert not status["observedGeneration"] and not world.created, words
        return "left alone"
    wanted = {"Suspended"} if manifest["spec"].get("suspend") else {"Succeeded", "Failed"}
    assert phase in wanted, f"stuck in {phase}/{words}"
    assert status["reason"] and all(c["reason"] for c in status["conditions"]), words
    assert phase == "Succeeded" or status["message"], f"{phase} without a word: {words}"
    return str(phase)


def _lives(pod: dict[str, Any], seconds: float, number: int) -> None:
    """Every pod runs, and ends well a moment later."""
    phase = pod["status"]["phase"]
    if phase == "Pending":
        running(pod, seconds)
    elif phase == "Running":
        ended(pod, seconds, message=_message(pod))


def _message(pod: dict[str, Any]) -> str:
    """What our runtime reports; somebody else's says nothing."""
    variables = pod["spec"]["containers"][0].get("env", ())
    return report(pod) if any(v["name"] == STAGE_PAYLOAD for v in variables) else ""
