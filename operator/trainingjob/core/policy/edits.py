"""What an edited manifest changes, stage by stage: a stage that is done stays only as long as
all that it was made by is as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ...api.v1alpha1 import StageName, TrainingJob

ConfigMaps = Mapping[str, Mapping[str, str]]

# What every stage is made by.
_SHARED = ("task", "storage")
# How a stage's pods are made: what they do is the same.
_OF_PODS = ("resources", "driver", "executor", "template")


def of_stage(
    stage: StageName,
    old: TrainingJob,
    new: TrainingJob,
    old_maps: ConfigMaps,
    new_maps: ConfigMaps,
) -> list[str]:
    """What differs in all that the stage is made by, as ``spec.train.epochs: 5 -> 10``.

    The maps are those that scripts and code come from, by name."""
    before, after = (_part(job, stage) for job in (old, new))
    found = [line for part in before for line in _differences(before, after, part)]
    used = _maps(old, stage)
    for name, only in _maps(new, stage).items():
        if name in used:
            one, other = old_maps.get(name, {}), new_maps.get(name, {})
            keys = only or {*one, *other}
            differ = sorted(key for key in keys if one.get(key) != other.get(key))
            found += [f"ConfigMap {name}: {key}" for key in differ]
    return found


def changes(old: object, new: object, where: str) -> Iterator[str]:
    """Fields that differ, as ``spec.train.epochs: 5 -> 10``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from changes(old.get(key), new.get(key), f"{where}.{key}")
    elif old != new:
        yield f"{where}: {_short(old)} -> {_short(new)}"


def _differences(
    before: Mapping[str, object], after: Mapping[str, object], part: str
) -> Iterator[str]:
    return changes(before.get(part), after.get(part), f"spec.{part}")


def _part(job: TrainingJob, stage: StageName) -> dict[str, object]:
    spec = job.spec.to_dict()
    own = {key: value for key, value in spec.get(stage, {}).items() if key not in _OF_PODS}
    if "tokenize" in own and job.spec.tokenizer is not None:
        own["tokenize"] = {**own["tokenize"], "from": job.spec.tokenizer}
    found = {part: spec.get(part) for part in _SHARED} | {stage: own}
    if stage == "preprocess":
        found["evaluate"] = {"sealed": spec.get("evaluate", {}).get("sealed") or None}
    return found


def _maps(job: TrainingJob, stage: StageName) -> dict[str, tuple[str, ...]]:
    """The ConfigMaps that are used, and of each which keys; all of them where none is named."""
    part = getattr(job.spec, stage)
    script, code = (
        getattr(getattr(part, of, None), "config_map", None) for of in ("script", "code")
    )
    found: dict[str, tuple[str, ...]] = {} if script is None else {script.name: (script.key,)}
    return found if code is None else found | {code.name: ()}


def _short(value: object) -> str:
    text = "unset" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
