"""Who is charged for a failure, how long the next attempt waits, and what is kept of the last."""

from __future__ import annotations

import pytest

from trainingjob.api.v1alpha1.status import FailureCounts
from trainingjob.core import plan
from trainingjob.core.policy.retries import delay_seconds, forgiven

from .world import at, disrupted, ended, failed, manifest, running, stamp, world

RULES = {
    "exitCodes": [
        {"codes": [42, 137], "action": "ignore"},
        {"codes": [3], "action": "fail"},
        {"codes": [42, 1, 75], "action": "retry"},
    ]
}


@pytest.mark.parametrize(
    ("what", "fate", "attempt", "charged"),
    [
        ("ignored", lambda p, s: ended(p, s, code=42), 2, {"disruption": 1}),
        ("ignored: killed", lambda p, s: ended(p, s, code=137), 2, {"disruption": 1}),
        ("fails at once", lambda p, s: ended(p, s, code=3), 1, {}),
        ("retried", lambda p, s: ended(p, s, code=75), 2, {"application": 1}),
        ("no rule", lambda p, s: ended(p, s, code=7), 2, {"application": 1}),
        ("wrong input stays wrong", lambda p, s: failed(p, s, "InputEmpty", exitCode=1), 1, {}),
        ("an eviction is an eviction", disrupted, 2, {"disruption": 1}),
    ],
)
def test_exit_codes_mean_what_the_policy_says(what, fate, attempt, charged):
    w = world(policy=RULES)
    w.finish("preprocess")
    w.finish("train", fate)
    stage = w.stage("train")
    counts = {name: number for name, number in stage["failures"].items() if number}
    assert (stage["attempt"], counts) == (attempt, charged), what
    assert (w.status["phase"] == "Failed") == (attempt == 1)


def test_infrastructure_failures_are_forgotten_after_a_healthy_hour_and_mistakes_are_not():
    counts = FailureCounts(infrastructure=4, application=1, disruption=2)
    assert forgiven(counts, 3599) == counts
    assert forgiven(counts, 3600) == FailureCounts(infrastructure=0, application=1, disruption=2)


def test_a_long_job_on_bad_nodes_outlives_its_budget_if_each_stretch_is_long():
    w = world(policy={"retries": {"infrastructure": 1}})
    w.finish("preprocess")
    for attempt in range(2, 5):
        for pod in w.of("train"):
            running(pod, w.seconds)
        w.settle()
        begun = stamp(w.seconds)
        w.seconds += 3600
        for pod in w.of("train"):
            ended(pod, w.seconds, code=137)
            pod["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = begun
        w.settle()
        assert w.stage("train")["attempt"] == attempt
        assert w.stage("train")["failures"]["infrastructure"] == 1


def test_the_first_retry_is_at_once_and_later_ones_wait_longer_and_not_all_alike():
    def waits(charged: int, seed: str = "a") -> float:
        return delay_seconds(FailureCounts(infrastructure=charged), seed)

    assert waits(1) == 0
    assert all(2.0**n <= waits(n + 2) < 1.25 * 2.0**n for n in range(6))
    assert 60 <= waits(1000) < 75
    assert len({waits(5, str(job)) for job in range(100)}) > 90
    assert waits(5) == waits(5)


def test_disruptions_do_not_slow_a_job_down_until_there_are_many():
    def waits(disruptions: int) -> float:
        return delay_seconds(FailureCounts(disruption=disruptions), "a")

    assert [waits(number) for number in (1, 10, 11)] == [0, 0, 0]
    assert 1 <= waits(12) < 1.25
    assert waits(100) >= 60


def test_the_jitter_is_the_same_each_time_we_look():
    w = world()
    w.finish("preprocess")
    for _ in range(2):
        w.finish("train", lambda p, s: ended(p, s, code=137))
        w.seconds += 100
        w.settle()
    w.finish("train", lambda p, s: ended(p, s, code=137))
    first = plan(w.observe(), at(w.seconds)).requeue_after
    assert first is not None
    assert 2 <= first < 2.5
    assert plan(w.observe(), at(w.seconds + 1)).requeue_after == pytest.approx(first - 1)


def test_the_history_keeps_what_pods_that_are_gone_had_to_tell():
    w = world()
    w.finish("preprocess", disrupted)
    w.finish("preprocess")
    w.finish("train", lambda p, s: ended(p, s, code=137))
    w.manifest["spec"]["suspend"] = True
    w.settle()
    w.manifest["spec"]["suspend"] = False
    w.settle()
    w.finish("train")
    w.finish("evaluate")
    told = [(a["stage"], a["attempt"], a["reason"], a.get("class")) for a in w.status["history"]]
    assert told == [
        ("preprocess", 1, "Disrupted", "disruption"),
        ("train", 1, "ProcessKilled", "infrastructure"),
        ("train", 2, "Suspended", ""),
    ]
    assert w.status["history"][1]["pod"] == "digits-train-1-0"
    assert w.status["history"][1]["startTime"] == stamp(2), "not before it was made"
    assert w.status["phase"] == "Succeeded"


def test_the_history_is_bounded_and_ends_with_the_verdict():
    w = world(policy={"retries": {"infrastructure": 1000}})
    for _ in range(30):
        w.finish("preprocess", disrupted)
        w.seconds += 100
        w.settle()
    w.finish("preprocess", lambda p, s: failed(p, s, "InputEmpty"))
    assert [a["attempt"] for a in w.status["history"]] == list(range(12, 32))
    assert w.status["history"][-1]["reason"] == w.status["reason"] == "InputEmpty"


@pytest.mark.parametrize("reason", ["NodeLost", "ScriptFailed"])
def test_the_next_attempt_prefers_other_nodes_than_the_one_that_was_lost(reason):
    theirs = {"weight": 1, "preference": {"matchExpressions": []}}
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    affinity = {"nodeAffinity": {preferred: [theirs]}}
    train = manifest()["spec"]["train"] | {"template": {"affinity": affinity}}
    w = world(train=train)
    w.finish("preprocess")

    def fate(pod, seconds):
        pod["spec"]["nodeName"] = "gpu-7"
        if reason == "NodeLost":
            pod["status"] = {"phase": "Failed", "reason": "NodeLost"}
        else:
            ended(pod, seconds, code=1)

    w.finish("train", fate)
    pod = w.of("train")[0]
    assert pod["metadata"]["name"] == "digits-train-2-0"
    own = [t for t in pod["spec"]["affinity"]["nodeAffinity"][preferred] if t["weight"] == 100]
    fields = [t["preference"]["matchFields"] for t in own]
    # By the node's name, which its label of the host's name need not be. A field has one value.
    other = {"key": "metadata.name", "operator": "NotIn", "values": ["gpu-7"]}
    assert fields == ([[other]] if reason == "NodeLost" else [])
    assert pod["spec"]["affinity"]["nodeAffinity"][preferred][0]["weight"] == 1
