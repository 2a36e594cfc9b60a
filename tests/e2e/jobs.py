"""Jobs on a real node: the operator installed by Helm from a registry, namespaces with data."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from release import artefacts

from tests.cluster.build import ROOT
from tests.cluster.node.node import Node
from tests.cluster.node.volumes import claim
from tests.cluster.wait import wait_for
from tests.integration.harness import Namespace
from tests.tables import tell
from trainingjob import __version__

EXAMPLES = ROOT / "examples"
HOME = "trainingjob-system"
RELEASE = "trainingjob"
OPERATOR = "app.kubernetes.io/name=trainingjob-operator"
SPARK = ROOT / "deploy/spark/account.yaml"
GPU = "nvidia.com/gpu"
# Of a whole job with Spark and PyTorch on two busy cores.
JOB_SECONDS = 240


class Installation:
    """The chart, installed with Helm."""

    def __init__(self, node: Node, images: Mapping[str, str]) -> None:
        self.node = node
        self.cluster = node.control_plane
        self._images = images
        self._chart = self._pushed()

    def _pushed(self) -> str:
        """The chart of a release in the node's registry."""
        charts = f"oci://{self.node.registry}/charts"
        with tempfile.TemporaryDirectory() as folder:
            package = artefacts.chart(ROOT, Path(folder), __version__, epoch=0)
            self.cluster.helm("push", package, charts, "--plain-http")
        return f"{charts}/{artefacts.CHART.name}"

    def values(self, **more: Any) -> dict[str, Any]:
        repository, _, tag = self._images["operator"].rpartition(":")
        stages = {"spark": self._images["spark"], "torch": self._images["torch"]}
        image = {"repository": repository, "tag": tag}
        return {"image": image, "stageImages": stages, "deploy": {"enabled": True}} | more

    def install(self, **values: Any) -> None:
        """`helm upgrade --install`, as users do it; returns when the operator is ready."""
        self.cluster.helm(
            *("upgrade", "--install", RELEASE, self._chart, "--plain-http"),
            *("--version", __version__, "--namespace", HOME, "--create-namespace"),
            *("--values", "-", "--wait", "--timeout", "3m"),
            input=yaml.safe_dump(self.values(**values)),
        )

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", RELEASE, "--namespace", HOME, "--wait")

    def pods(self) -> list[dict[str, Any]]:
        return Namespace(self.cluster, HOME).list("pods", OPERATOR)

    def kill(self) -> None:
        """Without grace, as a node that dies does it."""
        for pod in self.pods():
            Namespace(self.cluster, HOME).delete(
                "pods", pod["metadata"]["name"], gracePeriodSeconds=0
            )

    def wait(self) -> None:
        def ready() -> bool:
            found = [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]
            return bool(found) and all(
                condition["status"] == "True"
                for pod in found
                for condition in pod["status"].get("conditions", ())
                if condition["type"] == "Ready"
            )

        wait_for("the operator to be ready", ready, 120)

    def log(self) -> str:
        return self.cluster.kubectl(
            *("logs", "--namespace", HOME, "--selector", OPERATOR, "--tail", "-1"), check=False
        ).stdout


