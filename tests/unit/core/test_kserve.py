"""A model is served by KServe; what its controller does is as tests/cluster/kserve.py has it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.cluster.kserve import STOP, deployment_of, status_of
from tests.unit.core.serving import DIGEST, ON, Serving, held
from tests.unit.core.world import World, at, manifest, stamp
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Blocker, ChildView, Observation, PodView, plan
from trainingjob.core.names import ANNOTATION_PREVIOUS, LABEL_ROLLOUT, accepted_model_uri

WORSE = "sha256:" + "b" * 64
URI = accepted_model_uri(TrainingJob.from_dict(manifest()), DIGEST, "sha256:1")
THERE = replace(ON, kserve="there")
KIND = "InferenceService"


def by_kserve(**kserve: Any) -> dict[str, Any]:
    return manifest(deploy={"kserve": {"minReplicas": 2, **kserve}})


@dataclass
class KServed(Serving):
    """As Serving. ``made``: the Deployment that KServe has made, if it has looked."""

    manifest: dict[str, Any] = field(default_factory=by_kserve)
    settings: Any = THERE
    made: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (KIND, super().key[1])

    def observe(self) -> Observation:
        obs = World.observe(self)
        there = [
            ChildView.from_dict(kind, obj)
            for (kind, _), obj in self.objects.items()
            if obj["metadata"].get("labels", {}).get("trainingjob.dev/job") == obs.job.metadata.name
        ]
        if self.made is not None:
            there.append(ChildView.from_dict("Deployment", self.made))
        rollout = next((c.rollout for c in there if c.kind == KIND), "")
        pods = [p for p in self.servers if p["metadata"]["labels"][LABEL_ROLLOUT] == rollout]
        servers = tuple(PodView.from_dict(pod) for pod in pods)
        return replace(obs, children=(*obs.children, *there), servers=servers)

    def looks(self, updated: int = 0, available: int = 0) -> None:
        """KServe brings its Deployment up to date, which has so many pods then."""
        service = self.deployment
        meta = service["metadata"]
        if meta["annotations"].get(STOP):
            self.made = None
            return
        before = self.made
        self.made = deployment_of(service | {"metadata": meta | {"namespace": "team"}})
        wanted = self.made["spec"].setdefault("replicas", 2)
        old = before["metadata"]["generation"] if before is not None else 0
        same = before is not None and before["spec"] == self.made["spec"]
        self.made["metadata"] |= {"uid": "made", "generation": old + (not same)}
        self.made["status"] = {
            "observedGeneration": self.made["metadata"]["generation"],
            "replicas": max(wanted, updated),
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": [{"type": "Available", "status": "True" if available else "False"}],
        }
        service["status"] = status_of(service, self.made)
        self.seconds += 1
        self.settle()

    def rolled(self) -> None:
        self.looks(2, 2)
        self.looks(2, 2)

    @property
    def template(self) -> dict[str, Any]:
        assert self.made is not None
        template: dict[str, Any] = self.made["spec"]["template"]
        return template

    def fails(self, message: str) -> None:
        """A pod of the present template ends with it."""
        labels = {**self.template["metadata"]["labels"]}
        labels |= {"trainingjob.dev/attempt": "1", "trainingjob.dev/index": "0"}
        end = {"exitCode": 1, "message": message, "finishedAt": stamp(self.seconds)}
        own = {"name": "kserve-container", "state": {"terminated": end}}
        status = {"phase": "Running", "containerStatuses": [own]}
        name = f"digits-predictor-{len(self.servers)}"
        meta = {"name": name, "labels": labels, "uid": name}
        self.servers.append({"metadata": meta, "status": status})
        self.settle()


CORRUPT = json.dumps({"error": {"reason": "ModelCorrupt", "message": "it is cut off"}})


def judged(digest: str = DIGEST, **kserve: Any) -> KServed:
    it = KServed(by_kserve(**kserve))
    it.settle()
    it.judged(digest)
    return it


def served() -> KServed:
    it = judged()
    it.rolled()
    return it


def test_our_server_is_its_container_with_the_same_proof() -> None:
    it = judged(resources={"limits": {"memory": "2Gi"}})
    assert it.applies == [KIND]
    predictor = it.deployment["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["resources"] == {"limits": {"memory": "2Gi"}}
    told = json.loads(
        next(v["value"] for v in container["env"] if v["name"] == "TRAININGJOB_STAGE")
    )
    assert told == {"stage": "serve", "modelUri": URI, "digest": DIGEST, "name": "digits"}
    assert predictor["deploymentStrategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)
    notes = it.deployment["metadata"]["annotations"]
    assert notes["serving.kserve.io/deploymentMode"] == "Standard"
    assert notes["serving.kserve.io/autoscalerClass"] == "none"
    assert "ownerReferences" not in it.deployment["metadata"]


def test_an_autoscaler_has_room_where_there_is_a_maximum() -> None:
    it = judged(maxReplicas=5)
    assert it.deployment["spec"]["predictor"]["maxReplicas"] == 5
    assert "serving.kserve.io/autoscalerClass" not in it.deployment["metadata"]["annotations"]


def test_the_model_is_served_once_all_pods_of_its_deployment_are_ready() -> None:
    it = judged()
    assert "KServe has not said anything yet" in it.stage("deploy")["message"]
    it.looks(1, 1)
    assert (it.status["phase"], it.status["deployment"]["phase"]) == ("Deploying", "RollingOut")
    it.rolled()
    assert [it.status["phase"], it.status["message"]] == [
        "Succeeded",
        "the model passed all gates; InferenceService digits serves it",
    ]
    assert it.status["deployment"] == {
        "phase": "Ready",
        "kind": KIND,
        "name": "digits",
        "endpoint": "http://digits-team.example.com/v2/models/digits",
        "modelUri": URI,
        "modelDigest": DIGEST,
        "replicas": {"desired": 2, "ready": 2},
    }
    assert it.rests()


def test_that_it_is_ready_by_the_pods_of_the_model_before_is_no_proof() -> None:
    it = served()
    it.again()
    it.judged(WORSE)
    it.settle()
    ready = {c["type"]: c["status"] for c in it.deployment["status"]["conditions"]}
    assert ready["Ready"] == "True"
    assert it.status["phase"] == "Deploying", "KServe has not looked yet"
    it.looks(1, 2)
    assert it.status["phase"] == "Deploying", "one of two is new"
    it.rolled()
    assert it.status["phase"] == "Succeeded"
    assert it.status["deployment"]["previous"]["modelDigest"] == DIGEST


def test_what_we_remember_in_its_annotations_leaves_its_pods_alone() -> None:
    it = judged()
    it.looks(2, 2)
    first = copy.deepcopy(it.template)
    assert it.applies == [KIND, KIND], "it is marked as proven"
    it.looks(2, 2)
    assert it.template == first
    assert it.made is not None and it.made["metadata"]["generation"] == 1


def test_pods_that_fail_bring_back_the_model_before() -> None:
    it = served()
    good = copy.deepcopy(it.template)
    predictor = copy.deepcopy(it.deployment["spec"]["predictor"])
    it.again()
    it.judged(WORSE)
    notes = it.deployment["metadata"]["annotations"]
    assert json.loads(notes[ANNOTATION_PREVIOUS]) == predictor
    it.looks(1, 2)
    it.fails(CORRUPT)
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "RolloutFailed"]
    assert it.status["message"].startswith(
        f"ModelCorrupt: it is cut off; {DIGEST} is served again; mend "
    )
    assert it.status["deployment"]["phase"] == "RolledBack"
    assert it.deployment["spec"]["predictor"] == predictor
    it.looks(2, 2)
    assert it.template == good, "the old pods stay as they are"
    assert it.rests()


def test_a_first_model_that_fails_is_not_left_to_try_for_ever() -> None:
    it = judged()
    it.looks(1, 0)
    it.fails(CORRUPT)
    it.settle()
    assert it.status["message"].startswith("ModelCorrupt: it is cut off; no model was served bef")
    assert it.deployment["metadata"]["annotations"][STOP] == "true"
    it.looks()
    # The next one has it served again.
    it.again()
    it.judged(WORSE)
    assert STOP not in it.deployment["metadata"]["annotations"]
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_what_kserve_says_is_told_when_the_deadline_is_over() -> None:
    it = judged()
    failure = {"reason": "RuntimeNotRecognized", "message": "Waiting for runtime"}
    it.deployment["status"] = {
        "conditions": [{"type": "Ready", "status": "False"}],
        "modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure},
    }
    it.seconds += 1
    it.settle()
    words = "KServe says RuntimeNotRecognized: Waiting for runtime"
    assert words in it.stage("deploy")["message"]
    it.seconds += 601
    it.settle()
    assert it.status["reason"] == "RolloutFailed"
    assert f"0 of 2 pods were ready after 600 s; {words}" in it.status["message"]


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("half", ["act", "record"])
@pytest.mark.parametrize("goes_well", [True, False])
def test_an_operator_that_dies_before_or_after_any_write_comes_to_the_same_end(
    goes_well: bool, count: int, half: str
) -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["predictor"])
    it.again()
    it.judged(WORSE)
    settle, it.settle = it.settle, lambda: None  # type: ignore[method-assign]
    it.looks(2 if goes_well else 1, 2)
    if not goes_well:
        it.fails(CORRUPT)
    for step in range(8):
        it.seconds += 1
        getattr(it, half if step == count else "reconcile")()
    it.settle = settle  # type: ignore[method-assign]
    it.settle()
    assert it.status["deployment"]["phase"] == ("Ready" if goes_well else "RolledBack")
    assert (it.deployment["spec"]["predictor"] == good) is not goes_well


def test_going_back_by_hand() -> None:
    it = served()
    old = copy.deepcopy(it.deployment["spec"]["predictor"])
    it.again()
    it.judged(WORSE)
    it.rolled()
    it.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "rollback:1"}
    it.settle()
    assert it.deployment["spec"]["predictor"] == old
    it.rolled()
    assert it.status["deployment"]["phase"] == "RolledBack"
    assert it.status["deployment"]["modelDigest"] == DIGEST


def test_a_runtime_of_kserve_serves_the_folder_of_a_language_model() -> None:
    spec = {
        "runtime": "kserve-huggingfaceserver",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "serviceAccountName": "models",
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "template": {
            "nodeSelector": {"gpu": "h200"},
            "labels": {"team": "ml"},
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        },
    }
    uri = "s3://models/team/digits/accepted/aaaaaaaaaaaa-00000000"
    deploy = {"kserve": spec, "model": {"uri": uri, "digest": DIGEST}}
    rest = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
    it = KServed(manifest(storage={"uri": "s3://models"}, deploy=deploy, **rest))
    it.settle()
    predictor = it.deployment["spec"]["predictor"]
    assert predictor["model"] == {
        "modelFormat": {"name": "huggingface"},
        "runtime": "kserve-huggingfaceserver",
        "storageUri": uri,
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache", "readOnly": False}],
    }
    assert "containers" not in predictor
    assert predictor["serviceAccountName"] == "models"
    assert predictor["nodeSelector"] == {"gpu": "h200"}
    assert predictor["labels"]["team"] == "ml"
    assert [volume["name"] for volume in predictor["volumes"]] == ["cache"]
    it.rolled()
    told = it.status["deployment"]
    assert (told["phase"], told["endpoint"]) == ("Ready", "http://digits-team.example.com")


@pytest.mark.parametrize(
    ("kserve", "reason", "words"),
    [
        ("off", "OperatorForbidden", "started without --kserve"),
        ("missing", "KServeMissing", "the API server has no inferenceservices of KServe"),
    ],
)
def test_without_rights_or_kserve_nothing_runs(kserve: Any, reason: str, words: str) -> None:
    it = KServed(settings=replace(ON, kserve=kserve))
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", reason]
    assert words in it.status["message"]
    assert not it.pods


def test_kserve_that_goes_meanwhile_has_a_minute_to_come_back() -> None:
    it = KServed()
    it.settle()
    it.settings = replace(ON, kserve="missing")
    for stage in ("preprocess", "train"):
        it.finish(stage)
    it.jobs = ()
    blocker = Blocker("digits", "KServeMissing", "InferenceService digits could not be made: 404")
    refuse = it.create

    def create(child: dict[str, Any]) -> None:
        if child["kind"] == KIND:
            it.blockers = (blocker,)
        else:
            refuse(child)

    it.create = create  # type: ignore[method-assign]
    it.judged()
    assert it.stage("deploy")["reason"] == "KServeMissing"
    assert (plan(it.observe(), at(it.seconds)).requeue_after or 0) <= 60
    it.seconds += 61
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "KServeMissing"]
    assert "install KServe" in it.status["message"]


def test_what_is_somebody_elses_is_told_and_not_touched() -> None:
    it = KServed(jobs=("other",))
    theirs = held(by="other")
    it.objects[KIND, "digits"] = copy.deepcopy(theirs)
    it.settle()
    it.judged()
    assert it.objects[KIND, "digits"] == theirs
    assert it.stage("deploy")["reason"] == "NameConflict"
    words = "there is an InferenceService digits that job other holds"
    assert words in it.stage("deploy")["message"]


def test_evaluation_is_told_that_its_model_is_in_use() -> None:
    it = served()
    it.again()
    it.finish("preprocess")
    it.finish("train")
    (pod,) = it.of("evaluate")
    env = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    assert json.loads(env["TRAININGJOB_STAGE"])["inUse"] == [URI.rpartition("/")[2]]


def test_on_one_machine_it_proves_itself_as_any_other() -> None:
    it = Serving(by_kserve(), settings=replace(ON, serves=False))
    it.settle()
    it.judged()
    assert it.applies == ["Service", "Deployment"]
    it.rolled()
    assert it.status["message"].endswith("; a server of it has reproduced what was judged")
