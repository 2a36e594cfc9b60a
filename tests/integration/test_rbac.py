"""The chart's rights are exactly what the operator uses: by the API server's own audit log."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell
from trainingjob.api.payload import POD_IP, SPARK_MASTER, STAGE_PAYLOAD
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages

from .harness import Namespace, gang, manifest, operator
from .tenants import CHART, PODS, RELEASE, Tenants
from .test_podgroups import POD_GROUPS

RBAC = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount", "Secret")
OURS = (RELEASE, f"{RELEASE}-status")
Right = tuple[str, str, str]  # group, resource, verb


@pytest.fixture(scope="module")
def audited() -> Iterator[ControlPlane]:
    with ControlPlane(crd=True, audit=True, flags=POD_GROUPS) as control_plane:
        yield control_plane


@pytest.mark.parametrize("scope", ["the whole cluster", "one namespace"])
def test_every_right_is_used_and_none_is_missing(audited: ControlPlane, scope: str) -> None:
    home, space = audited.namespace(), Namespace(audited, audited.namespace())
    values = f"namespaces={{{space.name}}}" if scope == "one namespace" else "namespaces=null"
    values += ",deploy.enabled=true,podGroups.enabled=true"
    objects = rendered(audited, home, values)
    user = applied(audited, home, objects)

    arguments = [
        "--deploy",
        "--status-url=https://127.0.0.1:1",
        "--status-port=0",
        f"--status-secret={home}/{RELEASE}-status",
        "--pod-events",
        "--pod-groups",
    ]
    namespaces = () if scope == "the whole cluster" else (space.name,)
    act(audited, space, user, namespaces, arguments)

    used, refused = calls_of(audited, user)
    assert refused == []
    assert used == granted(objects)
    audited.kubectl("delete", "-f", "-", input=yaml.safe_dump_all(objects))


# A driver as the runtime starts it, until somebody has seen enough.
DRIVER = """
import json, sys
from trainingjob.api.payload import PreprocessPayload
from trainingjob.runtime.preprocess.engines import java, on_kubernetes, spark_session

payload = PreprocessPayload.model_validate_json(sys.stdin.readline())
java.ensure_java()
conf = on_kubernetes.settings(payload) | json.loads(sys.stdin.readline())
context = spark_session.launch(conf).result()
sys.stdin.readline()
context.stop()
"""


def test_a_spark_driver_has_and_needs_the_rights_of_its_role_alone(
    audited: ControlPlane,
) -> None:
    """Spark's own scheduler, under the chart's Role and admission policies."""
    tenants = Tenants(audited, audited.namespace(), audited.namespace())
    name = "digits"
    user, bound = tenants.driver(name)
    spark = {"engine": "spark", "executor": {"instances": 2}}
    job = TrainingJob.from_dict(
        manifest(name, preprocess=manifest()["spec"]["preprocess"] | spark)
        | {"metadata": {"name": name, "namespace": tenants.name, "uid": "1"}}
    )
    (pod,) = stages.named("preprocess").pods(job, 1, Settings())
    env = {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}
    config = yaml.safe_load(audited.kubeconfig().read_text())["clusters"][0]["cluster"]
    login = {"oauthToken": audited.token(user), "caCertFile": config["certificate-authority"]}
    conf = {f"spark.kubernetes.authenticate.{key}": value for key, value in login.items()}
    told = [env[STAGE_PAYLOAD].replace("$$", "$"), json.dumps(conf)]
    variables = {SPARK_MASTER: f"k8s://{audited.server}", POD_IP: "127.0.0.1"}

    def fate(pod: dict[str, Any]) -> Behaviour:
        return behaviour.fail(3) if pod["metadata"]["name"].endswith("-exec-1") else behaviour.run()

    def made() -> set[str]:
        pods = audited.request("GET", PODS.format(tenants.name))[1]["items"]
        return {pod["metadata"]["name"] for pod in pods}

    with FakeKubelet(audited, [tenants.name], 0.1, fate):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env=os.environ | variables,
            text=True,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with driver:
            assert driver.stdin is not None
            driver.stdin.write("\n".join([*told, ""]))
            driver.stdin.flush()
            third = f"{name}-1-exec-3"
            wait_for("another executor in place of the first", lambda: third in made(), 180)
            _, errors = driver.communicate("\n", timeout=120)
    assert driver.returncode == 0, errors
    assert "Forbidden" not in errors, errors
    assert made() == {bound["name"]}

    account = f"system:serviceaccount:{tenants.name}:trainingjob-spark"
    used, refused = calls_of(audited, account)
    assert refused == []
    assert used == granted(tenants.objects, "trainingjob-spark")
    tenants.leave()


def rendered(control_plane: ControlPlane, home: str, values: str) -> list[dict[str, Any]]:
    """The chart's rights, and who has them."""
    told = control_plane.helm("template", RELEASE, CHART, "--namespace", home, "--set", values)
    objects = [
        obj
        for obj in yaml.safe_load_all(told.stdout)
        if obj and obj["kind"] in RBAC and "spark" not in obj["metadata"]["name"]
    ]
    for obj in objects:
        if not obj["kind"].startswith("Cluster"):
            obj["metadata"].setdefault("namespace", home)
    return objects


