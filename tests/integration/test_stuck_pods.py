"""Pods that are stuck in their deletion, as on a node that is dead, and what policy makes of them.

All in one test: it takes the shortest time after which a pod may be deleted by force.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import NODE, FakeKubelet
from tests.cluster.wait import wait_for

from .harness import Namespace, gang, operator

ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmission"
FORCE = {"forceDeleteAfterSeconds": 30}
# Several: the deadline would end each at the very moment at which its pod is deleted.
FORCED = [f"forced-{number}" for number in range(4)]
POLICIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(FORCED, FORCE | {"startupDeadlineSeconds": 31}),
    "left": {},
    "over": FORCE | {"retries": {"infrastructure": 0}},
    "held": FORCE,
    "refused": FORCE,
}
FINALIZER = "example.com/hold"


def job(name: str) -> dict[str, Any]:
    made = gang(2, name, policy=POLICIES[name])
    made["spec"]["train"]["template"] = {"terminationGracePeriodSeconds": 1}
    return made


@contextmanager
def no_force(space: Namespace, pod: str) -> Iterator[None]:
    """Nobody may delete that pod without grace."""
    rules = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["DELETE"],
        "resources": ["pods"],
    }
    ours = f"request.namespace == '{space.name}' && request.name == '{pod}'"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rules]},
        "matchConditions": [{"name": "ours", "expression": ours}],
        "validations": [
            {
                "expression": "request.options.?gracePeriodSeconds.orValue(30) != 0",
                "message": "not by force",
            }
        ],
    }
    policy = f"no-force-{space.name}"
    binding = {"policyName": policy, "validationActions": ["Deny"]}
    request = space.control_plane.request
    for kind, body in (("policies", spec), ("policybindings", binding)):
        path, meta = f"{ADMISSION}{kind}", {"name": policy}
        status, answer = request("POST", path, {"metadata": meta, "spec": body})
        assert status == 201, answer
    try:
        yield
    finally:
        for kind in ("policybindings", "policies"):
            request("DELETE", f"{ADMISSION}{kind}/{policy}")


def test_a_pod_that_does_not_go_is_deleted_by_force_once_if_its_jobs_policy_says_so(
    control_plane: ControlPlane, namespace: str
) -> None:
    space = Namespace(control_plane, namespace)

    def script(pod: dict[str, Any]) -> Behaviour:
        labels = pod["metadata"]["labels"]
        if labels["trainingjob.dev/attempt"] != "1":
            return behaviour.succeed()
        first = labels["trainingjob.dev/index"] == "0"
        return behaviour.stuck() if first else behaviour.run()

    def events(name: str) -> list[tuple[str, str]]:
        return [(event["reason"], event["message"]) for event in space.events(name)]

    def deletions(**labels: str) -> float:
        return served.metric(
            "trainingjob_api_calls_total", verb="DELETE", resource="pods", **labels
        )

    with (
        FakeKubelet(control_plane, [space.name], 0.05, script) as kubelet,
        operator(control_plane, space.name) as served,
    ):
        with no_force(space, "refused-train-1-0"):
            for name in POLICIES:
                space.run(job(name))
            for name in POLICIES:
                space.wait(name, reason="Running")
            hold = {"metadata": {"finalizers": [FINALIZER]}}
            space.patch("pods", "held-train-1-0", hold)
            for name in POLICIES:
                kubelet.tell(f"{name}-train-1-1", behaviour.die(), space.name)

            failures = {
                name: space.wait(name, reason="Restarting")["lastFailure"] for name in FORCED
            }
            ended = space.wait("over", phase="Failed")
            status = space.wait("refused", reason="PodStuck", seconds=90)
            assert "as policy.forceDeleteAfterSeconds says" in status["message"]

            for name in FORCED:
                status = space.wait(name, phase="Succeeded")
                assert status["lastFailure"] == failures[name]
                assert [past["reason"] for past in status["history"]] == ["ProcessKilled"]
                assert status["stages"][0]["attempt"] == 2
            wait_for("some tries", lambda: deletions(code="422") >= 3)
        space.wait("refused", phase="Succeeded", seconds=90)
        # 0.1, 0.2, 0.4 … seconds, at least half of each.
        assert deletions(code="422") <= 12
        for name in (*FORCED, "refused"):
            pod = f"pod {name}-train-1-0 on node {NODE} was deleted by force"
            told = [text for reason, text in events(name) if reason == "PodForced"]
            assert [pod in text for text in told] == [True]

        wait_for("the pod to go", lambda: space.get("pods", "over-train-1-0") is None)
        assert space.status("over") == ended
        wait_for("its Event", lambda: "PodForced" in dict(events("over")))

        status = space.wait("left", reason="PodStuck")
        assert "force" not in status["message"].replace("--force", "")
        assert "PodForced" not in dict(events("left"))

        wait_for(
            "the finalizer to be told",
            lambda: "a finalizer keeps it" in space.status("held")["message"],
        )
        before = deletions()
        reconciled = served.metric("trainingjob_reconciles_total")
        note = {"metadata": {"annotations": {"a": "b"}}}
        space.patch("pods", "held-train-1-0", note)
        wait_for("another look", lambda: served.metric("trainingjob_reconciles_total") > reconciled)
        assert deletions() == before
        assert space.status("held")["reason"] == "PodStuck"
        space.patch("pods", "held-train-1-0", {"metadata": {"finalizers": None}})
        space.wait("held", phase="Succeeded")
        assert "left-train-1-0" in space.pods()
