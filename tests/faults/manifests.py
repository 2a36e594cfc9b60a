"""Manifests that nobody would write: those of the corpus with some values that the CRD's schema
allows, that lie at its bounds or just beyond them, or that another manifest has in that place. Each
is refused in words, or its job comes to an end that says why, whatever happens to it.

    python -m tests.faults.manifests [--count N] [--first SEED]
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.unit.api.corpus import GOOD, defaulted
from trainingjob.api.crd import PRESERVE, crd
from trainingjob.api.errors import check_manifest

from .troubles import Troubled

Node = dict[str, Any]
SPEC: Node = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
_TEXTS = ("", "a", "x" * 64, "é", " ", "a b", "a\nb", "-", "../up", "10Gi", "pvc://a/b", "\u0000")
_WORLD = {"namespace": "team", "uid": "uid-1", "generation": 1}
# Stages, attempts and waits between them, also where the clock is set back by some hours.
_ROUNDS = 300
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
            found[verdict(generated(seed), random.Random(seed))] += 1
        except Exception as error:
            wrong.append(f"manifest {seed}: {type(error).__name__}: {error}"[:1000])
    return found, wrong


def many(count: int, first: int = 0) -> Iterator[tuple[Counter[str], list[str]]]:
    """As ``tried``, of so many seeds from the ``first`` on, on all processors, a part at a time."""
    end, step = first + count, 250
    parts = [range(begin, min(begin + step, end)) for begin in range(first, end, step)]
    with ProcessPoolExecutor() as pool:
        yield from pool.map(tried, parts)


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


def verdict(manifest: dict[str, Any], roll: random.Random) -> str:
    """What becomes of it in a cluster where up to four things go wrong, in a word: "refused", or
    the phase at the end.

    Raises AssertionError when nobody says why it is refused, or it does not come to an end.
    """
    found, problems = check_manifest(manifest)
    if found is None:
        assert problems and all(str(problem).strip() for problem in problems), "refused, no words"
        return "refused"
    stored = {**manifest, "spec": defaulted(manifest["spec"], SPEC)}
    stored["metadata"] = {**manifest["metadata"], **_WORLD}
    world = Troubled(stored, roll=roll, troubles=roll.randint(0, 4))
    suspended = stored["spec"].get("suspend")
    world.settle(_STEPS)
    for _ in range(_ROUNDS):
        if not world.troubles:
            world.manifest["spec"]["suspend"] = suspended
        world.go_on()
        world.settle(_STEPS)
        if _is_at_its_end(world):
            break
    return _judged(world)


def _is_at_its_end(world: Troubled) -> bool:
    over = world.status["phase"] in ("Succeeded", "Failed")
    return over and not world.troubles and all(pod.at_rest for pod in world.observe().pods)


def _judged(world: Troubled) -> str:
    status, spec, meta = world.status, world.manifest["spec"], world.manifest["metadata"]
    phase, words = status["phase"], f"{status['reason']}: {status}"
    if spec.get("managedBy") not in (None, "trainingjob.dev/operator"):
        assert not status["observedGeneration"] and not world.created, words
        return "left alone"
    wanted = {"Succeeded", "Failed"}
    if "deletionTimestamp" in meta:
        wanted |= {"Deleting"}
    elif spec.get("suspend"):
        wanted |= {"Suspended"}
    assert phase in wanted, f"stuck in {phase}/{words}"
    assert all(pod.at_rest for pod in world.observe().pods), f"pods are left: {words}"
    assert status["reason"] and all(c["reason"] for c in status["conditions"]), words
    assert phase == "Succeeded" or status["message"], f"{phase} without a word: {words}"
    before = world.writes
    world.settle(_STEPS)
    assert world.writes == before, f"it is written again: {words}"
    return str(phase)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    all_found: Counter[str] = Counter()
    all_wrong: list[str] = []
    for some, wrongs in many(given.count, given.first):
        all_found, all_wrong = all_found + some, all_wrong + wrongs
        print(dict(sorted(all_found.items())), *wrongs, sep="\n", flush=True)
    sys.exit(bool(all_wrong))
