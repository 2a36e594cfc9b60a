"""An InferenceService of KServe, which makes a Deployment and whatever requests come by.

It is served in KServe's Standard mode: its pods are those of a Deployment, which keeps the old ones
until the new ones are ready. KServe says Ready all the while, so that how a rollout stands is seen
by the Deployment.
"""

from __future__ import annotations

from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.deploy import KServe
from ... import applied, names, text
from ...child import ChildView
from ...children.environment import literal
from ...children.placing import devices, scheduling
from ...children.volumes import storage
from ...kinds import DEPLOYMENT, INFERENCE_SERVICE
from ...observation import Observation, Settings
from . import children
from .children import Object

_MODE = {"serving.kserve.io/deploymentMode": "Standard"}
# Without an autoscaler, which would need metrics, the number of pods is that of the manifest.
_FIXED = {"serving.kserve.io/autoscalerClass": "none"}
# KServe gives pods all annotations of the InferenceService but for those that the predictor has
# itself. Ours change while the pods stay as they are: the predictor has them, all the same.
_SHADOWED = (
    names.ANNOTATION_APPLIED,
    names.ANNOTATION_PROVEN,
    names.ANNOTATION_PREVIOUS,
    names.ANNOTATION_KEPT,
)
# What a runtime of KServe's own calls what it can serve; of all others `huggingface`.
_FORMATS = {"kserve-vllmserver": "vLLM"}
# What the model needs, and then the way to it.
_CONDITIONS = ("PredictorReady", "IngressReady", "Ready")
_BLOCKED = ("BlockedByFailedLoad", "InvalidSpec")


class InferenceServiceTarget:
    """As `Target`."""

    kind = INFERENCE_SERVICE

    def made(self, job: TrainingJob, settings: Settings, image: str) -> list[Object]:
        """As `Target.made`."""
        spec = _spec_of(job)
        metadata, pod = _of_runtime(job, spec) if spec.runtime else _own(job, settings, image)
        most = spec.max_replicas or spec.replicas
        predictor = {
            **pod,
            "minReplicas": spec.replicas,
            "maxReplicas": most,
            "deploymentStrategy": children.STRATEGY,
            "labels": metadata["labels"],
            "annotations": metadata["annotations"] | dict.fromkeys(_SHADOWED, ""),
        }
        made = children.made_object(job, INFERENCE_SERVICE, {"predictor": predictor})
        fixed = _FIXED if most == spec.replicas else {}
        made["metadata"]["annotations"] |= names.model_of(predictor) | _MODE | fixed
        return [made]

    def at_once(self, job: TrainingJob) -> int:
        """As `Target.at_once`."""
        spec = _spec_of(job)
        return spec.max_replicas or spec.replicas

    def workload(self, obs: Observation, found: ChildView) -> ChildView | None:
        """The one that KServe has made, of the template that was applied last."""
        wanted = (DEPLOYMENT.name, f"{found.name}-predictor", found.rollout)
        made = (c for c in obs.children if (c.kind, c.name, c.rollout) == wanted)
        return next(made, None)

    def answers(self, found: ChildView) -> bool:
        """There is a way for requests, too."""
        return applied.is_ready(found.status)

    def endpoint(self, job: TrainingJob, found: ChildView | None) -> str:
        """As `Target.endpoint`; of a runtime without a path, which is the runtime's affair."""
        status = found.status if found is not None else {}
        url = str(status.get("url") or (status.get("address") or {}).get("url") or "")
        if not url or _spec_of(job).runtime:
            return url[:512]
        return f"{url.rstrip('/')}/v2/models/{children.name_of(job)}"[:512]

    def words(self, found: ChildView) -> str:
        """As `Target.words`."""
        model = found.status.get("modelStatus") or {}
        failure = model.get("lastFailureInfo") or {}
        if model.get("transitionStatus") in _BLOCKED and failure.get("message"):
            return _told(failure)
        given = {c.get("type"): c for c in found.status.get("conditions") or ()}
        for kind in _CONDITIONS:
            condition = given.get(kind) or {}
            if condition.get("status") == "False" and condition.get("message"):
                return _told(condition)
        return "" if given else "KServe has not said anything yet: its controller may not run"


def _spec_of(job: TrainingJob) -> KServe:
    spec = children.spec_of(job).kserve
    if spec is None:
        raise ValueError("the job is not served by KServe")
    return spec


def _own(job: TrainingJob, settings: Settings, image: str) -> tuple[Object, Object]:
    """Metadata and spec of our server's pods, by the names that KServe has for them."""
    whole = children.template(job, settings, image)
    metadata, pod = whole["metadata"], whole["spec"]
    pod["containers"][0]["name"] = names.KSERVE_CONTAINER
    metadata["annotations"][names.ANNOTATION_CONTAINER] = names.KSERVE_CONTAINER
    # The rest is the InferenceService's, which KServe gives to them; the job that holds it may
    # become another.
    fragments = _spec_of(job).template
    given = (fragments.labels if fragments is not None else None) or {}
    ours = {*given, *children.selector_of(job), names.LABEL_ROLLOUT}
    labels = {key: value for key, value in metadata["labels"].items() if key in ours}
    return {"labels": labels, "annotations": metadata["annotations"]}, pod


def _of_runtime(job: TrainingJob, spec: KServe) -> tuple[Object, Object]:
    """The same of a runtime of KServe, whose container and way to the model KServe adds."""
    model = children.model_of(job)
    runtime = spec.runtime or ""
    serves: Object = {
        "modelFormat": {"name": _FORMATS.get(runtime, "huggingface")},
        "runtime": runtime,
        "storageUri": model[names.ANNOTATION_MODEL_URI],
    }
    if spec.resources is not None:
        serves["resources"] = spec.resources.to_dict()
    if spec.env:
        serves["env"] = literal(spec.env)
    if spec.env_from:
        serves["envFrom"] = [source.to_dict() for source in spec.env_from]
    pod: Object = {"model": serves, "automountServiceAccountToken": False}
    if spec.service_account_name is not None:
        pod["serviceAccountName"] = spec.service_account_name
    template = spec.template
    if template is not None:
        own = {names.LABEL_JOB: job.metadata.name, names.LABEL_STAGE: "deploy"}
        pod |= scheduling(template, own)
        fragments = template.to_dict()
        volumes, mounts = storage(template, ())
        given = len(fragments.get("volumes", ()))
        if given:
            pod["volumes"] = volumes[:given]
            serves["volumeMounts"] = mounts[: len(fragments.get("volumeMounts", ()))]
        devices(template, serves)
        if template.termination_grace_period_seconds is not None:
            pod["terminationGracePeriodSeconds"] = template.termination_grace_period_seconds
    given_labels = (template.labels if template is not None else None) or {}
    given_notes = (template.annotations if template is not None else None) or {}
    metadata: Object = {
        "labels": {**given_labels, **children.selector_of(job)},
        "annotations": {**given_notes, **model},
    }
    metadata["labels"][names.LABEL_ROLLOUT] = children.hash_of({"metadata": metadata, "spec": pod})
    return metadata, pod


def _told(said: Object) -> str:
    words = f"{said.get('reason', '')}: {said['message']}".removeprefix(": ")
    return f"KServe says {text.line(words, 500)}"
