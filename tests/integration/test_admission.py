"""Nobody gets more by a job than he has: the chart's admission policies, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for
from tests.probes.jobs import MAY, SPARK, STAGES
from tests.probes.probe import tried
from tests.probes.references import PARTS, asked, ends, merged, naming
from tests.probes.table import probes

from .harness import manifest
from .tenants import JOBS, PODS, Tenants, executor

FOLDER = {"uri": "pvc://training/runs/a/accepted/b", "digest": f"sha256:{'a' * 64}"}
# What a part must have, whatever it names.
OF_PARTS: dict[str, dict[str, Any]] = {
    "storage": {"uri": "hdfs://name:8020/runs", "hdfs": {"configMap": {"name": "theirs"}}},
    "preprocess": STAGES["preprocess"],
    "train": {"command": ["true"]},
    "evaluate": STAGES["evaluate"],
    "deploy": {},
    "predict": {"input": {"uri": "s3://rows/new.csv", "format": "csv"}},
}


@pytest.fixture(scope="module")
def tenants(control_plane: ControlPlane) -> Iterator[Tenants]:
    found = Tenants(control_plane, control_plane.namespace(), control_plane.namespace())
    found.guarded()
    yield found
    found.leave()


def test_nobody_gets_more_than_he_has_by_a_job_or_a_pod(tenants: Tenants) -> None:
    """Made from tables; `python -m tests.probes` prints them one by one."""
    outcomes: dict[tuple[str, str, str], int] = {}
    wrong = []
    for probe in probes(tenants):
        outcome = tried(tenants, probe)
        key = (probe.kind, probe.who, outcome.words)
        outcomes[key] = outcomes.get(key, 0) + 1
        if not outcome.right:
            wrong.append((probe.kind, probe.who, probe.what, outcome))
    for (kind, who, words), count in sorted(outcomes.items()):
        print(f"{count:4}  {kind:20} {who:8} {words}")
    assert wrong == []
    refused = sum(count for (*_, words), count in outcomes.items() if words != "taken")
    assert refused >= 300, "of those that are to be"
    assert refused < sum(outcomes.values()), "and some are not"


@pytest.mark.parametrize("account", MAY)
def test_spark_is_for_who_may_make_pods(tenants: Tenants, account: str) -> None:
    status, message = tenants.apply(account, manifest(preprocess=SPARK))
    assert status == (201 if "pods" in MAY[account] else 422), message


@pytest.mark.parametrize("account", MAY)
def test_kserve_is_for_whom_its_secrets_and_accounts_are(tenants: Tenants, account: str) -> None:
    """By a server of ours, and by a runtime, which has the credentials of a service account."""
    of_secret = {"kserve": {"envFrom": [{"secretRef": {"name": "theirs"}}]}}
    status, message = tenants.apply(account, manifest(deploy=of_secret))
    assert status == (201 if "secrets" in MAY[account] else 422), message
    deploy = {"kserve": {"runtime": "vllm"}, "model": FOLDER}
    rest = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
    status, message = tenants.apply(account, manifest(deploy=deploy, **rest))
    assert status == (201 if "pods" in MAY[account] else 422), message


@pytest.mark.parametrize("account", MAY)
def test_rows_are_predicted_with_secrets_that_one_may_get(tenants: Tenants, account: str) -> None:
    rows = {"uri": "s3://rows/new.csv", "format": "csv"}
    predict = {"input": rows, "envFrom": [{"secretRef": {"name": "theirs"}}]}
    status, message = tenants.apply(account, manifest(predict=predict))
    assert status == (201 if "secrets" in MAY[account] else 422), message


def test_each_name_in_the_schema_is_asked_about(tenants: Tenants) -> None:
    """Wherever it stands: who may do nothing but make jobs is refused, by what it is."""
    wrong = []
    for path, word in asked().items():
        part, *below = next((one for one in PARTS if path.startswith(f"{one}.")), "storage").split(
            "."
        )
        rest: dict[str, Any] = {}
        spec = {part: OF_PARTS[part] | {one: {} for one in below}}
        if ends(path, "kserve.runtime"):
            spec["deploy"]["model"] = FOLDER
            rest = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
        job = manifest(**rest, **merged(spec, naming(path, "theirs")))
        status, message = tenants.apply("jobs", job)
        taken, _ = tenants.apply("all", job)
        if (status, word in message, taken) != (422, True, 201):
            wrong.append((path, status, message, taken))
    assert wrong == []


def test_scripts_and_hadoop_settings_count_too(tenants: Tenants) -> None:
    kerberos = {"principal": "a@B", "keytabSecret": {"name": "theirs", "key": "k"}}
    hdfs = {"configMap": {"name": "mine"}, "kerberos": kerberos}
    jobs = {
        "theirs": manifest(train={"script": {"configMap": {"name": "theirs", "key": "a.py"}}}),
        "code": manifest(train={"code": {"configMap": {"name": "theirs"}}}),
        "keytab": manifest(storage={"uri": "hdfs://name:8020/runs", "hdfs": hdfs}),
    }
    for what, job in jobs.items():
        status, message = tenants.apply("own", job)
        assert (status, "theirs, which you may not get" in message) == (422, True), (what, message)
        assert tenants.apply("all", job)[0] == 201


def test_who_only_suspends_a_job_needs_no_rights_of_its(tenants: Tenants) -> None:
    job = manifest("held", train=STAGES["train"] | {"envFrom": [{"secretRef": {"name": "theirs"}}]})
    job["spec"]["suspend"] = True
    path = JOBS.format(tenants.name).partition("?")[0]
    status, made = tenants.plane.request("POST", path, job)
    assert status == 201, made
    merge = "application/merge-patch+json"
    for patch in (
        {"spec": {"suspend": False}},
        {"spec": {"suspend": True}},
        {"metadata": {"annotations": {"a": "b"}}},
    ):
        status, told = tenants.plane.request(
            "PATCH", f"{path}/held", patch, tenants.user("jobs"), merge
        )
        assert status == 200, told
    more = {"spec": {"train": {"template": {"priorityClassName": "high"}}}}
    status, told = tenants.plane.request("PATCH", f"{path}/held", more, tenants.user("jobs"), merge)
    assert status == 422, told
    assert "the job uses the Secret theirs" in told["message"]


def test_who_may_change_pods_may_label_them(tenants: Tenants) -> None:
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}}
    plain["spec"] = {"containers": [{"name": "a", "image": "b"}]}
    assert tenants.pod(tenants.user("pods"), plain, dry=False)[0] == 201
    path, harmless = f"{PODS.format(tenants.name)}/plain", {"metadata": {"labels": {"team": "a"}}}
    merge = "application/merge-patch+json"
    assert tenants.plane.request("PATCH", path, harmless, "admin", merge)[0] == 200


def test_kubernetes_makes_the_pods_that_serve_a_model(tenants: Tenants) -> None:
    labels = {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "deploy"}
    pod = {"containers": [{"name": "a", "image": "b"}]}
    template = {"metadata": {"labels": labels | {"app": "served"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "served"}}, "template": template}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served"}}
    path = f"/apis/apps/v1/namespaces/{tenants.name}/deployments"
    assert tenants.plane.request("POST", path, made | {"spec": spec})[0] == 201
    pods = PODS.format(tenants.name) + "?labelSelector=app%3Dserved"
    wait_for("its pod", lambda: tenants.plane.request("GET", pods)[1]["items"], 30)


def test_a_driver_deletes_its_own_executors_and_no_other_pod(tenants: Tenants) -> None:
    spark, owner = tenants.driver("three")
    tenants.driver("four")
    assert tenants.pod(spark, executor("three", owner), dry=False) == (201, "")
    pods = PODS.format(tenants.name)
    for name, code in {"four-preprocess-1-0": 422, "three-1-exec-1": 200}.items():
        assert tenants.plane.request("DELETE", f"{pods}/{name}", None, spark)[0] == code