def applied(control_plane: ControlPlane, home: str, objects: list[dict[str, Any]]) -> str:
    """The name of the user that has them."""
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    control_plane.service_account_kubeconfig(home, RELEASE)
    return f"system:serviceaccount:{home}:{RELEASE}"


def act(
    control_plane: ControlPlane,
    space: Namespace,
    user: str,
    namespaces: tuple[str, ...],
    arguments: Sequence[str],
) -> None:
    """Everything that an operator may come to do."""
    fates = {
        "digits-train-1-0": behaviour.run(),
        "digits-train-1-1": behaviour.fail(3),
        "waits-train-1-0": behaviour.never(),
    }

    def script(pod: dict[str, Any]) -> Behaviour:
        if pod["metadata"].get("labels", {}).get("trainingjob.dev/stage") == "deploy":
            return behaviour.run()
        return fates.get(pod["metadata"]["name"], behaviour.succeed())

    # Somebody else's, in the way.
    space.create(
        "pods",
        {
            "metadata": {"name": "lone-train-1-0"},
            "spec": {"containers": [{"name": "c", "image": "theirs"}]},
        },
    )
    service = {"clusterIP": "None", "selector": {"app": "theirs"}}
    space.create("services", {"metadata": {"name": "gang-train"}, "spec": service})
    wall = {"metadata": {"name": "walled-stages"}, "spec": {"podSelector": {}}}
    space.create("networkpolicies", wall)
    with (
        FakeKubelet(control_plane, [space.name], 0.1, script),
        operator(control_plane, *namespaces, user=user, arguments=arguments),
    ):
        space.run(manifest())
        space.run(gang(1, "waits"))
        space.create("events", event_of(space.wait_for_pod("waits-train-1-0")))
        space.run(gang(2))
        space.run(gang(2, "walled"))
        # Its claim is found again while its pod cannot be made.
        space.run(gang(1, "lone", storage={"pvc": {"size": "1Gi"}}))
        status = space.wait("digits", phase="Succeeded")
        assert status["lastFailure"]["reason"] == "ScriptFailed"
        space.wait("gang", reason="NameConflict")
        space.wait("walled", reason="NameConflict")
        space.wait("lone", reason="NameConflict")
        space.delete("pods", "lone-train-1-0")
        space.delete("services", "gang-train")
        space.delete("networkpolicies", "walled-stages")
        space.wait("gang", phase="Succeeded", seconds=90)
        space.wait("walled", phase="Succeeded", seconds=90)
        space.wait("lone", phase="Succeeded", seconds=90)
        wait_for("the Events", lambda: space.events("gang") and space.events("digits"))
        judged = {"preprocess": None, "train": gang(1)["spec"]["train"]}
        deploy = {"deployment": {"replicas": 2}}
        space.run(manifest("served", **judged, deploy=deploy))
        space.wait("served", phase="Succeeded", seconds=90)
        begun = time.monotonic()
        status = space.wait("waits", reason="StartFailed")
        tell("a volume that cannot be attached", time.monotonic() - begun, status)
        assert f"FailedAttachVolume: {MULTI_ATTACH}" in status["message"]
        space.run(gang(1, "brief", policy={"ttlSecondsAfterFinished": 0}))
        wait_for("it to be gone", lambda: space.get("trainingjobs", "brief") is None)


