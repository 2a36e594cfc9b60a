"""The fake kubelet: what it writes is what our operator reads from a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import yaml

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.build import ROOT
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import NODE, FakeKubelet
from tests.cluster.podstatus import report
from tests.cluster.wait import wait_for
from trainingjob.api.payload import Report
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import diagnose, stages
from trainingjob.core.names import LABEL_ATTEMPT, LABEL_INDEX, LABEL_JOB, LABEL_STAGE
from trainingjob.core.observation import Settings
from trainingjob.core.pods import PodView


class World:
    """Pods of one namespace, and the script of their lives by name."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.script: dict[str, Behaviour] = {}
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def behave(self, pod: dict[str, Any]) -> Behaviour:
        return self.script.get(pod["metadata"]["name"], Behaviour())

    def make(self, name: str, how: Behaviour | None = None, **spec: Any) -> None:
        if how is not None:
            self.script[name] = how
        labels = {LABEL_JOB: "j", LABEL_STAGE: "train", LABEL_ATTEMPT: "1", LABEL_INDEX: "0"}
        containers = [{"name": "train", "image": "nothing"}]
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"restartPolicy": "Never", "containers": containers, **spec},
        }
        status, answer = self.control_plane.request("POST", self.path, body)
        assert status == 201, answer

    def pod(self, name: str) -> dict[str, Any] | None:
        status, pod = self.control_plane.request("GET", f"{self.path}/{name}")
        return pod if status == 200 else None

    def view(self, name: str) -> PodView | None:
        pod = self.pod(name)
        return PodView.from_dict(pod) if pod is not None else None

    def delete(self, name: str) -> None:
        assert self.control_plane.request("DELETE", f"{self.path}/{name}")[0] in (200, 202)

    def wait(self, name: str, condition: Callable[[PodView], Any]) -> PodView:
        """The pod, once it is so."""

        def view() -> PodView | None:
            view = self.view(name)
            return view if view is not None and condition(view) else None

        found = wait_for(f"pod {name}", view)
        assert found is not None
        return found

    def wait_gone(self, name: str) -> None:
        wait_for(f"the end of pod {name}", lambda: self.pod(name) is None)


@pytest.fixture
def world(control_plane: ControlPlane, namespace: str) -> World:
    return World(control_plane, namespace)


@pytest.fixture
def kubelet(world: World) -> Iterator[FakeKubelet]:
    with FakeKubelet(
        world.control_plane, [world.namespace], duration=0.05, script=world.behave
    ) as kubelet:
        yield kubelet


