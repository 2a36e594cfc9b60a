"""The status of a pod as a kubelet writes it, and the reports of our three stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core.names import LABEL_STAGE

from .behaviour import Behaviour

Pod = Mapping[str, Any]
Status = dict[str, Any]
DIGEST = "0" * 64
# The metrics that are small when they are good.
SMALL = ("log_loss", "mae", "mape", "rmse")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unschedulable(message: str) -> Status:
    return {
        "phase": "Pending",
        "conditions": [_condition("PodScheduled", "False", "Unschedulable", message)],
    }


def waiting(pod: Pod, reason: str, message: str) -> Status:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "startTime": now(),
        "conditions": _conditions(ready="False"),
        "containerStatuses": _containers(pod, state, ready=False),
    }


def crashed(pod: Pod, message: str) -> Status:
    """It has failed, and will be started again."""
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}}
    last = {"exitCode": 1, "reason": "Error", "message": message, "finishedAt": now()}
    containers = _containers(pod, state, ready=False)
    return {
        "phase": "Running",
        "startTime": now(),
        "conditions": _conditions(ready="False"),
        "containerStatuses": [c | {"lastState": {"terminated": last}} for c in containers],
    }


def running(pod: Pod, started: str, ip: str = "", *, ready: bool = True) -> Status:
    status: Status = {
        "phase": "Running",
        "startTime": started,
        "conditions": _conditions(ready="True" if ready else "False"),
        "containerStatuses": _containers(pod, {"running": {"startedAt": started}}, ready=ready),
    }
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1"}
    return status


def ended(pod: Pod, behaviour: Behaviour, started: str) -> Status:
    """The end that the behaviour has in store."""
    good = behaviour.exit_code == 0
    message = behaviour.message
    if message is None:
        message = report(pod) if good else ""
    terminated = {
        "exitCode": behaviour.exit_code,
        "reason": behaviour.reason or ("Completed" if good else "Error"),
        "startedAt": started,
        "finishedAt": now(),
        "message": message,
    }
    status: Status = {
        "phase": "Succeeded" if good else "Failed",
        "startTime": started,
        "conditions": _conditions(ready="False"),
        "containerStatuses": _containers(pod, {"terminated": terminated}, ready=False),
    }
    if behaviour.pod_reason:
        status |= {"reason": behaviour.pod_reason, "message": behaviour.pod_message}
    if behaviour.disrupted:
        status["conditions"].append(_condition("DisruptionTarget", "True", *behaviour.disrupted))
    return status


def disrupted(reason: str, message: str, *, ready: bool) -> Status:
    """Somebody is about to delete it; nothing else is said."""
    conditions = _conditions(ready="True" if ready else "False")
    return {"conditions": [*conditions, _condition("DisruptionTarget", "True", reason, message)]}


def report(pod: Pod, metrics: Mapping[str, float] | None = None, **outputs: Any) -> str:
    """A good report as our stages leave it; empty for pods of somebody else.

    ``metrics`` replaces values of the evaluation, ``outputs`` adds to the stage's outputs.
    """
    stage = pod["metadata"].get("labels", {}).get(LABEL_STAGE)
    if stage not in _OUTPUTS:
        return ""
    payload = _payload(pod)
    result: dict[str, Any] = {
        "outputs": {"digest": DIGEST, "uri": "pvc://runs", **_OUTPUTS[stage](payload), **outputs}
    }
    if stage == "evaluate":
        values = {name: _value(name) for name in payload.get("metrics", ())} | dict(metrics or {})
        result |= {
            "metrics": [{"name": name, "value": value} for name, value in values.items()],
            "samples": 20,
            "datasetDigest": DIGEST,
            "modelDigest": DIGEST,
        }
    return json.dumps({"result": result}, separators=(",", ":"))


_OUTPUTS = {
    "preprocess": lambda payload: {
        "uri": payload.get("output", "pvc://runs"),
        "rows": {"train": 70, "validation": 10, "test": 20},
        "features": 4,
    },
    "train": lambda payload: {
        "uri": payload.get("modelUri", "pvc://runs"),
        "steps": 10,
        "epochs": 2,
        "loss": 0.1,
        "device": "cpu",
    },
    "evaluate": lambda payload: {"uri": payload.get("output", "pvc://runs")},
    "predict": lambda payload: {
        "uri": payload.get("output", "pvc://runs"),
        "rows": {"predicted": 20, "unpredicted": 0},
    },
}


def _payload(pod: Pod) -> dict[str, Any]:
    # Admission may have put others before ours.
    variables = (v for container in pod["spec"]["containers"] for v in container.get("env", ()))
    for variable in variables:
        if variable["name"] == STAGE_PAYLOAD:
            loaded = json.loads(variable.get("value", "{}"))
            return loaded if isinstance(loaded, dict) else {}
    return {}


def _value(metric: str) -> float:
    return 0.05 if metric in SMALL else 0.97


def _containers(pod: Pod, state: dict[str, Any], *, ready: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": "waiting" not in state,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def _conditions(*, ready: str) -> list[dict[str, Any]]:
    return [
        _condition("PodScheduled", "True"),
        _condition("Initialized", "True"),
        _condition("ContainersReady", ready),
        _condition("Ready", ready),
    ]


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    condition = {"type": kind, "status": status, "lastTransitionTime": now()}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
