"""The control plane itself: it starts, it stays apart, and nothing of it is left."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.cluster import controlplane as module
from tests.cluster.build import ROOT
from tests.cluster.context import UnknownClusterError, mark, refuse_unknown
from tests.cluster.controlplane import CommandFailedError, ControlPlane
from tests.cluster.process import ComponentError, free_ports
from tests.cluster.wait import wait_for

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs"
MARK = """
import pathlib, sys
from tests.cluster.context import mark
mark(pathlib.Path(sys.argv[1]), sys.argv[2])
"""
OWNER = """
import sys, time
from tests.cluster.controlplane import ControlPlane
with ControlPlane() as control_plane:
    print(control_plane.folder, flush=True)
    time.sleep(600)
"""


def processes(folder: Path) -> list[str]:
    """Command lines of what works for the control plane of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if f"={folder}" in command:
            found.append(command)
    return found


def test_when_it_is_over_neither_processes_nor_files_are_left():
    with ControlPlane() as control_plane:
        folder = control_plane.folder
        # Three components, and the guard of each.
        assert len(processes(folder)) == 6
        assert control_plane.request("GET", "/version")[1]["gitVersion"].startswith("v1.36.")
    assert processes(folder) == []
    assert not folder.exists()


def test_two_run_side_by_side_also_when_the_threads_that_started_them_are_gone():
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ControlPlane().__enter__(), range(2))
    try:
        name = first.namespace()
        path = f"/api/v1/namespaces/{name}"
        assert (first.request("GET", path)[0], second.request("GET", path)[0]) == (200, 404)
    finally:
        first.stop()
        second.stop()


def test_when_its_owner_is_killed_all_processes_die_and_the_next_one_removes_the_folder():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    assert len(processes(folder)) == 6
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_for("the end of all processes", lambda: not processes(folder))
    module.sweep()
    assert not folder.exists()