MULTI_ATTACH = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other-0'


def event_of(pod: dict[str, Any]) -> dict[str, Any]:
    """As the attach-detach controller makes it."""
    meta = pod["metadata"]
    about = {key: meta[key] for key in ("name", "namespace", "uid")}
    return {
        "metadata": {"name": f"{meta['name']}.1"},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", **about},
        "type": "Warning",
        "reason": "FailedAttachVolume",
        "message": MULTI_ATTACH,
        "lastTimestamp": "2030-01-01T00:00:00Z",
        "source": {"component": "attachdetach-controller"},
    }


def calls_of(control_plane: ControlPlane, user: str) -> tuple[set[Right], list[str]]:
    """The rights that were used, and the calls that were refused for want of one."""
    used: set[Right] = set()
    refused: list[str] = []
    for event in control_plane.audit_events():
        if event["user"]["username"] != user or "objectRef" not in event:
            continue
        target = event["objectRef"]
        resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        right = (target.get("apiGroup", ""), resource, event["verb"])
        if event["annotations"]["authorization.k8s.io/decision"] == "allow":
            used.add(right)
            # What is applied and was not there is made by it.
            if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
                used.add((*right[:2], "create"))
        else:
            refused.append(f"{event['verb']} {event['requestURI']}")
    return used, refused


def granted(objects: list[dict[str, Any]], *names: str) -> set[Right]:
    """The rights of the Roles of these names, or of those that are the operator's own."""
    rules = [
        rule
        for obj in objects
        if obj["kind"] in ("Role", "ClusterRole") and obj["metadata"]["name"] in (names or OURS)
        for rule in obj["rules"]
    ]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def secrets_in(rule: dict[str, Any]) -> bool:
    return "secrets" in rule["resources"]


def test_a_right_that_is_missing_is_told_and_the_job_goes_on_once_it_is_given(
    audited: ControlPlane,
) -> None:
    home, space = audited.namespace(), Namespace(audited, audited.namespace())
    objects = rendered(audited, home, f"namespaces={{{space.name}}}")
    less = copy.deepcopy(objects)
    for obj in less:
        for rule in obj.get("rules") or ():
            if "pods" in rule["resources"] and obj["metadata"]["name"] in OURS:
                rule["verbs"].remove("create")
    user = applied(audited, home, less)
    with (
        FakeKubelet(audited, [space.name], 0.1),
        operator(audited, space.name, user=user),
    ):
        begun = time.monotonic()
        space.run(gang(1))
        status = space.wait("gang", reason="OperatorForbidden")
        tell("the operator may make no pods", time.monotonic() - begun, status)
        assert 'cannot create resource "pods"' in status["message"]
        applied(audited, home, objects)
        space.wait("gang", phase="Succeeded", seconds=90)
    audited.kubectl("delete", "-f", "-", input=yaml.safe_dump_all(objects))


def test_nothing_dangerous_is_among_the_rights(audited: ControlPlane) -> None:
    told = audited.helm("template", RELEASE, CHART, "--set", "deploy.enabled=true").stdout
    objects = [obj for obj in yaml.safe_load_all(told) if obj]
    rights = granted(objects)
    # Of Secrets, one: by its name, and in the operator's own namespace.
    (secret,) = [rule for obj in objects for rule in obj.get("rules") or () if secrets_in(rule)]
    assert secret["resourceNames"] == [f"{RELEASE}-status"]
    assert secret["verbs"] == ["get", "update"]
    assert secret in next(obj["rules"] for obj in objects if obj["kind"] == "Role")
    rights -= {("", "secrets", "get"), ("", "secrets", "update")}

    assert rights
    for group, resource, verb in rights:
        assert "*" not in (group, resource, verb)
        if resource in ("deployments", "replicasets", "poddisruptionbudgets"):
            assert verb not in ("delete", "deletecollection", "update")
        assert group in ("", "trainingjob.dev", "networking.k8s.io", "apps", "policy")
        assert resource in (
            *("trainingjobs", "trainingjobs/status"),
            *("pods", "services", "networkpolicies", "events", "persistentvolumeclaims"),
            *("deployments", "replicasets", "poddisruptionbudgets"),
        )