class Space(Namespace):
    """A namespace that enforces the restricted standard, with the examples' claims and data."""

    def __init__(self, node: Node, name: str) -> None:
        super().__init__(node.control_plane, name)
        self.node = node
        self.datasets = claim(node, name, "datasets")
        self.training = claim(node, name, "training")
        for file in EXAMPLES.glob("*/datasets/*"):
            shutil.copy(file, self.datasets)
        for obj in yaml.safe_load_all(SPARK.read_text(encoding="utf-8")):
            obj["metadata"]["namespace"] = name
            for subject in obj.get("subjects", ()):
                subject["namespace"] = name
            self.control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(obj))

    def example(self, file: str, name: str = "", **spec: Any) -> str:
        """Apply one of the examples, with parts of its spec replaced; its name."""
        job = yaml.safe_load((EXAMPLES / file).read_text(encoding="utf-8"))
        job["metadata"]["name"] = name or job["metadata"]["name"]
        job["spec"] |= spec
        text = yaml.safe_dump(job)
        self.control_plane.kubectl("apply", "--namespace", self.name, "-f", "-", input=text)
        return str(job["metadata"]["name"])

    def succeeds(self, name: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """The status of the job once it has ended, which must be well."""
        status = self.ends(name, seconds)
        assert status["phase"] == "Succeeded", self.story(name)
        return status

    def ends(self, name: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        try:
            wait_for("the end of the job", lambda: self._over(name), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(name)}") from None
        return self.status(name)

    def cleaned(self, name: str, seconds: float = 120) -> dict[str, Any]:
        """How it went, of a job that has ended and whose policy does not keep all."""
        wait_for("what is not kept to be removed", lambda: self._cleaned(name), seconds)
        return dict(self.status(name)["cleanup"])

    def _cleaned(self, name: str) -> bool:
        return self.status(name).get("cleanup", {}).get("phase") in ("Succeeded", "Failed")

    def tells_end(self, what: str, status: Mapping[str, Any]) -> None:
        """For the table: how long after the end of its pods a job was told to be over."""
        end = datetime.fromisoformat(status["completionTime"])
        tell(what, (datetime.now(UTC) - end).total_seconds(), status)

    def tells_failure(self, what: str, name: str, begun: float) -> None:
        """For the table: wait until a failure is told, of a job that has had none."""
        status: dict[str, Any] = {}

        def told() -> bool:
            nonlocal status
            status = self.status(name)
            return "lastFailure" in status

        wait_for("the failure to be told", told, JOB_SECONDS)
        tell(what, time.monotonic() - begun, status)

    def runs(self, name: str, stage: str, seconds: float = JOB_SECONDS) -> None:
        """Wait until all pods of the stage run."""

        def running() -> bool:
            found = self.stage(name, stage)
            assert not self._over(name), self.story(name)
            return found.get("phase") == "Running" and found.get("reason") == "Running"

        wait_for(f"{stage} to run", running, seconds)

    def _over(self, name: str) -> bool:
        return self.status(name).get("phase") in ("Succeeded", "Failed")

    def story(self, name: str) -> str:
        """What somebody who looks into a failed test wants to see."""
        told = [json.dumps(self.status(name), indent=1)]
        for pod in self.list("pods"):
            pod_name = pod["metadata"]["name"]
            log = self.control_plane.kubectl(
                "logs", "--namespace", self.name, pod_name, "--tail", "40", check=False
            )
            told.append(f"--- {pod_name} {pod['status'].get('phase')}\n{log.stdout}{log.stderr}")
        return "\n".join(told)

    def gone(self, seconds: float = 30) -> float:
        """Seconds until no pod is left."""
        begun = time.monotonic()
        wait_for("no pod to be left", lambda: not self.pods(), seconds)
        return time.monotonic() - begun

    def gpus_in_use(self) -> int:
        """As the scheduler counts: of pods that are bound and not over."""
        return sum(
            int(container.get("resources", {}).get("limits", {}).get(GPU, 0))
            for pod in self.list("pods")
            if pod["spec"].get("nodeName") and pod["status"]["phase"] in ("Pending", "Running")
            for container in pod["spec"]["containers"]
        )

    def kill_process(self, pod: str, word: str, signal: str = "KILL") -> None:
        """Signal the processes of a pod that have a word in their command line, from the node."""
        found = self.get("pods", pod)
        if found is None:
            jobs = [job["metadata"]["name"] for job in self.list("trainingjobs")]
            raise AssertionError(f"no pod {pod}\n" + "\n".join(map(self.story, jobs)))
        (container,) = found["status"]["containerStatuses"]
        identity = container["containerID"].removeprefix("containerd://")
        rows = self.node.containerd.ctr("tasks", "ps", identity).splitlines()[1:]
        pids = [row.split()[0] for row in rows]
        hit = [pid for pid in pids if word in self.node.run("cat", f"/proc/{pid}/cmdline")]
        assert hit, f"no process of {pod} has {word} in its command line"
        self.node.run("kill", f"-{signal}", *hit)

    def artefacts(self, name: str) -> Path:
        """Where the job's results lie, on this machine."""
        return self.training / "runs" / self.name / name
