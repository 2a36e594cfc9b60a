"""A namespace in which jobs train models of known digests, and servers of these meet their fate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.podstatus import report
from tests.cluster.wait import wait_for

from .harness import Namespace, manifest

GOOD, BAD, BETTER = (f"sha256:{digit * 64}" for digit in "abc")
CORRUPT = {"error": {"reason": "ModelCorrupt", "message": "model.safetensors is cut off"}}
DEPLOY: dict[str, Any] = {"deployment": {"replicas": 2}, "deadlineSeconds": 60}


class Space(Namespace):
    """A namespace with a kubelet that knows which model the next evaluation accepts."""

    def __init__(
        self, control_plane: ControlPlane, name: str, way: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(control_plane, name)
        self.way = dict(DEPLOY if way is None else way)  # spec.deploy
        self.accepted = GOOD
        self.score = 0.97
        # What becomes of servers, by the digest of their model; others are ready at once.
        self.fates: dict[str, Behaviour] = {}

    def script(self, pod: dict[str, Any]) -> Behaviour:
        labels, notes = pod["metadata"]["labels"], pod["metadata"].get("annotations", {})
        match labels.get("trainingjob.dev/stage"):
            case "deploy":
                digest = notes["trainingjob.dev/model-digest"]
                return self.fates.get(digest, behaviour.run())
            case "train":
                return behaviour.succeed(message=report(pod, digest=self.accepted))
            case "evaluate":
                job = labels["trainingjob.dev/job"]
                uri = f"pvc://training/runs/{self.name}/{job}/evaluation"
                result = {
                    "outputs": {"uri": uri, "digest": "1"},
                    "metrics": [{"name": "accuracy", "value": self.score}],
                    "modelDigest": self.accepted,
                    "datasetDigest": "1",
                }
                return behaviour.succeed(message=json.dumps({"result": result}))
        return behaviour.succeed()

    def deploy(self, digest: str, job: str = "digits", **deploy: Any) -> None:
        """Run a job, anew if there was one of the name, whose model has that digest."""
        self.delete("trainingjobs", job)
        wait_for("the job to be gone", lambda: self.get("trainingjobs", job) is None)
        wait_for("its pods to be gone", lambda: not self.stage_pods(job))
        self.accepted = digest
        train = {"model": {"mlp": {}}, "dataset": {"uri": "pvc://datasets/digits"}}
        self.run(manifest(job, preprocess=None, train=train, deploy=self.way | deploy))

    def stage_pods(self, job: str) -> list[str]:
        return [name for name in self.pods() if name.startswith(job) and name.endswith("-1-0")]

    def deployment(self, name: str = "digits") -> dict[str, Any]:
        found = self.get("deployments", name)
        assert found is not None
        return found

    def servers(self) -> set[str]:
        """Uids of the pods that are ready, of any model."""
        return {
            pod["metadata"]["uid"]
            for pod in self.list("pods", "trainingjob.dev/stage=deploy")
            if any(
                (c["type"], c["status"]) == ("Ready", "True")
                for c in pod["status"].get("conditions", ())
            )
        }