def test_make_cluster_tells_how_to_use_it_and_ends_with_ctrl_c():
    command = [sys.executable, "-m", "tests.cluster", "--fake-kubelet", "--duration", "0.1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = refuse_unknown(process.stdout.readline().strip().removeprefix("export KUBECONFIG="))
    binaries = process.stdout.readline().removeprefix("export PATH=").partition(":")[0]
    kubectl = [f"{binaries}/kubectl", "--kubeconfig", path, "--cache-dir", path.parent / "cache"]
    subprocess.run([*kubectl, "run", "p", "--image=nothing", "--restart=Never"], check=True)
    done = ["wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s"]
    subprocess.run([*kubectl, *done], check=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
    assert processes(path.parent) == []
    assert not path.parent.exists()


def test_when_a_guard_is_killed_its_component_dies_and_that_is_told():
    with ControlPlane() as control_plane:
        guard = control_plane._apiserver._process
        assert guard is not None
        guard.send_signal(signal.SIGKILL)
        wait_for(
            "the API server's end",
            lambda: not [p for p in processes(control_plane.folder) if "kube-apiserver" in p],
        )
        with pytest.raises(ComponentError, match="kube-apiserver ended"):
            control_plane.check()


def test_a_component_that_dies_at_its_start_shows_the_end_of_its_log():
    with (
        pytest.raises(ComponentError, match=r"no-such.+ is not in the list of known controllers"),
        ControlPlane(controllers=("no-such",)),
    ):
        pass


@pytest.mark.parametrize("taken", ["the API server's", "etcd's"])
def test_a_port_that_somebody_took_first_is_replaced(taken, monkeypatch):
    with socket.socket() as other:
        ports = free_ports(3)
        index = 0 if taken == "the API server's" else 1
        other.bind(("127.0.0.1", ports[index]))
        other.listen()
        answers = iter([ports])
        monkeypatch.setattr(module, "free_ports", lambda n: next(answers, None) or free_ports(n))
        with ControlPlane() as control_plane:
            assert control_plane.request("GET", "/readyz")[0] == 200
            assert str(ports[0]) not in control_plane.server


def test_data_and_address_outlive_an_outage_of_the_api_server():
    with ControlPlane() as control_plane:
        name, server = control_plane.namespace(), control_plane.server
        control_plane.stop_apiserver()
        with pytest.raises(OSError):
            control_plane.request("GET", "/readyz")
        control_plane.start_apiserver()
        assert control_plane.server == server
        assert control_plane.request("GET", f"/api/v1/namespaces/{name}")[0] == 200
        assert control_plane.namespace()


def test_the_audit_log_tells_who_asked_for_what():
    with ControlPlane(audit=True, users={"somebody": ("people",)}) as control_plane:
        path = "/api/v1/namespaces/default/pods"
        assert control_plane.request("GET", path, user="somebody")[0] == 403
        wait_for(
            "the event",
            lambda: [
                event
                for event in control_plane.audit_events()
                if event["user"]["username"] == "somebody"
                and "people" in event["user"]["groups"]
                and (event["verb"], event["requestURI"]) == ("list", path)
                and event["responseStatus"]["code"] == 403
            ],
        )


@pytest.mark.parametrize(
    ("user", "code"), [("admin", 200), ("developer", 403), ("a service account", 403)]
)
def test_rbac_decides_who_may_read_secrets(user, code, control_plane, namespace):
    if user == "a service account":
        control_plane.service_account_kubeconfig(namespace, "default")
        user = f"system:serviceaccount:{namespace}:default"
    path = f"/api/v1/namespaces/{namespace}/secrets"
    assert control_plane.request("GET", path, user=user)[0] == code
    done = control_plane.kubectl("get", "secrets", "-n", namespace, user=user, check=False)
    assert (done.returncode == 0) == (code == 200)


def test_pod_security_is_enforced(control_plane):
    name = control_plane.namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    container = {"name": "main", "image": "nothing"}
    pod = {"metadata": {"name": "lax"}, "spec": {"containers": [container]}}
    status, answer = control_plane.request("POST", f"/api/v1/namespaces/{name}/pods", pod)
    assert status == 403
    assert "violates PodSecurity" in answer["message"]


def test_the_crd_is_served_and_kubectl_and_helm_work(control_plane, namespace):
    manifest = (ROOT / "examples/diabetes/job.yaml").read_text(encoding="utf-8")
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=manifest)
    listed = control_plane.request("GET", JOBS.format(namespace))[1]
    assert [item["metadata"]["name"] for item in listed["items"]] == ["diabetes"]
    assert control_plane.helm("list", "-n", namespace, "-o", "json").stdout.strip() == "[]"
    with pytest.raises(CommandFailedError, match="no-such-thing"):
        control_plane.kubectl("get", "no-such-thing")


def test_the_garbage_collector_knows_training_jobs_from_the_start(control_plane, namespace):
    manifest = yaml.safe_load((ROOT / "examples/diabetes/job.yaml").read_text(encoding="utf-8"))
    status, job = control_plane.request("POST", JOBS.format(namespace), manifest)
    assert status == 201, job
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    child = {"metadata": {"name": "child", "ownerReferences": [owner]}}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert control_plane.request("POST", path, child)[0] == 201
    control_plane.request("DELETE", f"{JOBS.format(namespace)}/{job['metadata']['name']}")
    # Had the CRD come later it would take up to 30 seconds.
    wait_for("the child's end", lambda: control_plane.request("GET", f"{path}/child")[0] == 404, 10)


LOCAL, OTHER, REMOTE = "https://127.0.0.1:1", "https://127.0.0.1:2", "https://10.0.0.1:6443"
UNKNOWN = {  # the server that was marked as ours, those of the kubeconfig
    "nobody marked it, although it is on this machine": (None, [LOCAL]),
    "another one was marked": (LOCAL, [OTHER]),
    "beside a known server is an unknown one": (LOCAL, [LOCAL, REMOTE]),
    "it is elsewhere, whoever marked it": (REMOTE, [REMOTE]),
    "there is none": (LOCAL, []),
}


def kubeconfig(folder: Path, *servers: str) -> Path:
    path = folder / "config"
    clusters = [{"name": str(i), "cluster": {"server": s}} for i, s in enumerate(servers)]
    path.write_text(yaml.safe_dump({"clusters": clusters}), encoding="utf-8")
    return path


@pytest.mark.parametrize("why", UNKNOWN)
def test_a_kubeconfig_is_refused_when_of_its_servers(why, tmp_path):
    marked, servers = UNKNOWN[why]
    if marked:
        mark(tmp_path, marked)
    with pytest.raises(UnknownClusterError):
        refuse_unknown(kubeconfig(tmp_path, *servers))


def test_a_kubeconfig_is_refused_when_the_process_that_marked_it_has_ended(tmp_path):
    path = kubeconfig(tmp_path, LOCAL)
    mark(tmp_path, LOCAL)
    assert refuse_unknown(path) == path
    subprocess.run([sys.executable, "-c", MARK, tmp_path, LOCAL], cwd=ROOT, check=True)
    with pytest.raises(UnknownClusterError):
        refuse_unknown(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "clusters: [{}]"])
def test_a_file_that_is_no_kubeconfig_is_refused(text, tmp_path):
    mark(tmp_path, LOCAL)
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UnknownClusterError):
        refuse_unknown(path)


def test_our_own_kubeconfigs_are_accepted(control_plane, namespace):
    account = control_plane.service_account_kubeconfig(namespace, "default")
    for path in (control_plane.kubeconfig(), control_plane.kubeconfig("developer"), account):
        assert refuse_unknown(path) == path
