"""The node: pods on it are real, and it keeps its promises to the tests above it."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import BIN
from tests.cluster.node.node import Node
from tests.cluster.node.volumes import claim
from tests.cluster.wait import wait_for

from .conftest import Kubectl
from .pods import Pods, pod

FOREVER = "sleep 1000000"
COUNT = "i=0; while sleep 0.2; do echo $((i += 1)); done"


@pytest.fixture
def pods(node: Node, namespace: str) -> Pods:
    return Pods(node, namespace)


ENDS: dict[str, tuple[str, dict[str, Any]]] = {  # what it runs, how its container ended
    "it has done its work": ("true", {"exitCode": 0, "reason": "Completed"}),
    "it fails with a code of its own": ("exit 3", {"exitCode": 3, "reason": "Error"}),
    "it leaves a message": (
        "echo -n '{\"a\": 1}' > /dev/termination-log",
        {"exitCode": 0, "message": '{"a": 1}'},
    ),
    "it leaves a message of the greatest length": (
        "head -c 4096 /dev/zero | tr '\\0' x > /dev/termination-log; exit 1",
        {"exitCode": 1, "message": "x" * 4096},
    ),
    "it takes more memory than it may": (
        "tail /dev/zero",
        {"exitCode": 137, "reason": "OOMKilled"},
    ),
    "there is no such command": ("exec no-such-command", {"exitCode": 127}),
    "what it started aborts": ("sleep 60 & kill -ABRT $!; wait $!", {"exitCode": 134}),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_a_pod_ended_is_told_when(case, pods):
    script, expected = ENDS[case]
    terminated = pods.run(script, limits={"memory": "64Mi", "cpu": "500m"})
    assert {name: terminated.get(name) for name in expected} == expected


def test_logs_are_read_while_a_pod_runs_and_a_command_is_run_in_it(
    kubectl: Kubectl, namespace, pods
):
    pods.start("main", f"echo out; echo err >&2; {FOREVER}")
    pods.running("main")
    wait_for("both lines", lambda: sorted(pods.logs().split()) == ["err", "out"])
    done = kubectl("exec", "-n", namespace, "main", "--", "sh", "-c", "id -u; exit 3", check=False)
    assert done.stdout == "65532\n"
    assert "exit code 3" in done.stderr


def test_an_image_that_does_not_exist_is_told(pods):
    pods.start("main", "true", image="trainingjob.test/no-such-image:1")
    wait_for("the reason", lambda: pods.waits("main") in ("ErrImagePull", "ImagePullBackOff"), 60)


def test_a_pod_that_is_not_restricted_is_refused(node, namespace):
    body = pod("main", node.images.busybox(), "true")
    body["spec"]["securityContext"] = {}
    path = f"/api/v1/namespaces/{namespace}/pods"
    status, answer = node.control_plane.request("POST", path, body)
    assert status == 403
    assert "violates PodSecurity" in answer["message"]


def test_gpus_are_counted_and_a_pod_that_is_deleted_frees_them(pods):
    pods.start("first", FOREVER, limits={"nvidia.com/gpu": "5"})
    pods.running("first")
    pods.start("second", FOREVER, limits={"nvidia.com/gpu": "4"})
    wait_for("the scheduler's no", lambda: "Insufficient nvidia.com/gpu" in pods.waits("second"))
    pods.delete("first")
    pods.running("second")


def headless(name: str, selector: dict[str, str]) -> dict[str, Any]:
    spec = {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": True}
    return {"metadata": {"name": name}, "spec": {**spec, "ports": [{"port": 29500}]}}


def test_pods_find_each_other_through_a_headless_service(namespace, pods):
    pods.post("services", headless("gang", {"rank": "0"}))
    rank_0 = {"labels": {"rank": "0"}, "hostname": "rank-0", "subdomain": "gang"}
    pods.start("rank-0", "while true; do hostname | nc -l -p 29500; done", **rank_0)
    names = ("gang", f"gang.{namespace}.svc", f"rank-0.gang.{namespace}.svc.cluster.local")
    # The first answers come when DNS has heard of the Service; who comes as the listener is between
    # two calls may be let in and told nothing.
    told = 'said=$(nc $name 29500 2>&-) && test -n "$said"'
    script = f"for name in {' '.join(names)}; do until {told}; do sleep 0.1; done; echo $said; done"
    assert pods.run(script, "rank-1")["exitCode"] == 0
    assert pods.logs("rank-1").split() == ["rank-0"] * len(names)


def test_a_pod_reaches_the_api_server_as_its_service_account(node, namespace, pods):
    # kubectl needs no library, looks for the service account by itself, and checks certificates.
    shutil.copy(BIN / "kubectl", claim(node, namespace, "tools"))
    whoami = "/tools/kubectl auth whoami -o jsonpath={.status.userInfo.username}"
    assert pods.run(whoami, mounts={"tools": "/tools"})["exitCode"] == 0
    assert pods.logs() == f"system:serviceaccount:{namespace}:default"


def test_the_api_servers_certificate_is_good_for_what_pods_call_it(node, namespace):
    path = f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"
    authority = node.control_plane.request("GET", path)[1]["data"]["ca.crt"]
    path = "/api/v1/namespaces/default/services/kubernetes"
    address = node.control_plane.request("GET", path)[1]["spec"]["clusterIP"]
    context = ssl.create_default_context(cadata=authority)
    for name in ("kubernetes.default.svc", address):
        # This machine reaches services, too: so do webhooks.
        with (
            socket.create_connection((address, 443), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=name),
        ):
            pass


def test_a_service_leads_to_its_pods(pods):
    pods.start(
        "server", "while true; do echo hello | nc -l -p 8080; done", labels={"app": "server"}
    )
    pods.running("server")
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"selector": {"app": "server"}, "ports": ports}
    pods.post("services", {"metadata": {"name": "web"}, "spec": spec})
    assert pods.run("until nc web 80 | grep hello; do sleep 0.1; done", "client")["exitCode"] == 0


def test_the_node_has_no_way_out(node):
    assert "default" not in node.run("ip", "route")


def test_a_claim_is_a_folder_of_this_machine_that_an_ordinary_user_may_write(node, namespace, pods):
    for name, mode in {"open": 0o777, "for-the-group": 0o755}.items():
        folder: Path = claim(node, namespace, name, mode=mode)
        (folder / "in").write_text("data", encoding="utf-8")
        script = "id -u > /data/out; cat /data/in >> /data/out"
        assert pods.run(script, name, mounts={name: "/data"})["exitCode"] == 0
        assert (folder / "out").read_text() == "65532\ndata"


def test_pods_outlive_kubelet_and_containerd(node, pods):
    pods.start("main", COUNT)
    before = pods.running("main")["status"]["containerStatuses"][0]
    wait_for("the first line", lambda: pods.logs().startswith("1\n"))
    node.restart("containerd", "kubelet")
    seen = len(pods.logs().splitlines())
    wait_for("more lines", lambda: len(pods.logs().splitlines()) > seen)
    after = pods.get("main")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    lines = [int(line) for line in pods.logs().split()]
    assert lines == list(range(1, len(lines) + 1))
    # And the next ones start.
    assert pods.run("true", "next")["exitCode"] == 0
