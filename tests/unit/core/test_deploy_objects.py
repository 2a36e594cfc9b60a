"""What is applied: the Deployment that serves, its Service, its pods."""

from __future__ import annotations

import json

from tests.unit.core.serving import WORSE, judged, served
from tests.unit.core.world import manifest
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import claim


def test_what_is_kept_has_no_owner_and_what_goes_has() -> None:
    for keep, owners in ((None, 0), (True, 0), (False, 1)):
        it = judged(keep=keep)
        for obj in it.objects.values():
            assert len(obj["metadata"].get("ownerReferences", ())) == owners


def test_one_pod_needs_no_budget_and_its_number_is_left_to_others() -> None:
    it = judged(deployment={})
    assert {kind for kind, _ in it.objects} == {"Service", "Deployment"}
    it.deployment["spec"]["replicas"] = 3  # by an autoscaler
    it.rolled()
    assert it.deployment["spec"]["replicas"] == 3


def test_an_autoscaler_keeps_the_number_that_it_has_set() -> None:
    it = served()
    it.deployment["spec"]["replicas"] = 5
    it.deployment["metadata"]["managedFields"] = [
        {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ]
    it.again()
    it.judged(WORSE)
    assert it.deployment["spec"]["replicas"] == 5


def test_the_pods_are_as_restricted_as_all_others_and_as_the_manifest_says() -> None:
    it = judged(
        name="model",
        selfTest={"rows": 16, "tolerance": 0.01},
        deadlineSeconds=100,
        deployment={
            "replicas": 3,
            "image": "server:1",
            "port": 80,
            "resources": {"limits": {"cpu": "2"}},
            "env": [{"name": "A", "value": "b"}],
            "template": {"nodeSelector": {"disk": "ssd"}, "labels": {"team": "ml"}},
        },
    )
    made = it.objects["Deployment", "model"]["spec"]
    assert made["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert (made["replicas"], made["progressDeadlineSeconds"]) == (3, 100)
    pod, meta = made["template"]["spec"], made["template"]["metadata"]
    (container,) = pod["containers"]
    assert made["selector"]["matchLabels"].items() <= meta["labels"].items()
    assert meta["labels"]["team"] == "ml"
    assert (pod["restartPolicy"], pod["nodeSelector"]) == ("Always", {"disk": "ssd"})
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (claim,) = [m for m in container["volumeMounts"] if m["name"] == "trainingjob-claim-0"]
    assert claim["readOnly"] is True
    assert (container["image"], container["resources"]) == ("server:1", {"limits": {"cpu": "2"}})
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert (env["A"], env["OMP_NUM_THREADS"]) == ("b", "2")
    told = json.loads(env["TRAININGJOB_STAGE"])
    assert (told["name"], told["selfTestRows"], told["tolerance"]) == ("model", 16, 0.01)
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    (port,) = it.objects["Service", "model"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    assert it.objects["Service", "model"]["spec"]["selector"] == made["selector"]["matchLabels"]
    assert it.status["deployment"]["endpoint"] == "http://model.team.svc:80/v2/models/model"


def test_the_claim_that_is_made_for_the_job_is_for_several_pods() -> None:
    for deploy, mode in ((None, "ReadWriteOnce"), ({"deployment": {}}, "ReadWriteMany")):
        made = manifest(
            storage={"pvc": {"size": "1Gi"}}, deploy=deploy, train={"model": {"mlp": {}}}
        )
        made["spec"]["preprocess"]["engine"] = "pandas"
        (wanted,) = claim.wanted(TrainingJob.from_dict(made), "preprocess")
        assert wanted["spec"]["accessModes"] == [mode]
