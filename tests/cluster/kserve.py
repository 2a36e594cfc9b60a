"""KServe as far as a model is served by it: its own CRD, and what its controller would do.

The CRD is KServe's, from its Go module. The controller is not: it needs certificates, webhooks and
a way in for requests. ``Controller`` stands for it, written after the code of the same version:
which labels and annotations pods get, and what the conditions say of a Deployment.
https://github.com/kserve/kserve/tree/v0.20.0/pkg/controller/v1beta1/inferenceservice/components
https://github.com/kserve/kserve/blob/v0.20.0/pkg/apis/serving/v1beta1/inference_service_status.go
"""

from __future__ import annotations

import copy
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .build import CACHE, BuildError, fetch

if TYPE_CHECKING:
    from .controlplane import ControlPlane

VERSION = "v0.20.0"
_MODULE = f"github.com/kserve/kserve@{VERSION}"
_FILE = "config/crd/full/serving.kserve.io_inferenceservices.yaml"
_SHA256 = "57c3bf13f77de94678bf2ae3748056ec071ad2b9e88d6a28f44fb4710758fcff"

SERVICES = "apis/serving.kserve.io/v1beta1"
CONTAINER = "kserve-container"
STOP = "serving.kserve.io/stop"
_NO_SCALER = ("serving.kserve.io/autoscalerClass", "none")
# Of a predictor, beside what is of its pods.
_EXTENSIONS = (
    "annotations",
    "deploymentStrategy",
    "labels",
    "maxReplicas",
    "minReplicas",
    "model",
)

Object = dict[str, Any]


def crd() -> Path:
    """The CRD of InferenceServices, as KServe ships it. Raises BuildError."""
    target = CACHE / f"kserve-{VERSION}.yaml"
    fetch(_MODULE, _FILE, target, _SHA256)
    return target


def deployment_of(service: Object) -> Object:
    """The Deployment of an InferenceService in Standard mode. What the predictor says itself comes
    before what it has of the InferenceService."""
    meta, predictor = service["metadata"], service["spec"]["predictor"]
    name = f"{meta['name']}-predictor"
    labels = {
        **meta.get("labels", {}),
        **predictor.get("labels", {}),
        "serving.kserve.io/inferenceservice": meta["name"],
        "component": "predictor",
        "app": f"isvc.{name}",
    }
    annotations = {**meta.get("annotations", {}), **predictor.get("annotations", {})}
    pod = copy.deepcopy({k: v for k, v in predictor.items() if k not in _EXTENSIONS})
    if model := predictor.get("model"):
        container = {"name": CONTAINER, "image": f"{model['runtime']}:1"}
        pod["containers"] = [container | {"resources": model.get("resources", {})}]
        annotations["internal.serving.kserve.io/storage-initializer-sourceuri"] = model[
            "storageUri"
        ]
    spec: Object = {
        "selector": {"matchLabels": {"app": labels["app"]}},
        "strategy": predictor.get("deploymentStrategy", {"type": "RollingUpdate"}),
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
    }
    if _NO_SCALER in annotations.items():
        spec["replicas"] = predictor["minReplicas"]
    owner = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    made = {"name": name, "namespace": meta["namespace"], "ownerReferences": [owner]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": made | {"labels": labels, "annotations": annotations},
        "spec": spec,
    }


def status_of(service: Object, deployment: Object) -> Object:
    """What KServe stores of an InferenceService, by its Deployment: that it is Ready means that
    some pods are, of whatever template."""
    given = {c["type"]: c for c in (deployment.get("status") or {}).get("conditions", ())}
    found = given.get("Available") or given.get("Progressing") or {}
    progressing = given.get("Progressing") or {}
    if progressing.get("status") == "False":
        found = progressing
    value = found.get("status", "Unknown")
    said = {"status": value, "reason": found.get("reason"), "message": found.get("message")}
    told = {key: text for key, text in said.items() if text}
    meta = service["metadata"]
    host = f"{meta['name']}-{meta['namespace']}.example.com"
    return {
        "conditions": [
            {"type": "PredictorReady", **told},
            {"type": "IngressReady", "status": value},
            {"type": "Ready", **told},
        ],
        "deploymentMode": "Standard",
        "url": f"http://{host}",
        # That of the Deployment, as KServe has it.
        "observedGeneration": (deployment.get("status") or {}).get("observedGeneration", 0),
    }


class Controller:
    """Looks after the InferenceServices of a namespace, from another thread."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self._control_plane = control_plane
        self._namespace = namespace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._made: dict[str, Object] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            status, answer = self._request("GET", SERVICES, "inferenceservices")
            for service in answer["items"] if status == 200 else ():
                if "deletionTimestamp" not in service["metadata"]:
                    self._look_after(service)

    def _look_after(self, service: Object) -> None:
        wanted = deployment_of(service)
        name = wanted["metadata"]["name"]
        if service["metadata"].get("annotations", {}).get(STOP) == "true":
            self._request("DELETE", "apis/apps/v1", f"deployments/{name}")
            self._made.pop(name, None)
            self._tell(service, {"conditions": [{"type": "Ready", "status": "False"}]})
            return
        status, found = self._request("GET", "apis/apps/v1", f"deployments/{name}")
        if status == 404:
            self._request("POST", "apis/apps/v1", "deployments", wanted)
        elif self._made.get(name) != wanted["spec"]:
            # Whoever scales it goes on doing so.
            spec = {"replicas": found["spec"]["replicas"], **wanted["spec"]}
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            body = wanted | {"spec": spec, "metadata": wanted["metadata"] | version}
            if self._request("PUT", "apis/apps/v1", f"deployments/{name}", body)[0] != 200:
                return
        self._made[name] = wanted["spec"]
        self._tell(service, status_of(service, found if status == 200 else {}))

    def _tell(self, service: Object, status: Object) -> None:
        if service.get("status") != status:
            path = f"inferenceservices/{service['metadata']['name']}/status"
            self._request("PUT", SERVICES, path, service | {"status": status})

    def _request(self, verb: str, root: str, path: str, body: Any = None) -> tuple[int, Any]:
        place = f"/{root}/namespaces/{self._namespace}/{path}"
        status, answer = self._control_plane.request(verb, place, body)
        return status, answer


if __name__ == "__main__":
    try:
        print(crd())
    except BuildError as error:
        sys.exit(f"error: {error}")
