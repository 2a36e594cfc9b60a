"""What serves a model: a Service, a Deployment behind it, and a budget when it has several pods."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from ....api import payload as contract
from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.deploy import Deploy, SelfTest
from ... import names
from ...applied import BACK
from ...children.pod import encoded, threads_of
from ...children.pod import pod as make_pod
from ...kinds import BUDGET, DEPLOYMENT, SERVICE
from ...observation import Settings

# Where our server listens.
_PORT = 8080
_PORT_NAME = "http"
_DEADLINE_SECONDS = 600
_HASH_CHARS = 12
# Stands for a digest before there is one, in a dry run.
_NO_DIGEST = f"sha256:{'0' * 64}"

Object = dict[str, Any]


def _get(path: str) -> Object:
    return {"path": f"/v2/health/{path}", "port": _PORT_NAME, "scheme": "HTTP"}


# It is ready when it has reproduced its self-test, and alive before that. When it is to go it
# answers until nobody asks any more.
_PROBED: Object = {
    "ports": [{"name": _PORT_NAME, "containerPort": _PORT, "protocol": "TCP"}],
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
    """Of the Deployment, the Service and the model in requests."""
    return names.server_of(job)


def deadline_of(job: TrainingJob) -> int:
    """Seconds in which all pods must be ready."""
    return spec_of(job).deadline_seconds or _DEADLINE_SECONDS


def endpoint_of(job: TrainingJob) -> str:
    """Where requests go."""
    name, port = name_of(job), spec_of(job).deployment.port or _PORT
    return f"http://{name}.{job.metadata.namespace}.svc:{port}/v2/models/{name}"


def digest_of(job: TrainingJob) -> str:
    """Of the model that is named, or was accepted; "" as long as status has none."""
    given = spec_of(job).model
    if given is not None:
        return given.digest
    found = job.status.evaluation
    return found.model_digest if found is not None and found.passed else ""


def made(job: TrainingJob, settings: Settings, image: str) -> list[Object]:
    """All of them, in the order in which they are applied: nothing gets a request before there is
    somebody to answer it."""
    spec = spec_of(job).deployment
    selector = {names.LABEL_SERVER: name_of(job)}
    service = {
        "selector": selector,
        "ports": [
            {
                "name": _PORT_NAME,
                "port": spec.port or _PORT,
                "targetPort": _PORT_NAME,
                "protocol": "TCP",
            }
        ],
    }
    found = [_object(job, SERVICE.api_version, SERVICE.name, service)]
    if (spec.replicas or 1) > 1:
        budget = {
            "maxUnavailable": 1,
            # A pod that is broken anyway must not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        }
        found.append(_object(job, BUDGET.api_version, BUDGET.name, budget))
    return [*found, _deployment(job, settings, image, selector)]


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


def rollout_of(deployment: Object) -> str:
    """The label by which its pods are told from those of the template before."""
    return str(deployment["spec"]["template"]["metadata"]["labels"][names.LABEL_ROLLOUT])


def _deployment(
    job: TrainingJob, settings: Settings, image: str, selector: dict[str, str]
) -> Object:
    spec = spec_of(job).deployment
    rollout: Object = {
        "selector": {"matchLabels": selector},
        # The old pods serve until the new ones have shown what they can.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
        },
        "progressDeadlineSeconds": deadline_of(job),
        "template": _template(job, settings, image, selector),
    }
    if spec.replicas is not None:
        rollout["replicas"] = spec.replicas
    made = _object(job, DEPLOYMENT.api_version, DEPLOYMENT.name, rollout)
    made["metadata"]["annotations"] |= names.model_of(rollout["template"])
    return made


def _object(job: TrainingJob, api_version: str, kind: str, spec: Object) -> Object:
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
        "annotations": {names.ANNOTATION_APPLIED: _hash(spec)},
    }
    if spec_of(job).keep is False:
        metadata["ownerReferences"] = [names.owner_reference(job)]
    else:
        metadata["annotations"][names.ANNOTATION_KEPT] = names.KEPT
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def _uri(job: TrainingJob, digest: str) -> str:
    """Of the model with this digest."""
    given, judged = spec_of(job).model, job.status.evaluation
    if given is not None:
        return given.uri
    return names.accepted_model_uri(job, digest, judged.dataset_digest if judged else "")


def _template(job: TrainingJob, settings: Settings, image: str, selector: dict[str, str]) -> Object:
    """A pod as that of any stage, but that it is started again and again, and probed."""
    spec = spec_of(job).deployment
    digest = digest_of(job) or _NO_DIGEST
    test = spec_of(job).self_test or SelfTest()
    payload = contract.ServePayload(
        model_uri=_uri(job, digest),
        digest=digest,
        name=name_of(job),
        self_test_rows=test.rows,
        tolerance=test.tolerance,
    )
    count = threads_of(spec.resources)
    given = any(variable.name == "OMP_NUM_THREADS" for variable in spec.env or ())
    threads = [] if given or not count else [{"name": "OMP_NUM_THREADS", "value": str(count)}]
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
        env=threads,
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
        **selector,
    }
    fragments = spec.template.labels if spec.template is not None else None
    notes = made["metadata"]["annotations"] | {
        names.ANNOTATION_MODEL_URI: payload.model_uri,
        names.ANNOTATION_MODEL_DIGEST: digest,
    }
    metadata: Object = {"labels": {**(fragments or {}), **own}, "annotations": notes}
    template = {"metadata": metadata, "spec": pod}
    metadata["labels"][names.LABEL_ROLLOUT] = _hash(template)
    return template


def _hash(value: Object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
