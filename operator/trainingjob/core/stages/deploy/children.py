"""What all that serves a model has in common: whose it is, which model, and the server's pod."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from ....api import payload as contract
from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.deploy import Deploy, SelfTest
from ... import accepted, names
from ...applied import BACK
from ...children.environment import encoded, named, threads
from ...children.pod import pod as make_pod
from ...kinds import Kind
from ...observation import Settings

# Where our server listens.
PORT = 8080
PORT_NAME = "http"
_DEADLINE_SECONDS = 600
_HASH_CHARS = 12

Object = dict[str, Any]

# The old pods serve until the new ones have shown what they can.
STRATEGY: Object = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
}


def _get(path: str) -> Object:
    return {"path": f"/v2/health/{path}", "port": PORT_NAME, "scheme": "HTTP"}


# It is ready when it has reproduced its self-test, and alive before that. When it is to go it
# answers until nobody asks any more.
_PROBED: Object = {
    "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
    # Until its libraries are there.
    "startupProbe": {
        "httpGet": _get("live"),
        "periodSeconds": 2,
        "timeoutSeconds": 5,
        "failureThreshold": 60,
    },
    "readinessProbe": {"httpGet": _get("ready"), "periodSeconds": 2, "timeoutSeconds": 5},
    "livenessProbe": {
        "httpGet": _get("live"),
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    },
}


def spec_of(job: TrainingJob) -> Deploy:
    """Raises ValueError for a job that does not deploy."""
    if job.spec.deploy is None:
        raise ValueError("the job has no deploy stage")
    return job.spec.deploy


def name_of(job: TrainingJob) -> str:
    """Of the object that serves, and of the model in requests."""
    return names.server_of(job)


def deadline_of(job: TrainingJob) -> int:
    """Seconds in which all pods must be ready."""
    return spec_of(job).deadline_seconds or _DEADLINE_SECONDS


def back(deployment: Object) -> Object:
    """As it is to be applied when it goes back to the template before, whatever that is."""
    notes = deployment["metadata"]["annotations"]
    applied = {names.ANNOTATION_APPLIED: BACK + notes[names.ANNOTATION_APPLIED]}
    return deployment | {"metadata": deployment["metadata"] | {"annotations": notes | applied}}


def proven(deployment: Object) -> Object:
    """As it is to be applied when all its pods were ready."""
    notes = deployment["metadata"]["annotations"]
    mark = {names.ANNOTATION_PROVEN: notes[names.ANNOTATION_APPLIED]}
    return deployment | {"metadata": deployment["metadata"] | {"annotations": notes | mark}}


def made_object(job: TrainingJob, kind: Kind, spec: Object) -> Object:
    """One of the objects, as it is applied."""
    metadata: Object = {
        "name": name_of(job),
        "namespace": job.metadata.namespace,
        "labels": {
            "app.kubernetes.io/name": "trainingjob-model",
            "app.kubernetes.io/instance": name_of(job),
            "app.kubernetes.io/managed-by": names.FIELD_MANAGER,
            names.LABEL_JOB: job.metadata.name,
            names.LABEL_STAGE: "deploy",
        },
        "annotations": {names.ANNOTATION_APPLIED: hash_of(spec)},
    }
    if spec_of(job).keep is False:
        metadata["ownerReferences"] = [names.owner_reference(job)]
    else:
        metadata["annotations"][names.ANNOTATION_KEPT] = names.KEPT
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": metadata,
        "spec": spec,
    }


def model_of(job: TrainingJob) -> dict[str, str]:
    """The annotations by which pods say which model they serve."""
    digest, variant = accepted.digest_of(job) or accepted.NO_DIGEST, spec_of(job).variant
    return {
        names.ANNOTATION_MODEL_URI: accepted.uri_of(job),
        names.ANNOTATION_MODEL_DIGEST: digest,
        **({names.ANNOTATION_MODEL_VARIANT: variant} if variant is not None else {}),
    }


def template(job: TrainingJob, settings: Settings, image: str) -> Object:
    """Metadata and spec of the server's pods: as those of any stage, but that they are started
    again and again, and probed."""
    spec = spec_of(job).server
    model = model_of(job)
    test = spec_of(job).self_test or SelfTest()
    payload = contract.ServePayload(
        model_uri=model[names.ANNOTATION_MODEL_URI],
        digest=model[names.ANNOTATION_MODEL_DIGEST],
        variant=spec_of(job).variant,
        name=name_of(job),
        self_test_rows=test.rows,
        tolerance=test.tolerance,
    )
    # It reports nothing: its probes say how it is.
    quiet = replace(settings, status_url="", status_ca="")
    made = make_pod(
        job,
        "deploy",
        1,
        quiet,
        0,
        image=image,
        payload=encoded(payload),
        env=named(threads(spec.resources, spec.env)),
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(payload.model_uri,),
        resources=spec.resources,
        template=spec.template,
    )
    pod = made["spec"]
    pod["restartPolicy"] = "Always"
    pod["containers"][0] |= _PROBED
    for mount in pod["containers"][0]["volumeMounts"]:
        if mount["name"].startswith("trainingjob-claim-"):  # it reads the model
            mount["readOnly"] = True
    own = {
        "app.kubernetes.io/name": "trainingjob-model",
        "app.kubernetes.io/instance": name_of(job),
        "app.kubernetes.io/managed-by": names.FIELD_MANAGER,
        names.LABEL_JOB: job.metadata.name,
        names.LABEL_STAGE: "deploy",
        **selector_of(job),
    }
    fragments = spec.template.labels if spec.template is not None else None
    notes = made["metadata"]["annotations"] | model
    metadata: Object = {"labels": {**(fragments or {}), **own}, "annotations": notes}
    whole = {"metadata": metadata, "spec": pod}
    metadata["labels"][names.LABEL_ROLLOUT] = hash_of(whole)
    return whole


def selector_of(job: TrainingJob) -> dict[str, str]:
    """The label that all pods have that serve by this name."""
    return {names.LABEL_SERVER: name_of(job)}


def hash_of(value: Object) -> str:
    """Changes whenever the value does."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
