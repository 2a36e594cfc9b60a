"""What policy.retain does not keep is removed when the job is over, by a pod that changes nothing
about the verdict."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tests.unit.core.world import (
    RUN,
    World,
    at,
    disrupted,
    ended,
    failed,
    own_status,
    running,
    succeeded,
    world,
)
from trainingjob.api.payload import CleanupPayload
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Blocker, PodView, Settings, events, ownership, plan, status

ALL = {"checkpoints": "never", "datasets": "never"}


def cleaned(pod: dict[str, Any], seconds: float, left: str = "") -> None:
    outputs: dict[str, Any] = {"uri": RUN}
    if left:
        outputs["warnings"] = [{"reason": "Left", "message": left}]
    ended(pod, seconds, message=json.dumps({"result": {"outputs": outputs}}))


def finished(fate: str = "Succeeded", retain: dict[str, str] | None = None, **policy: Any) -> World:
    w = world(policy={"retain": ALL if retain is None else retain, **policy})
    w.finish("preprocess")
    if fate == "Failed":
        w.finish("train", lambda p, s: failed(p, s, "CheckpointMismatch"))
    else:
        w.finish("train")
        w.finish("evaluate")
    assert w.status["phase"] == fate
    return w


def cleaner(w: World) -> dict[str, Any]:
    (pod,) = [
        pod
        for pod in w.pods.values()
        if pod["metadata"]["labels"].get("trainingjob.dev/role") == "cleaner"
        and pod["status"]["phase"] in ("Pending", "Running")
    ]
    return pod


def asked(pod: dict[str, Any]) -> CleanupPayload:
    told = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    return CleanupPayload.model_validate_json(told["TRAININGJOB_STAGE"])


@pytest.mark.parametrize(
    ("when", "fate", "removed"),
    [
        (None, "Succeeded", False),
        (None, "Failed", False),
        ("always", "Succeeded", False),
        ("always", "Failed", False),
        ("onFailure", "Succeeded", True),
        ("onFailure", "Failed", False),
        ("never", "Succeeded", True),
        ("never", "Failed", True),
    ],
)
@pytest.mark.parametrize("kind", ["checkpoints", "datasets"])
def test_artefacts_stay_as_the_policy_says(kind, when, fate, removed):
    w = finished(fate, {kind: when} if when else {})
    assert ("cleanup" in w.status) is removed
    if not removed:
        assert w.rests()
        return
    before = {key: value for key, value in w.status.items() if key != "cleanup"}
    told = asked(cleaner(w))
    datasets, checkpoints = f"{RUN}/dataset", f"{RUN}/checkpoints"
    assert told.dataset == (datasets if kind == "datasets" else None)
    assert told.checkpoints == (checkpoints if kind == "checkpoints" else None)
    assert (told.dataset_run, told.checkpoints_run) == ("uid-1", "uid-1")
    assert not w.rests()
    cleaned(cleaner(w), w.seconds)
    w.settle()
    assert w.status["cleanup"]["phase"] == "Succeeded"
    assert {key: value for key, value in w.status.items() if key != "cleanup"} == before
    assert w.rests()


def test_the_pod_is_small_and_reaches_the_storage_as_its_stage_does():
    train = {
        "nodes": 2,
        "model": {"mlp": {}},
        "envFrom": [{"secretRef": {"name": "s3", "optional": False}}],
        "image": "mine:1",
        "resources": {"limits": {"nvidia.com/gpu": 8}},
        "template": {
            "tolerations": [{"key": "gpu"}],
            "scratch": {"size": "1Ti", "storageClassName": "ssd"},
        },
    }
    w = world(policy={"retain": ALL}, train=train)
    w.settings = Settings(status_url="https://operator")
    w.finish("preprocess")
    w.finish("train", lambda p, s: failed(p, s, "CheckpointMismatch"))
    pod = cleaner(w)
    assert pod["metadata"]["name"] == "digits-train-2-0"
    (container,) = pod["spec"]["containers"]
    assert container["image"] == w.settings.images["torch"]
    assert container["envFrom"] == train["envFrom"]
    assert "STATUS_URL" not in {v["name"] for v in container["env"]}
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert pod["spec"]["tolerations"] == [{"key": "gpu"}]
    assert {"name": "trainingjob-tmp", "emptyDir": {"sizeLimit": "100Gi"}} in pod["spec"]["volumes"]


def test_nobody_cleans_where_nothing_has_begun():
    w = world(policy={"retain": ALL, "activeDeadlineSeconds": 5}, suspend=True)
    assert not w.pods
    assert "cleanup" not in w.status


def test_it_begins_when_nobody_writes_any_more():
    w = world(policy={"retain": ALL})
    w.finish("preprocess")
    first, second = w.of("train")
    running(first, w.seconds)
    running(second, w.seconds)
    w.settle()
    failed(first, w.seconds, "CheckpointMismatch")
    # Its other pod ends only in a while.
    w.record()
    assert w.status["phase"] == "Failed"
    assert not plan(w.observe(), at(w.seconds)).create
    w.record()
    assert "has not ended yet" in w.status["cleanup"]["message"]
    w.settle()
    assert cleaner(w)["metadata"]["name"] == "digits-train-2-0"


@pytest.mark.parametrize(
    ("what", "fates", "phase", "words"),
    [
        ("killed, and then well", [disrupted, cleaned], "Succeeded", ""),
        (
            "storage that does not answer, and then does",
            [partial(failed, reason="StorageFailed"), cleaned],
            "Succeeded",
            "",
        ),
        (
            "storage that never answers",
            [partial(failed, reason="StorageFailed")] * 4,
            "Failed",
            f"remove what is left in {RUN}, or edit policy.retain",
        ),
        (
            "missing rights",
            [partial(failed, reason="StorageUnavailable")],
            "Failed",
            f"remove what is left in {RUN}, or edit policy.retain",
        ),
        ("what it says nothing of", [ended] * 4, "Failed", "tells nothing"),
        (
            "what another job has written",
            [partial(cleaned, left="the dataset was written by another run: it was left")],
            "Succeeded",
            "it was left",
        ),
    ],
)
def test_what_comes_of_it(what, fates, phase, words):
    w = finished(cleanPods="always")
    for number, fate in enumerate(fates):
        assert w.status["cleanup"]["phase"] == "Running", what
        pod = cleaner(w)
        assert pod["metadata"]["name"] == f"digits-evaluate-{number + 2}-0"
        w.seconds += 1
        fate(pod, w.seconds)
        w.settle()
        w.seconds += 60
        w.settle()
    assert w.status["cleanup"]["phase"] == phase
    assert words in w.status["cleanup"].get("message", "")
    assert (w.status["phase"], w.status["reason"]) == ("Succeeded", "Completed")
    assert w.rests()
    assert not w.pods


def test_that_it_failed_is_announced_once():
    w = finished()
    before = w.observe().job.status
    failed(cleaner(w), w.seconds, "StorageUnavailable")
    obs = w.observe()
    after = status(obs, at(w.seconds))
    (event,) = events(obs.job, before, after, at(w.seconds))
    assert (event["type"], event["reason"]) == ("Warning", "CleanupFailed")
    assert event["message"] == after.cleanup.message
    assert not events(obs.job, after, after, at(w.seconds))


def test_what_keeps_its_pod_from_starting_is_told():
    w = finished()
    waits = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    cleaner(w)["status"]["containerStatuses"] = [own_status(cleaner(w), waits)]
    w.record()
    assert "no such image" in w.status["cleanup"]["message"]
    w.seconds += 700
    w.record()
    assert w.status["cleanup"]["phase"] == "Failed"
    assert "no such image" in w.status["cleanup"]["message"]


@pytest.mark.parametrize("runs", [False, True])
def test_it_is_given_up_in_the_end(runs):
    w = finished()
    pod = cleaner(w)
    if runs:
        running(pod, w.seconds)
    else:
        w.blockers = (Blocker(pod["metadata"]["name"], "QuotaExceeded", "exceeded quota"),)
        del w.pods[pod["metadata"]["name"]]
        w.record()
        assert w.status["cleanup"]["message"] == "exceeded quota"
    w.seconds += 599
    w.record()
    assert w.status["cleanup"]["phase"] == "Running"
    w.seconds += 3600
    w.record()
    assert w.status["cleanup"]["phase"] == "Failed"
    w.settle()
    assert w.rests(), "the pod that hangs was deleted"


def test_the_job_goes_when_it_is_cleaned_up():
    w = finished(ttlSecondsAfterFinished=0)
    assert not plan(w.observe(), at(w.seconds + 9)).delete_job
    cleaned(cleaner(w), w.seconds)
    w.record()
    assert plan(w.observe(), at(w.seconds)).delete_job


def test_a_policy_that_is_edited_afterwards_holds():
    w = finished(retain={"checkpoints": "never"})
    cleaned(cleaner(w), w.seconds)
    w.settle()
    w.manifest["spec"]["policy"] = {"retain": ALL}
    w.manifest["metadata"]["generation"] = 2
    w.settle()
    assert asked(cleaner(w)).dataset == f"{RUN}/dataset"
    failed(cleaner(w), w.seconds, "StorageUnavailable")
    w.settle()
    assert w.status["cleanup"]["phase"] == "Failed"
    w.manifest["metadata"]["generation"] = 3
    w.settle()
    assert cleaner(w)["metadata"]["name"] == "digits-evaluate-4-0", "tried again"
    w.manifest["metadata"]["generation"] = 4
    w.settle()
    cleaned(cleaner(w), w.seconds)
    w.settle()
    w.manifest["metadata"]["generation"] = 5
    w.settle()
    assert w.rests(), "there is nothing more to do"


def test_who_changes_their_mind_before_it_begins_keeps_all():
    w = world(policy={"retain": ALL})
    w.finish("preprocess")
    first, _ = w.of("train")
    failed(first, w.seconds, "CheckpointMismatch")
    w.record()
    assert w.status["cleanup"]["phase"] == "Running", "it waits for the other pod of the gang"
    w.manifest["spec"]["policy"] = {"retain": {"checkpoints": "always", "datasets": "never"}}
    w.record()
    assert w.status["cleanup"]["kinds"] == ["datasets"]
    w.manifest["spec"]["policy"] = {}
    w.settle()
    assert (w.status["cleanup"]["phase"], w.status["cleanup"]["kinds"]) == ("Succeeded", [])
    assert w.rests()
    w.manifest["spec"]["policy"] = {"retain": ALL}
    w.manifest["metadata"]["generation"] = 2
    w.settle()
    assert cleaner(w)["metadata"]["name"] == "digits-train-3-0"


@pytest.mark.parametrize(("retain", "first"), [(ALL, "preprocess"), ({"checkpoints": "never"}, "")])
@pytest.mark.parametrize("busy", [False, True])
def test_a_rerun_makes_again_what_is_gone(retain, first, busy):
    w = finished(retain=retain)
    if not busy:
        cleaned(cleaner(w), w.seconds)
        w.settle()
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "evaluate:1"}
    w.settle()
    assert "cleanup" not in w.status
    assert w.status["stages"][0]["phase"] == ("Running" if first else "Succeeded")
    for stage in ("preprocess", "train") if first else ():
        w.finish(stage)
    w.finish("evaluate", succeeded)
    assert w.stage("evaluate")["attempt"] == 3, "its pod is not taken for the one that cleaned up"
    told = asked(cleaner(w))
    uid = "uid-1-2" if first else "uid-1"
    assert (told.dataset_run, told.checkpoints_run) == (uid, uid)


@pytest.mark.parametrize(("attempt", "counts"), [(1, True), (2, True), (3, False)])
def test_its_pod_counts_without_a_key(attempt, counts):
    w = finished()
    pod = cleaner(w)
    pod["metadata"]["labels"]["trainingjob.dev/attempt"] = str(attempt)
    pod["metadata"]["name"] = f"digits-evaluate-{attempt}-0"
    of = TrainingJob.from_dict(w.manifest)
    assert ownership.counts(of, PodView.from_dict(pod), b"") is counts


def test_that_rows_are_gone_is_known_whatever_the_policy_says_later():
    w = finished(retain={"datasets": "never"})
    cleaned(cleaner(w), w.seconds)
    w.settle()
    w.manifest["spec"]["policy"] = {"retain": {"checkpoints": "never", "datasets": "always"}}
    w.manifest["metadata"]["generation"] = 2
    w.settle()
    cleaned(cleaner(w), w.seconds)
    w.settle()
    assert w.status["cleanup"]["kinds"] == ["checkpoints"]
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    w.settle()
    assert w.status["phase"] == "Preprocessing"


def test_each_try_has_its_own_time():
    w = finished()
    running(cleaner(w), w.seconds)
    w.seconds += 900
    disrupted(cleaner(w), w.seconds)
    w.settle()
    assert w.status["cleanup"]["phase"] == "Running"
    assert cleaner(w)["metadata"]["name"] == "digits-evaluate-3-0"


def test_what_others_take_to_end_is_not_its_time():
    w = world(policy={"retain": ALL, "startupDeadlineSeconds": 30})
    w.finish("preprocess")
    first, second = w.of("train")
    running(first, w.seconds)
    running(second, w.seconds)
    w.settle()
    failed(first, w.seconds, "CheckpointMismatch")
    w.record()
    w.seconds += 60
    w.record()
    assert w.status["cleanup"]["phase"] == "Running"


@pytest.mark.parametrize("over", [False, True])
def test_a_pod_that_cleans_up_is_no_attempt_of_its_stage(over):
    """Its status is erased: it is told from the other pods as before."""
    w = finished("Failed", cleanPods="never")
    if over:
        cleaned(cleaner(w), w.seconds)
        w.settle()
    before = w.status
    w.manifest["status"] = {}
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", before["reason"])
    assert [s.get("attempt") for s in w.status["stages"]] == [
        s.get("attempt") for s in before["stages"]
    ]


def test_a_stage_waits_until_nobody_removes_what_it_would_write():
    w = finished()
    pod = cleaner(w)
    running(pod, w.seconds)
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    w.record()
    assert not [c for c in plan(w.observe(), at(w.seconds)).create if c["kind"] == "Pod"]
    w.settle()
    assert pod["metadata"]["name"] not in w.pods
    assert w.status["phase"] == "Preprocessing"