# What the operator makes of it: attributes of the PodView, and the reason of the failure.
ENDS: dict[str, tuple[Behaviour, dict[str, Any], str | None]] = {
    "it succeeds": (
        behaviour.succeed(),
        {"phase": "Succeeded", "exit_code": 0, "terminated_reason": "Completed"},
        None,
    ),
    "it exits with a code and a message": (
        behaviour.fail(3, "what a pity"),
        {"phase": "Failed", "exit_code": 3, "signal": None, "message": "what a pity"},
        "ScriptFailed",
    ),
    "it dies of a signal": (
        behaviour.die(11),
        {"phase": "Failed", "exit_code": 139, "signal": 11, "message": ""},
        "ScriptFailed",
    ),
    "it is killed": (behaviour.die(), {"phase": "Failed", "signal": 9}, "ProcessKilled"),
    "it uses too much memory": (
        behaviour.out_of_memory(),
        {"phase": "Failed", "exit_code": 137, "terminated_reason": "OOMKilled"},
        "OutOfMemory",
    ),
    "its kubelet evicts it": (
        behaviour.evicted(),
        {"phase": "Failed", "pod_reason": "Evicted", "disrupted": behaviour.NO_MEMORY},
        "Disrupted",
    ),
    "it reports an error": (
        behaviour.fail(1, '{"error":{"reason":"InputEmpty","message":"no rows"}}'),
        {"phase": "Failed"},
        "InputEmpty",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_pod_ends_as_the_script_says_when(how, world, kubelet):
    script, attributes, reason = ENDS[how]
    world.make("p", script)
    view = world.wait("p", lambda view: view.over)
    assert {key: getattr(view, key) for key in attributes} == attributes
    failure = diagnose.failure_of(view)
    assert (failure.reason if failure else None) == reason
    assert isinstance(view.started, datetime)
    assert isinstance(view.finished, datetime)
    assert view.started <= view.finished


WAITS: dict[str, tuple[Behaviour, str]] = {
    "its image cannot be pulled": (behaviour.image_pull_fails("no such image"), "ImagePullFailed"),
    "its configuration is wrong": (behaviour.config_error("no such key"), "ContainerConfigError"),
    "no node has room": (behaviour.unschedulable("no such node"), "Unschedulable"),
}


@pytest.mark.parametrize("why", WAITS)
def test_a_pod_waits_and_then_does_what_it_is_told_when(why, world, kubelet):
    script, reason = WAITS[why]
    world.make("p", script)
    view = world.wait("p", diagnose.waiting_of)
    failure = diagnose.waiting_of(view)
    assert failure is not None
    assert failure.reason == reason
    assert "no such" in failure.message
    kubelet.tell("p", behaviour.succeed())
    assert world.view("p").phase == "Succeeded"


def test_a_pod_that_is_never_started_stays_as_it_was_made(world, kubelet):
    world.make("never", behaviour.never())
    world.make("later")
    world.wait("later", lambda view: view.over)
    assert world.pod("never")["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_pod_runs_until_it_is_told_how_to_end(world, kubelet):
    world.make("p", behaviour.run())
    running = world.wait("p", lambda view: view.phase == "Running")
    assert running.started is not None
    kubelet.tell("p", behaviour.fail(7))
    view = world.view("p")
    assert (view.phase, view.exit_code, view.started) == ("Failed", 7, running.started)


def test_the_status_running_can_be_left_out(world):
    with FakeKubelet(world.control_plane, [world.namespace], write_running=False) as kubelet:
        world.make("p")
        world.wait("p", lambda view: view.over)
        assert kubelet.writes == 1


def test_pods_of_other_namespaces_are_left_alone(world, kubelet):
    other = World(world.control_plane, world.control_plane.namespace())
    other.make("p")
    world.make("p")
    world.wait("p", lambda view: view.over)
    assert other.view("p").phase == "Pending"


def test_all_pods_can_have_a_node_and_an_address(world):
    arguments = {"script": lambda pod: behaviour.run(), "bind": True, "ips": True}
    with FakeKubelet(world.control_plane, [world.namespace], **arguments):
        world.make("p")
        assert world.wait("p", lambda view: view.phase == "Running").node == NODE
        assert world.pod("p")["status"]["podIP"].startswith("198.19.")


# --- deletion -----------------------------------------------------------------------------------
def test_a_pod_without_a_node_is_gone_at_once(world, kubelet):
    world.make("p", behaviour.run())
    world.wait("p", lambda view: view.phase == "Running")
    world.delete("p")
    assert world.view("p") is None


def test_a_pod_with_grace_says_how_it_ended_before_it_is_gone(world, kubelet):
    world.make("p", behaviour.run(grace=0.3))
    world.wait("p", lambda view: view.phase == "Running")
    version = world.pod("p")["metadata"]["resourceVersion"]
    world.delete("p")
    world.wait_gone("p")
    query = f"watch=1&resourceVersion={version}&timeoutSeconds=1"
    events = world.control_plane.request("GET", f"{world.path}?{query}")[1]["text"]
    views = [PodView.from_dict(json.loads(event)["object"]) for event in events.splitlines()]
    assert [(view.phase, view.exit_code) for view in views[:2]] == [
        ("Running", None),
        ("Failed", 143),
    ]
    assert all(view.deleting for view in views)


def test_a_stuck_pod_stays_terminating_until_it_is_told_or_deleted_by_force(world, kubelet):
    for name in ("told", "forced"):
        world.make(name, behaviour.stuck())
        world.wait(name, lambda view: view.phase == "Running")
        world.delete(name)
    world.make("later", behaviour.run(grace=0.01))
    world.wait("later", lambda view: view.phase == "Running")
    world.delete("later")
    world.wait_gone("later")
    for name in ("told", "forced"):
        view = world.view(name)
        assert (view.phase, view.deleting) == ("Running", True)
    kubelet.tell("told", behaviour.succeed())
    assert world.view("told") is None
    body = {"gracePeriodSeconds": 0}
    world.control_plane.request("DELETE", f"{world.path}/forced", body)
    assert world.view("forced") is None


def test_a_pod_of_a_lost_node_lingers_and_its_node_is_gone(world, kubelet):
    world.make("p", behaviour.node_lost())
    view = world.wait("p", lambda view: view.deleting)
    assert (view.phase, view.over) == ("Running", False)
    assert view.disrupted.startswith("Taint manager")
    assert world.control_plane.request("GET", f"/api/v1/nodes/{view.node}")[0] == 404
    assert view.node.startswith("lost-")


def test_a_preempted_pod_says_so_and_is_deleted(world, kubelet):
    world.make("p", behaviour.preempted(grace=0.3))
    view = world.wait("p", lambda view: view.deleting)
    assert "preempting" in view.disrupted
    world.wait_gone("p")


def test_a_new_pod_of_the_same_name_is_another_pod(world, kubelet):
    world.make("p", behaviour.run())
    world.wait("p", lambda view: view.phase == "Running")
    world.delete("p")
    world.make("p", behaviour.fail(5))
    assert world.wait("p", lambda view: view.over).exit_code == 5


# --- the whole ----------------------------------------------------------------------------------
def test_the_default_answers_are_good_reports_of_our_stages():
    manifest = yaml.safe_load((ROOT / "examples/digits/job.yaml").read_text(encoding="utf-8"))
    manifest["metadata"] |= {"namespace": "n", "uid": "u"}
    job = TrainingJob.from_dict(manifest)
    assert stages.names_of(job) == ["preprocess", "train", "evaluate"]
    for stage in stages.of(job):
        for pod in stage.pods(job, 1, Settings()):
            told = Report.model_validate_json(report(pod))
            assert told.result is not None
            assert told.result.outputs.uri.startswith("pvc://")
    # Of the evaluation, all metrics that it was asked for, and others where a test wants them.
    assert {metric.name for metric in told.result.metrics} >= {"accuracy", "f1_macro"}
    told = Report.model_validate_json(report(pod, metrics={"accuracy": 0.5}, device="cpu"))
    assert {m.name: m.value for m in told.result.metrics}["accuracy"] == 0.5


def test_an_outage_of_the_api_server_is_outlived():
    with ControlPlane() as control_plane:
        world = World(control_plane, control_plane.namespace())
        with FakeKubelet(control_plane, script=world.behave, duration=0.05) as kubelet:
            world.make("during", behaviour.run())
            world.wait("during", lambda view: view.phase == "Running")
            control_plane.stop_apiserver()
            with ThreadPoolExecutor(1) as pool:
                written = kubelet.writes
                told = pool.submit(kubelet.tell, "during", behaviour.succeed())
                wait_for("refused attempts", lambda: kubelet.writes > written + 1)
                assert not told.done()
                control_plane.start_apiserver()
                told.result(30)
            assert world.view("during").phase == "Succeeded"
            world.make("after")
            assert world.wait("after", lambda view: view.over).phase == "Succeeded"
            assert kubelet.errors == []


def test_an_error_of_the_script_is_not_lost(world):
    def script(pod: dict[str, Any]) -> Behaviour:
        raise LookupError(pod["metadata"]["name"])

    with (
        pytest.raises(RuntimeError, match="error") as caught,
        FakeKubelet(world.control_plane, [world.namespace], script=script) as kubelet,
    ):
        world.make("p")
        wait_for("the error", lambda: kubelet.errors)
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_burst_of_pods_costs_little(world, kubelet):
    count = 200
    for number in range(count):
        world.make(f"p{number}")

    def all_over() -> bool:
        pods = world.control_plane.request("GET", world.path)[1]["items"]
        return sum(pod["status"]["phase"] == "Succeeded" for pod in pods) == count

    wait_for("all are over", all_over)
    assert kubelet.writes == 2 * count
    # 2 ms a pod on a quiet machine.
    assert kubelet.cpu_seconds / count < 0.01
