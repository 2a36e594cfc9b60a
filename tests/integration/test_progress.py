"""Reports of progress, over TLS and by tokens of the API server; and trainings that make none.

The pods run nothing here: the tests report in their place, by the runtime's own code, with what
their spec says and a token such as a kubelet would get.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for

from .harness import Namespace, Operator, gang, manifest, operator

AUDIENCE = "trainingjob.dev"
SECRET = "certificate"
REPORT = """
import sys
from trainingjob.runtime.base.progress import Reporter
reporter = Reporter()
metrics = dict(zip(sys.argv[2::2], map(float, sys.argv[3::2])))
reporter.report(float(sys.argv[1]), metrics)
reporter.close()
"""


class Pod:
    """In the place of a pod's process."""

    def __init__(self, space: Namespace, name: str, folder: Path) -> None:
        self._space = space
        self._pod = space.wait_for_pod(name)
        self._folder = folder
        self.token = self.ask_for_token(AUDIENCE)

    def ask_for_token(self, audience: str) -> str:
        """As the kubelet does."""
        meta = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound}
        path = self._space.path("serviceaccounts", "default", "token")
        status, answer = self._space.control_plane.request("POST", path, {"spec": spec})
        assert status == 201, answer
        return str(answer["status"]["token"])

    @property
    def env(self) -> dict[str, str]:
        """What the kubelet gives it: variables, and the files of the projected volume."""
        spec, meta = self._pod["spec"], self._pod["metadata"]
        (volume,) = [v for v in spec["volumes"] if v["name"] == "trainingjob-status"]
        token, downward = volume["projected"]["sources"]
        field = downward["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"]
        annotation = re.fullmatch(r"metadata\.annotations\['(.*)'\]", field)
        assert annotation is not None
        assert token["serviceAccountToken"]["audience"] == AUDIENCE
        (self._folder / "token").write_text(self.token + "\n")
        (self._folder / "ca.crt").write_text(meta["annotations"][annotation[1]])
        (mount,) = [
            mount["mountPath"]
            for mount in spec["containers"][0]["volumeMounts"]
            if mount["name"] == volume["name"]
        ]
        env: dict[str, str] = {}
        for item in spec["containers"][0]["env"]:
            value = item.get("value", "").replace("$(STATUS_URL)", env.get("STATUS_URL", ""))
            env[item["name"]] = value.replace(mount, str(self._folder))
        return env

    def run(self, code: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Python code, in the pod's environment."""
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | self.env | more,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )

    def report(self, share: float, **metrics: float) -> None:
        """By the runtime's own code."""
        self.run(REPORT, share, *(word for pair in metrics.items() for word in pair))

    def post(self, body: bytes = b"{}", token: str | None = None, **headers: str) -> int:
        """The HTTP status of the answer."""
        env = self.env
        context = ssl.create_default_context(cafile=env["KUBEFLOW_TRAINER_SERVER_CA_CERT"])
        headers = {"Authorization": f"Bearer {token or self.token}"} | headers
        request = urllib.request.Request(env["STATUS_URL"], data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def to_listen(host: str, namespace: str, secret: str) -> list[str]:
    """Arguments of an operator that takes reports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        f"--status-url=https://{host}:{port}",
        f"--status-port={port}",
        f"--status-secret={namespace}/{secret}",
    ]


@pytest.fixture
def listening(control_plane: ControlPlane, namespace: str) -> Iterator[Operator]:
    """An operator of the namespace that takes reports."""
    secret = {"metadata": {"name": SECRET}, "type": "Opaque"}
    Namespace(control_plane, namespace).create("secrets", secret)
    arguments = to_listen("127.0.0.1", namespace, SECRET)
    with operator(control_plane, namespace, arguments=arguments) as made:
        yield made


def step_report(step: int) -> bytes:
    metrics = [{"name": "step", "value": str(step)}]
    return json.dumps({"trainerStatus": {"progressPercentage": 1, "metrics": metrics}}).encode()


def step_of(space: Namespace) -> int | None:
    progress: dict[str, int] = space.status("gang").get("progress") or {}
    return progress.get("step")


def test_what_a_pod_reports_is_in_status(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()):
        space.run(gang(2))
        space.wait("gang", phase="Training", reason="Running")
        pod = Pod(space, "gang-train-1-0", tmp_path)
        pod.report(0.4, epoch=1, step=40, total_steps=100, loss=0.5, checkpoint_step=30)
        progress = wait_for("progress", lambda: space.status("gang").get("progress"))
        assert progress.pop("updatedTime")
        assert progress == {
            "stage": "train",
            "percent": 40,
            "epoch": 1,
            "step": 40,
            "totalSteps": 100,
            "etaSeconds": 0,
            "metrics": [{"name": "loss", "value": 0.5}],
        }
        checkpoint = space.status("gang")["checkpoint"]
        assert checkpoint["step"] == 30
        assert checkpoint["uri"] == f"pvc://training/runs/{namespace}/gang/checkpoints"
        columns = control_plane.kubectl("get", "tj", "gang", "-n", namespace, "-o", "wide").stdout
        assert "40" in columns

        # Killed and started anew: the pod knows it again, and is known.
        listening.kill()
        pod.report(0.5, step=50)  # into the void, and harmless
        listening.start()
        pod.report(0.6, step=60, checkpoint_step=50)
        wait_for("the next", lambda: step_of(space) == 60)
        assert space.status("gang")["checkpoint"]["step"] == 50
        assert listening.metric("trainingjob_reports_total", code="200") == 1


def test_many_reports_are_few_writes(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()):
        space.run(gang(1))
        space.wait("gang", phase="Training", reason="Running")
        pod = Pod(space, "gang-train-1-0", tmp_path)
        before = listening.metric(
            "trainingjob_api_calls_total", verb="PUT", resource="trainingjobs/status"
        )
        answers = [pod.post(step_report(step)) for step in range(200)]
        assert set(answers) == {200, 429}, "two a second, and some at once"
        assert answers[:10] == [200] * 10
        wait_for("it to be heard again", lambda: pod.post(step_report(200)) == 200)
        wait_for("the last", lambda: step_of(space) == 200)
        writes = (
            listening.metric(
                "trainingjob_api_calls_total", verb="PUT", resource="trainingjobs/status"
            )
            - before
        )
        assert writes <= 3, "one in five seconds"


def test_who_may_not_report_is_refused(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    good = b'{"trainerStatus": {"progressPercentage": 7}}'
    stranger = {"name": "stranger", "labels": {"trainingjob.dev/job": "gang"}}
    container = {"name": "c", "image": "theirs"}
    space.create("pods", {"metadata": stranger, "spec": {"containers": [container]}})
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()):
        space.run(gang(1))
        space.wait("gang", phase="Training", reason="Running")
        pod = Pod(space, "gang-train-1-0", tmp_path)
        theirs = Pod(space, "stranger", tmp_path)
        header, claims, signature = pod.token.split(".")
        forged = f"{header}.{claims}.{signature[:-8]}AAAAAAAA"
        unsigned = "eyJhbGciOiJub25lIn0." + claims + "."
        assert {
            "for another audience": pod.post(good, pod.ask_for_token("https://elsewhere")),
            "of a pod that is no job's": pod.post(good, theirs.token),
            "made up": pod.post(good, "x.y.z"),
            "changed": pod.post(good, forged),
            "not signed": pod.post(good, unsigned),
            "none": pod.post(good, Authorization="Basic eDp5"),
            "no report": pod.post(b'{"trainerStatus": 7}'),
            "too long": pod.post(b" " * 9_000 + good),
            "right": pod.post(good),
        } == {
            "for another audience": 401,
            "of a pod that is no job's": 403,
            "made up": 401,
            "changed": 401,
            "not signed": 401,
            "none": 401,
            "no report": 400,
            "too long": 413,
            "right": 200,
        }


ASK = """
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import seal
seal._TRIES, seal._PAUSE_SECONDS = 2, 0.1
try:
    print(seal.ask().key.hex())
except StageFailure as failure:
    print(failure)
"""


def test_the_key_of_a_sealed_test_split_is_for_pods_that_may_read_it(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    told = {}
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()) as kubelet:
        for name in ("one", "two"):
            train = {"model": {"mlp": {}}}
            space.run(manifest(name, train=train, evaluate={"sealed": True}))
        for stage, phase in (
            ("preprocess", "Preprocessing"),
            ("train", "Training"),
            ("evaluate", "Evaluating"),
        ):
            for name in ("one", "two"):
                space.wait(name, phase=phase, reason="Running")
                pod = f"{name}-{stage}-1-0"
                told[name, stage] = Pod(space, pod, tmp_path).run(ASK).stdout.strip()
                kubelet.tell(pod, behaviour.succeed(), namespace)
    assert len(bytes.fromhex(told["one", "preprocess"])) == 32
    assert told["one", "evaluate"] == told["one", "preprocess"]
    assert told["two", "evaluate"] == told["two", "preprocess"] != told["one", "preprocess"]
    assert "403: a pod of stage train reads no test split" in told["one", "train"]
    # It is in no object of the cluster.
    for kind in ("pods", "trainingjobs", "secrets", "events"):
        listed = json.dumps(control_plane.request("GET", space.path(kind))[1])
        assert not any(told[name, "preprocess"] in listed for name in ("one", "two")), kind


def test_hugging_faces_callback_reports_as_it_stands(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    code = """
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import KubeflowCallback, get_reporting_integration_callbacks
assert KubeflowCallback in get_reporting_integration_callbacks("all")
callback, control = KubeflowCallback(), TrainerControl()
state = TrainerState(max_steps=10, global_step=4, epoch=1.5, is_world_process_zero=True)
callback.on_train_begin(None, state, control)
callback.on_log(None, state, control, logs={"loss": 0.25})
callback._last_update_time = 0
callback.on_step_end(None, state, control)
"""
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()):
        space.run(gang(1))
        space.wait("gang", phase="Training", reason="Running")
        Pod(space, "gang-train-1-0", tmp_path).run(code)
        wait_for("a step", lambda: step_of(space) == 4)
        progress = space.status("gang")["progress"]
        assert (progress["percent"], progress["epoch"], progress["totalSteps"]) == (40, 1, 10)
        assert progress["metrics"] == [{"name": "loss", "value": 0.25}]


def condition(status: dict[str, Any]) -> tuple[str, str] | None:
    found = (c for c in status.get("conditions") or () if c["type"] == "Progressing")
    return next(((c["status"], c["reason"]) for c in found), None)


def test_a_training_that_makes_no_progress_is_told_restarted_or_failed(
    control_plane: ControlPlane, namespace: str, listening: Operator, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()):
        for action in ("alert", "restart", "fail"):
            stall = {"afterSeconds": 10, "action": action}
            space.run(gang(1, action, policy={"stall": stall}))
        space.wait("alert", phase="Training", reason="Running")
        assert condition(space.status("alert")) == ("True", "Progressing")

        space.wait("alert", reason="NoProgress")
        assert condition(space.status("alert")) == ("False", "NoProgress")
        assert space.stage("alert", "train")["attempt"] == 1
        reasons = [event["reason"] for event in space.events("alert")]
        assert reasons.count("NoProgress") == 1
        Pod(space, "alert-train-1-0", tmp_path).report(0.4, step=40)
        space.wait("alert", reason="Running")
        assert condition(space.status("alert")) == ("True", "Progressing")

        failed = space.wait("fail", phase="Failed")
        assert failed["lastFailure"]["reason"] == "NoProgress"
        wait_for("its pod to be gone", lambda: "fail-train-1-0" not in space.pods())

        space.wait_for_pod("restart-train-2-0")
        failure = space.status("restart")["lastFailure"]
        assert (failure["reason"], failure["class"]) == ("NoProgress", "infrastructure")
        assert listening.metric("trainingjob_stalls_total") >= 3


def test_without_a_secret_pods_report_all_the_same(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    space = Namespace(control_plane, namespace)
    arguments = to_listen("localhost", namespace, "nothing")
    with (
        FakeKubelet(control_plane, [namespace], script=lambda _: behaviour.run()),
        operator(control_plane, namespace, arguments=arguments) as made,
    ):
        space.run(gang(1, policy={"stall": {"afterSeconds": 10}}))
        space.wait("gang", phase="Training", reason="Running")
        Pod(space, "gang-train-1-0", tmp_path).report(0.4, step=40)
        wait_for("progress", lambda: space.status("gang").get("progress"))
        assert "nothing" in made.log()
        # The next operator has another certificate: it cannot hear the pod, and says so.
        made.kill()
        made.start()
        wait_for(
            "it to be told", lambda: condition(space.status("gang")) == ("Unknown", "NotHeard")
        )
        assert space.status("gang")["reason"] == "Running"
