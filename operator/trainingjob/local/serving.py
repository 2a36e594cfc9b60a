"""On one machine there are no Deployments: a process proves the model, and ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..api import payload as contract
from ..api.v1alpha1 import TrainingJob
from ..core import ChildView, PodView, applied, names
from ..core.kinds import DEPLOYMENT
from .kubelet import Kubelet


class Serving:
    """The one Deployment of a job, as the core sees it: it is rolled out once its model has
    reproduced what was judged, and nothing serves afterwards."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        self._deployment: Mapping[str, Any] | None = None
        self._pod = ""

    def apply(self, job: TrainingJob, child: Mapping[str, Any]) -> None:
        """Bring what is applied instead of a Deployment up to date; others have no effect here."""
        if child["kind"] != DEPLOYMENT.name:
            return
        notes = child["metadata"]["annotations"]
        self._deployment = child
        goes_back = notes[names.ANNOTATION_APPLIED].startswith(applied.BACK)
        if goes_back or names.ANNOTATION_PROVEN in notes:
            return
        pod = _pod(job, child)
        self._pod = pod["metadata"]["name"]
        if any(found.name == self._pod for found in self._kubelet.pods()):  # of a run that ended
            self._kubelet.delete(self._pod)
        self._kubelet.create(pod)

    @property
    def children(self) -> tuple[ChildView, ...]:
        """The Deployment, once there is one."""
        if self._deployment is None:
            return ()
        proven = any(pod.phase == "Succeeded" for pod in self.pods)
        counts = ("replicas", "updatedReplicas", "availableReplicas")
        status = {"observedGeneration": 1, **dict.fromkeys(counts, int(proven))}
        meta = {**self._deployment["metadata"], "generation": 1}
        spec = {**self._deployment["spec"], "replicas": 1}
        obj = {**self._deployment, "metadata": meta, "spec": spec, "status": status}
        return (ChildView.from_dict(DEPLOYMENT.name, obj),)

    @property
    def pods(self) -> tuple[PodView, ...]:
        """The process that proves the model."""
        return tuple(pod for pod in self._kubelet.pods() if pod.name == self._pod)


def _pod(job: TrainingJob, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """One of its pods, which ends when it is ready."""
    template = json.loads(json.dumps(deployment["spec"]["template"]))
    meta, labels = template["metadata"], template["metadata"]["labels"]
    stage = labels[names.LABEL_STAGE]
    attempt = next((s.attempt for s in job.status.stages if s.name == stage), 1)
    for variable in template["spec"]["containers"][0]["env"]:
        if variable["name"] == contract.STAGE_PAYLOAD:
            told = json.loads(variable["value"]) | {"proveOnly": True}
            variable["value"] = json.dumps(told, ensure_ascii=False)
    meta |= {
        "name": names.pod_name(job, stage, attempt, 0),
        "namespace": job.metadata.namespace,
        "labels": labels | names.labels(job, stage, attempt, 0),
    }
    return {"apiVersion": "v1", "kind": "Pod", **template}
