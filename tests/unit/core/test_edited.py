"""A job whose manifest is edited to S' on its way ends as one does that is S' from the start."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainingjob.core import names

from .test_suspend import suspend
from .world import World, manifest, running, succeeded

STAGES = ("preprocess", "train", "evaluate")
# What may change at any time, and what while the job is suspended: see the CRD's rules.
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"retries": {"application": 0, "infrastructure": 1}},
    {"startupDeadlineSeconds": 80_000, "activeDeadlineSeconds": 80_000},
    {"ttlSecondsAfterFinished": 80_000, "stall": {"afterSeconds": 80_000}},
)
TEMPLATES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"nodeSelector": {"pool": "b"}},
    {"labels": {"team": "x"}, "scratch": {"size": "1Gi"}},
)

# What is wanted in the end: policy, nodes, and the template of each stage.
targets = st.tuples(
    st.sampled_from(POLICIES),
    st.integers(min_value=1, max_value=4),
    st.tuples(*(st.sampled_from(TEMPLATES) for _ in STAGES)),
)
moments = st.lists(
    st.sampled_from(["act", "record", "reconcile", "run", "end", "suspend", "resume", "edit"]),
    max_size=30,
)


def wanted(spec: dict[str, Any], target: Any) -> dict[str, Any]:
    policy, nodes, templates = target
    edited = copy.deepcopy(spec)
    edited["policy"] = policy
    for stage, template in zip(STAGES, templates, strict=True):
        edited[stage].pop("template", None)
        if template is not None:
            edited[stage]["template"] = template
    edited["train"]["nodes"] = nodes
    return edited


def edit(w: World, target: Any) -> None:
    suspended = w.manifest["spec"].get("suspend")
    w.manifest["spec"] = wanted(w.manifest["spec"], target)
    if suspended is not None:
        w.manifest["spec"]["suspend"] = suspended
    w.manifest["metadata"]["generation"] += 1


def go_on(w: World, order: Sequence[str], between: Any) -> None:
    """What happens to the job at these moments; it is edited only while it is suspended."""
    for what in order:
        w.seconds += 1
        pods = [*w.pods.values()]
        if what in ("act", "record", "reconcile"):
            getattr(w, what)()
        elif what in ("suspend", "resume"):
            suspend(w, what == "suspend")
        elif what == "edit" and w.manifest["spec"].get("suspend"):
            edit(w, between)
        elif what in ("run", "end"):
            before = "Pending" if what == "run" else "Running"
            for pod in pods:
                if pod["status"]["phase"] == before:
                    (running if what == "run" else succeeded)(pod, w.seconds)


def to_its_end(w: World) -> World:
    w.settle()
    for stage in STAGES:
        w.finish(stage)
    return w


def shown(w: World, stages: Sequence[str]) -> dict[str, Any]:
    """How it ended, and the pods of these stages' last attempts, without their numbers."""
    status = w.status
    found: dict[str, Any] = {
        key: status.get(key) for key in ("phase", "reason", "message", "evaluation", "lastFailure")
    }
    for name in stages:
        stage = w.stage(name)
        found[name] = {key: stage[key] for key in ("phase", "reason", "message", "outputs", "pods")}
        made = [pod for pod in w.of(name) if _attempt(pod) == stage["attempt"]]
        found[f"pods of {name}"] = {
            pod["metadata"]["labels"][names.LABEL_INDEX]: _without_number(pod, stage["attempt"])
            for pod in made
        }
    return found


def _attempt(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["labels"][names.LABEL_ATTEMPT])


def _without_number(pod: dict[str, Any], attempt: int) -> dict[str, Any]:
    text = json.dumps({"spec": pod["spec"], "labels": pod["metadata"]["labels"]})
    stage = pod["metadata"]["labels"][names.LABEL_STAGE]
    text = text.replace(f"digits-{stage}-{attempt}", f"digits-{stage}-1")
    numbers = r"((?:attempt|podNamePrefix)\W+(?:digits-)?)" + str(attempt) + r"\b"
    found: dict[str, Any] = json.loads(re.sub(numbers, r"\g<1>1", text))
    return found


@settings(max_examples=150, deadline=None)
@given(order=moments, between=targets, target=targets, more=moments)
@example(  # nobody has seen that it was suspended
    order=["reconcile", "run", "reconcile"],
    between=(POLICIES[0], 2, (None, None, None)),
    target=(POLICIES[0], 2, (TEMPLATES[1], None, None)),
    more=[],
)
def test_a_job_that_was_edited_ends_as_a_new_one(
    order: list[str], between: Any, target: Any, more: list[str]
) -> None:
    w = World(manifest())
    go_on(w, order, between)
    suspend(w, True)
    edit(w, target)
    go_on(w, [one for one in more if one not in ("resume", "edit")], None)
    # What is done by now is done: it stays as it was made.
    done = {name for name in STAGES if _is_over(w, name)}
    suspend(w, False)
    to_its_end(w)

    fresh = manifest()
    fresh["spec"] = wanted(fresh["spec"], target)
    plain = to_its_end(World(fresh))
    assert w.status["phase"] == "Succeeded"
    stages = [name for name in STAGES if name not in done]
    assert shown(w, stages) == shown(plain, stages)


def _is_over(w: World, name: str) -> bool:
    """The stage has its result, or its pods have it, whom nobody has asked yet."""
    stored = w.manifest.get("status", {}).get("stages", ())
    over = any((stage["name"], stage["phase"]) == (name, "Succeeded") for stage in stored)
    return over or any(pod["status"]["phase"] == "Succeeded" for pod in w.of(name))
