"""What the operator makes of jobs, on a real API server with a fake kubelet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for

from .conftest import Fates
from .harness import Namespace, Operator, gang, manifest, operator

CHILDREN = ("pods", "services", "networkpolicies")


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane) as running:
        yield running


@pytest.fixture
def space(control_plane: ControlPlane, served: Operator, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


def test_a_job_goes_through_its_stages_to_the_verdict(
    space: Namespace, kubelet: FakeKubelet
) -> None:
    space.run(manifest())
    status = space.wait("digits", phase="Succeeded")

    assert [(s["name"], s["phase"], s["attempt"]) for s in status["stages"]] == [
        ("preprocess", "Succeeded", 1),
        ("train", "Succeeded", 1),
        ("evaluate", "Succeeded", 1),
    ]
    assert status["observedGeneration"] == 1
    assert status["startTime"] <= status["completionTime"]
    assert [m["name"] for m in status["evaluation"]["metrics"]] == ["accuracy", "f1_macro"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Valid": "True",
        "Suspended": "False",
        "Reconciling": "False",
        "Stalled": "False",
        "Complete": "True",
        "Failed": "False",
    }
    assert space.pods() == [
        "digits-evaluate-1-0",
        "digits-preprocess-1-0",
        "digits-train-1-0",
        "digits-train-1-1",
    ]
    assert space.events("digits") == [], "of what went well"


def test_rows_are_predicted_by_the_model_that_passed(
    space: Namespace, kubelet: FakeKubelet
) -> None:
    rows = {"uri": "pvc://datasets/new.csv", "format": "csv", "options": {"delimiter": ";"}}
    space.run(manifest(predict={"input": rows, "output": "pvc://results/digits"}))
    status = space.wait("digits", phase="Succeeded")

    assert [stage["name"] for stage in status["stages"]][2:] == ["evaluate", "predict"]
    left = status["stages"][3]["outputs"]
    assert left["uri"] == "pvc://results/digits"
    assert left["rows"] == {"predicted": 20, "unpredicted": 0}
    pod = space.get("pods", "digits-predict-1-0")
    assert pod is not None
    env = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
    told = json.loads(env["TRAININGJOB_STAGE"])
    assert told["digest"] == status["evaluation"]["modelDigest"]
    assert told["input"]["options"]["delimiter"] == ";"

    # What only the operator checks of it is told in status.
    wrong = manifest("wrong", predict={"input": rows | {"delimiter": ";"}})
    space.run(wrong)
    status = space.wait("wrong", reason="InvalidSpec")
    assert 'spec.predict.input.delimiter: unknown field "delimiter"' in status["message"]
    assert "wrong-preprocess-1-0" not in space.pods()


def test_a_stage_waits_for_the_one_before(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-preprocess-1-0"] = behaviour.run()
    space.run(manifest())
    space.wait("digits", phase="Preprocessing", reason="Running")
    assert space.pods() == ["digits-preprocess-1-0"]

    kubelet.tell("digits-preprocess-1-0", behaviour.succeed(), space.name)
    space.wait("digits", phase="Succeeded")


@pytest.mark.parametrize(
    ("what", "pod", "fate", "expected"),
    [
        (
            "user code that fails is tried once more",
            "digits-train-{}-1",
            behaviour.fail(3, "boom"),
            ("ScriptFailed", "application", 2, 3),
        ),
        (
            "wrong input is not tried again",
            "digits-preprocess-{}-0",
            behaviour.fail(
                1, json.dumps({"error": {"reason": "InputNotFound", "message": "no such file"}})
            ),
            ("InputNotFound", "data", 1, 1),
        ),
        (
            "out of memory is told as such",
            "digits-train-{}-0",
            behaviour.out_of_memory(),
            ("OutOfMemory", "outOfMemory", 2, 137),
        ),
    ],
)
def test_a_failure_is_told_with_its_class_and_cause(
    space: Namespace,
    kubelet: FakeKubelet,
    fates: Fates,
    what: str,
    pod: str,
    fate: Behaviour,
    expected: tuple[str, str, int, int],
) -> None:
    for attempt in range(1, 4):
        # A rank 0 that has told its result would have the last word.
        fates |= {f"digits-train-{attempt}-0": behaviour.run(), pod.format(attempt): fate}
    space.run(manifest())
    status = space.wait("digits", phase="Failed")
    last = status["lastFailure"]

    told = (last["reason"], last["class"], last["attempt"], last["exitCode"])
    assert told == expected
    assert last["pod"] == pod.format(last["attempt"])
    assert status["reason"] == last["reason"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (conditions["Failed"], conditions["Stalled"]) == ("True", "True")


@pytest.mark.parametrize(
    ("what", "fate", "reason"),
    [
        ("a process that is killed", behaviour.die(), "ProcessKilled"),
        ("an eviction", behaviour.evicted(), "Disrupted"),
        ("a preemption", behaviour.preempted(0.1, grace=0.5), "Disrupted"),
    ],
)
def test_one_lost_pod_restarts_the_whole_gang_once(
    space: Namespace, kubelet: FakeKubelet, fates: Fates, what: str, fate: Behaviour, reason: str
) -> None:
    fates |= {f"gang-train-1-{index}": behaviour.run() for index in range(3)}
    fates["gang-train-1-1"] = fate
    space.run(gang(3))
    status = space.wait("gang", phase="Succeeded")

    assert status["stages"][0]["attempt"] == 2
    assert status["lastFailure"]["reason"] == reason
    assert status["lastFailure"]["pod"] == "gang-train-1-1"
    assert space.pods() == [f"gang-train-2-{index}" for index in range(3)]


def test_a_pod_deleted_by_somebody_restarts_the_gang(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates |= {f"gang-train-1-{index}": behaviour.run() for index in range(2)}
    space.run(gang(2))
    space.wait("gang", reason="Running")
    space.delete("pods", "gang-train-1-0")
    status = space.wait("gang", phase="Succeeded")

    assert status["stages"][0]["attempt"] == 2
    assert status["lastFailure"]["reason"] == "PodLost"
    assert status["lastFailure"]["class"] == "infrastructure"


@pytest.mark.parametrize(
    ("what", "fate", "reason"),
    [
        ("an image that is not there", behaviour.image_pull_fails(), "ImagePullFailed"),
        ("a Secret that is not there", behaviour.config_error(), "ContainerConfigError"),
        ("no node with room", behaviour.unschedulable(), "Unschedulable"),
    ],
)
def test_what_keeps_a_pod_from_starting_is_told(
    space: Namespace, kubelet: FakeKubelet, fates: Fates, what: str, fate: Behaviour, reason: str
) -> None:
    fates["digits-preprocess-1-0"] = fate
    space.run(manifest(policy={"startupDeadlineSeconds": 4}))
    status = space.wait("digits", reason=reason)
    assert "digits-preprocess-1-0" in status["message"]

    status = space.wait("digits", phase="Failed")
    assert status["reason"] == "StartupDeadlineExceeded"
    expected = [reason, "StartupDeadlineExceeded"]
    wait_for("the Events", lambda: [e["reason"] for e in space.events("digits")] == expected)


def test_a_gate_that_fails_is_the_verdict(space: Namespace, kubelet: FakeKubelet) -> None:
    space.run(manifest(evaluate={"gates": [{"metric": "accuracy", "min": 0.9999}]}))
    status = space.wait("digits", phase="Failed")

    assert status["reason"] == "GateFailed"
    assert status["evaluation"]["passed"] is False


def test_the_policy_may_change_in_mid_run_and_takes_effect(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-preprocess-1-0"] = behaviour.run()
    space.run(manifest())
    space.wait("digits", reason="Running")
    space.patch("trainingjobs", "digits", {"spec": {"policy": {"activeDeadlineSeconds": 1}}})
    status = space.wait("digits", phase="Failed")

    assert status["reason"] == "DeadlineExceeded"
    assert status["observedGeneration"] == 2
    wait_for("the pod to be stopped", lambda: space.pods() == [])


def test_an_erased_status_is_rebuilt_and_nothing_runs_again(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-evaluate-1-0"] = behaviour.run()
    space.run(manifest())
    space.wait("digits", phase="Evaluating", reason="Running")
    before = {pod["metadata"]["uid"] for pod in space.list("pods")}
    space.patch("trainingjobs", "digits", {"status": None}, "status")
    space.wait("digits", phase="Evaluating", reason="Running")

    assert {pod["metadata"]["uid"] for pod in space.list("pods")} == before
    kubelet.tell("digits-evaluate-1-0", behaviour.succeed(), space.name)
    status = space.wait("digits", phase="Succeeded")
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    assert status["stages"][0]["outputs"]


def test_a_status_changed_by_hand_is_put_right(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-train-1-0"] = behaviour.run()
    space.run(manifest())
    space.wait("digits", phase="Training")
    forged = {"status": {"phase": "Pending", "reason": "Nonsense", "message": "all is well"}}
    space.patch("trainingjobs", "digits", forged, "status")

    space.wait("digits", phase="Training", message="")


def test_a_service_and_a_network_policy_that_somebody_deletes_are_made_again(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["gang-train-1-0"] = fates["gang-train-1-1"] = behaviour.run()
    space.run(gang(2))
    space.wait("gang", phase="Training", message="")
    before = {kind: uid_of(space, kind) for kind in SHARED}
    for kind, name in SHARED.items():
        space.delete(kind, name)

    for kind, uid in before.items():
        wait_for(f"{kind} again", lambda kind=kind, uid=uid: uid_of(space, kind) not in ("", uid))
    status = space.status("gang")
    assert [stage["attempt"] for stage in status["stages"]] == [1] * len(status["stages"])


SHARED = {"services": "gang-train", "networkpolicies": "gang-stages"}


def uid_of(space: Namespace, kind: str) -> str:
    found = space.get(kind, SHARED[kind])
    return "" if found is None else found["metadata"]["uid"]


@pytest.mark.parametrize("kind", ["pods", "services"])
def test_somebody_elses_object_of_our_name_is_left_alone_and_told(
    space: Namespace, kubelet: FakeKubelet, kind: str
) -> None:
    name = "gang-train-1-0" if kind == "pods" else "gang-train"
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "theirs"}]}
    if kind == "services":
        spec = {"clusterIP": "None", "selector": {"app": "theirs"}}
    theirs = space.create(kind, {"metadata": {"name": name}, "spec": spec})
    space.run(gang(2))
    status = space.wait("gang", reason="NameConflict")

    assert name in status["message"]
    left = space.get(kind, name)
    assert left is not None
    assert left["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert left["spec"] == theirs["spec"] or kind == "pods"

    # Once it is out of the way the job goes on by itself.
    space.delete(kind, name)
    space.wait("gang", phase="Succeeded", seconds=90)


def test_pods_with_our_labels_that_are_not_the_jobs_are_ignored(
    space: Namespace, kubelet: FakeKubelet
) -> None:
    labels = {
        "trainingjob.dev/job": "digits",
        "trainingjob.dev/stage": "preprocess",
        "trainingjob.dev/attempt": "7",
        "trainingjob.dev/index": "0",
    }
    owner = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "name": "digits",
        "uid": "00000000-0000-0000-0000-000000000000",
        "controller": True,
    }
    for name, owners in (("nobodys", []), ("another-jobs", [owner])):
        meta = {"name": name, "labels": labels, "ownerReferences": owners}
        space.create(
            "pods", {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        )
    space.run(manifest())
    status = space.wait("digits", phase="Succeeded")

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_a_job_made_again_under_its_name_runs_anew(space: Namespace, kubelet: FakeKubelet) -> None:
    space.run(manifest())
    first = space.wait("digits", phase="Succeeded")
    space.delete("trainingjobs", "digits")
    space.run(manifest())
    second = space.wait("digits", phase="Succeeded")

    assert first["conditions"] != second["conditions"] or first["startTime"] <= second["startTime"]
    uid = space.job("digits")["metadata"]["uid"]
    pods = wait_for("the pods of the first to go", lambda: _all_of(space, uid))
    assert len(pods) == 4


def _all_of(space: Namespace, uid: str) -> list[dict[str, Any]]:
    pods = space.list("pods", "trainingjob.dev/job=digits")
    ours = [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
    return ours if len(ours) == len(pods) else []


@pytest.mark.parametrize("seed", range(6))
def test_a_job_deleted_at_any_moment_leaves_nothing(
    space: Namespace, kubelet: FakeKubelet, fates: Fates, seed: int
) -> None:
    stage = random.Random(seed).choice(["", "preprocess", "train", "evaluate"])
    if stage:
        fates[f"digits-{stage}-1-0"] = behaviour.run()
    space.run(manifest())
    if stage:
        wait_for(stage, lambda: space.stage("digits", stage).get("phase") == "Running")
    options = {"propagationPolicy": "Foreground"} if seed % 2 else {}
    space.delete("trainingjobs", "digits", **options)

    wait_for(
        "everything to be gone",
        lambda: not any(map(space.list, ("trainingjobs", *CHILDREN))),
    )


@pytest.mark.parametrize("ends", ["Succeeded", "Failed"])
def test_pods_and_job_go_after_their_time_and_what_was_in_the_way_stays(
    space: Namespace, kubelet: FakeKubelet, fates: Fates, ends: str
) -> None:
    if ends == "Failed":
        fates["digits-train-1-0"] = behaviour.fail(1)
    policy = {"cleanPods": "onSuccess", "retries": {"application": 0}}
    space.run(manifest(policy=policy))
    space.wait("digits", phase=ends)
    if ends == "Succeeded":
        wait_for("no pod", lambda: not space.pods())
    assert bool(space.pods()) == (ends == "Failed")
    space.patch("trainingjobs", "digits", {"spec": {"policy": {"ttlSecondsAfterFinished": 1}}})

    wait_for("nothing", lambda: not any(map(space.list, ("trainingjobs", *CHILDREN))))
    told = [event["reason"] for event in space.events("digits")]
    assert told == ([] if ends == "Succeeded" else ["ScriptFailed"])


def test_a_job_is_alone_behind_a_policy_that_is_there_before_its_pods(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-preprocess-1-0"] = behaviour.run()
    space.run(manifest())
    pod = space.wait_for_pod("digits-preprocess-1-0")
    policy = space.get("networkpolicies", "digits-stages")

    assert policy is not None
    assert int(policy["metadata"]["resourceVersion"]) < int(pod["metadata"]["resourceVersion"])
    assert policy["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]


# --- suspension -----------------------------------------------------------------------------


def suspend(space: Namespace, value: bool) -> None:
    space.patch("trainingjobs", "digits", {"spec": {"suspend": value}})


def test_a_job_created_suspended_waits_until_it_is_let_go(
    space: Namespace, kubelet: FakeKubelet
) -> None:
    space.run(manifest(suspend=True))
    status = space.wait("digits", phase="Suspended")
    assert "startTime" not in status and not space.pods()
    suspend(space, False)
    status = space.wait("digits", phase="Succeeded")
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


@pytest.mark.parametrize("stage", ["preprocess", "train", "evaluate"])
def test_each_stage_can_be_suspended_and_resumed(
    space: Namespace, kubelet: FakeKubelet, fates: Fates, stage: str
) -> None:
    pod = f"digits-{stage}-1-0"
    fates[pod] = behaviour.run()
    space.run(manifest())
    space.wait_for_pod(pod)
    wait_for("it to run", lambda: space.stage("digits", stage).get("phase") == "Running")
    suspend(space, True)
    space.wait("digits", phase="Suspended")
    wait_for("its pods to be gone", lambda: pod not in space.pods())
    assert space.status("digits")["stages"]
    suspend(space, False)
    status = space.wait("digits", phase="Succeeded")
    told = {each["name"]: each["attempt"] for each in status["stages"]}
    assert told == {name: 1 + (name == stage) for name in ("preprocess", "train", "evaluate")}
    assert "lastFailure" not in status
    assert [e["reason"] for e in space.events("digits")].count("Suspended") == 1


def test_twenty_fast_toggles_converge(space: Namespace, kubelet: FakeKubelet, fates: Fates) -> None:
    for attempt in range(1, 25):
        fates[f"digits-preprocess-{attempt}-0"] = behaviour.succeed(0.5)
    space.run(manifest())
    for number in range(20):
        suspend(space, number % 2 == 0)
    status = space.wait("digits", phase="Succeeded")
    assert "lastFailure" not in status
    assert status["observedGeneration"] == 21


def test_a_job_that_another_controller_looks_after_is_left_alone(
    space: Namespace, kubelet: FakeKubelet
) -> None:
    space.run(manifest("theirs", managedBy="kueue.x-k8s.io/multikueue"))
    space.run(manifest())
    space.wait("digits", phase="Succeeded")
    status = space.status("theirs")
    assert (status["phase"], status["observedGeneration"]) == ("Pending", 0)
    assert not [name for name in space.pods() if name.startswith("theirs")]
