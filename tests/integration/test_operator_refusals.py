"""What the API server refuses is told in status, and the job goes on once it is put right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.build import ROOT
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell

from .harness import JOBS, Namespace, Operator, gang, manifest, operator

CRD = "trainingjobs.trainingjob.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICIES = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane) as running:
        yield running


@pytest.fixture
def space(control_plane: ControlPlane, served: Operator, namespace: str) -> Iterator[Namespace]:
    with FakeKubelet(control_plane, [namespace], 0.05):
        yield Namespace(control_plane, namespace)


Act = Callable[[Namespace], None]


def quota(hard: dict[str, str]) -> tuple[Act, Act]:
    def make(space: Namespace) -> None:
        space.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        wait_for("the quota", lambda: (space.get("resourcequotas", "q") or {}).get("status"))

    return make, lambda space: space.delete("resourcequotas", "q")


def pod_security(level: str) -> tuple[Act, Act]:
    def label(value: str | None) -> Act:
        path = "/api/v1/namespaces/"
        labels = {"pod-security.kubernetes.io/enforce": value}
        body = {"metadata": {"labels": labels}}

        def patch(space: Namespace) -> None:
            space.control_plane.request("PATCH", f"{path}{space.name}", body)

        return patch

    return label(level), label(None)


def limit_range() -> tuple[Act, Act]:
    limits = [{"type": "Container", "max": {"cpu": "1m"}, "min": {"cpu": "1m"}}]

    def make(space: Namespace) -> None:
        space.create("limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}})

    return make, lambda space: space.delete("limitranges", "l")


def admission_policy(operation: str = "CREATE") -> tuple[Act, Act]:
    def make(space: Namespace) -> None:
        name = f"no-pods-{space.name}"
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": [operation],
                        "resources": ["pods"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "no pods on a Wednesday"}],
        }
        match = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
        binding = {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": match},
        }
        for kind, body in (("policies", spec), ("policybindings", binding)):
            path = f"{POLICIES}/validatingadmission{kind}"
            meta = {"name": name}
            status, answer = space.control_plane.request(
                "POST", path, {"metadata": meta, "spec": body}
            )
            assert status == 201, answer
        probe = _dry_run if operation == "CREATE" else _dry_deletion
        wait_for("the policy to hold", lambda: probe(space) in (403, 422))

    def remove(space: Namespace) -> None:
        for kind in ("policies", "policybindings"):
            path = f"{POLICIES}/validatingadmission{kind}/no-pods-{space.name}"
            space.control_plane.request("DELETE", path)

    return make, remove


def _dry_run(space: Namespace) -> int:
    probe = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    path = space.path("pods") + "?dryRun=All"
    return space.control_plane.request("POST", path, probe)[0]


def _dry_deletion(space: Namespace) -> int:
    (name,) = space.pods()
    return space.control_plane.request("DELETE", space.path("pods", name) + "?dryRun=All")[0]


def broken_webhook() -> tuple[Act, Act]:
    path = f"{POLICIES}/validatingwebhookconfigurations"

    def make(space: Namespace) -> None:
        webhook = {
            "name": "nobody.listens.test",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }
            ],
        }
        body = {"metadata": {"name": space.name}, "webhooks": [webhook]}
        status, answer = space.control_plane.request("POST", path, body)
        assert status == 201, answer
        wait_for("the webhook to be asked", lambda: _dry_run(space) == 500)

    def remove(space: Namespace) -> None:
        space.control_plane.request("DELETE", f"{path}/{space.name}")

    return make, remove


def no_account() -> tuple[Act, Act]:
    def make_account(space: Namespace) -> None:
        space.create("serviceaccounts", {"metadata": {"name": "trainingjob-spark"}})

    return (lambda space: None), make_account


SPARK = manifest()["spec"]["preprocess"] | {"engine": "spark"}


@pytest.mark.parametrize(
    ("what", "acts", "job", "reason", "words"),
    [
        ("a quota on pods", quota({"pods": "0"}), manifest(), "QuotaExceeded", "exceeded quota: q"),
        (
            "a quota on what pods do not state",
            quota({"limits.memory": "1Gi"}),
            manifest(),
            "PodRefused",
            "a quota counts limits.memory",
        ),
        (
            "a quota on other things that they do not state",
            quota({"requests.cpu": "10"}),
            manifest(),
            "PodRefused",
            "a quota counts requests.cpu",
        ),
        (
            "a quota that holds a part of the gang",
            quota({"pods": "1"}),
            gang(2, "digits"),
            "QuotaExceeded",
            "exceeded quota: q",
        ),
        (
            "a limit range",
            limit_range(),
            manifest(
                preprocess=SPARK
                | {"engine": "pandas", "driver": {"resources": {"limits": {"cpu": "2"}}}}
            ),
            "PodRefused",
            "maximum cpu usage per Container is 1m",
        ),
        ("an admission policy", admission_policy(), manifest(), "PodRefused", "on a Wednesday"),
        (
            "a webhook that nobody answers",
            broken_webhook(),
            manifest(),
            "ApiUnavailable",
            "failed calling webhook",
        ),
        (
            "the missing account of Spark drivers",
            no_account(),
            manifest(preprocess=SPARK),
            "ServiceAccountMissing",
            'serviceaccount "trainingjob-spark" not found',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_told_and_the_job_goes_on_once_it_is_put_right(
    space: Namespace,
    what: str,
    acts: tuple[Act, Act],
    job: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    hinder, put_right = acts
    hinder(space)
    begun = time.monotonic()
    space.run(job)
    status = space.wait("digits", reason=reason)
    tell(what, time.monotonic() - begun, status)
    assert words in status["message"]
    events = wait_for("the Event", lambda: space.events("digits"))
    assert [(event["type"], event["reason"]) for event in events] == [("Warning", reason)]

    put_right(space)
    space.wait("digits", phase="Succeeded", seconds=90)


def test_our_pods_pass_the_restricted_pod_security_standard(space: Namespace) -> None:
    pod_security("restricted")[0](space)
    space.create("serviceaccounts", {"metadata": {"name": "trainingjob-spark"}})
    space.run(manifest(preprocess=SPARK))

    space.wait("digits", phase="Succeeded")


def test_an_object_that_came_in_past_the_validation_hurts_nobody_and_is_told(
    space: Namespace, control_plane: ControlPlane
) -> None:
    path = f"{CRDS}/{CRD}"
    crd = yaml.safe_load((ROOT / "crds/trainingjob.dev_trainingjobs.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    strict, schema["properties"]["spec"] = schema["properties"]["spec"], loose

    def install() -> None:
        status, answer = control_plane.request(
            "PATCH",
            f"{path}?fieldManager=tests&force=true",
            crd,
            content_type="application/apply-patch+yaml",
        )
        assert status == 200, answer

    bad = manifest("bad")
    # The policy, which can be corrected afterwards.
    bad["spec"]["policy"] = {"startupDeadlineSeconds": "soon"}
    install()
    try:
        wait_for("the loose CRD", lambda: _accepted(space, bad))
    finally:
        schema["properties"]["spec"] = strict
        install()

    status = space.wait("bad", reason="InvalidSpec")
    assert "spec.policy.startupDeadlineSeconds" in status["message"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (conditions["Valid"], conditions["Stalled"]) == ("False", "True")
    space.run(manifest("good"))
    space.wait("good", phase="Succeeded")

    wait_for("the strict CRD", lambda: not _accepted(space, bad | {"metadata": {"name": "worse"}}))
    put_right = {"spec": {"policy": {"startupDeadlineSeconds": 600}}}
    space.patch("trainingjobs", "bad", put_right)
    status = space.wait("bad", phase="Succeeded")
    assert {c["type"]: c["status"] for c in status["conditions"]}["Valid"] == "True"


def test_a_term_of_affinity_that_the_server_takes_is_refused_in_words(space: Namespace) -> None:
    """The definition only outlines the terms: they would be a third of it."""
    job = manifest("shuns")
    needs = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = {"podAntiAffinity": {needs: [{"topologykey": "kubernetes.io/hostname"}]}}
    job["spec"]["train"]["template"] = {"affinity": affinity}
    space.run(job)

    status = space.wait("shuns", reason="InvalidSpec")

    place = f"spec.train.template.affinity.podAntiAffinity.{needs}[0]"
    assert f"{place}.topologyKey: required field is missing" in status["message"]
    assert 'did you mean "topologyKey"?' in status["message"]


def _accepted(space: Namespace, job: dict[str, Any]) -> bool:
    status, _ = space.control_plane.request(
        "POST", f"/{JOBS}/namespaces/{space.name}/trainingjobs", job
    )
    if status == 201 and job["metadata"]["name"] == "worse":
        space.delete("trainingjobs", "worse")
    return status == 201


def test_a_pod_that_may_not_be_deleted_is_told_and_the_next_attempt_waits_for_it(
    control_plane: ControlPlane, served: Operator, namespace: str
) -> None:
    space = Namespace(control_plane, namespace)
    hinder, put_right = admission_policy("DELETE")
    fates = {"gang-train-1-0": behaviour.fail(3)}

    def script(pod: dict[str, Any]) -> Behaviour:
        return fates.get(pod["metadata"]["name"], behaviour.succeed())

    with FakeKubelet(control_plane, [namespace], 2.0, script):
        space.run(gang(1))
        space.wait_for_pod("gang-train-1-0")
        hinder(space)
        begun = time.monotonic()
        status = space.wait("gang", reason="PodRefused")
        tell("a policy against deleting pods", time.monotonic() - begun, status)
        assert "gang-train-1-0 could not be deleted: " in status["message"]
        assert space.pods() == ["gang-train-1-0"]
        put_right(space)
        space.wait("gang", phase="Succeeded")
    assert "Traceback" not in served.log()
