"""Which objects of the cluster are a job's own.

Whoever may create pods in a namespace can give them any labels and owners. So a pod counts when its
controller is the job (or, for an executor, the job's Spark driver) in every respect: namespace, API
group, kind, name and uid, as Kubernetes' own controllers index (kubernetes/kubernetes#134654); when
its name is one that we would give it, which says what it is; and when we have made it: each of our
pods bears a signature of its name and its job's uid, by a key that only the operator has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..api.v1alpha1 import GROUP, KIND, StageStatus, TrainingJob
from . import kinds, names, stages
from .child import ChildView
from .pods import PodView, is_executor
from .policy import cleanup
from .signing import bears, key_id

# The uid of whoever holds what is kept: of any job of the name.
_KEPT = ""
_GROUPS = {kind.name: kind.group for kind in (*kinds.SERVERS, kinds.REPLICA_SET)}


class Owner(NamedTuple):
    """The controller of an object, which is in its namespace."""

    namespace: str
    group: str
    kind: str
    name: str
    uid: str

    @property
    def of_job(self) -> bool:
        """Whether it is a job."""
        return (self.group, self.kind) == (GROUP, KIND)

    @property
    def of_set(self) -> bool:
        """Whether it is a ReplicaSet, as of a Deployment."""
        return (self.group, self.kind) == ("apps", kinds.REPLICA_SET.name)

    @property
    def of_deployment(self) -> bool:
        """Whether it is a Deployment."""
        return (self.group, self.kind) == ("apps", kinds.DEPLOYMENT.name)

    @property
    def of_inference_service(self) -> bool:
        """Whether it is an InferenceService of KServe."""
        kind = kinds.INFERENCE_SERVICE
        return (self.group, self.kind) == (kind.group, kind.name)

    @property
    def of_driver(self) -> bool:
        """Whether it is a pod, as a Spark driver is."""
        return (self.group, self.kind) == ("", "Pod")


def owner_of(obj: Mapping[str, Any]) -> Owner | None:
    """The object's controller, or the job that holds one that is kept; None when it has none."""
    meta = obj["metadata"]
    ref = next((ref for ref in meta.get("ownerReferences") or () if ref.get("controller")), None)
    if ref is None:
        holder = names.holder_of(meta)
        return None if holder is None else job_owner(meta["namespace"], holder, _KEPT)
    group = ref.get("apiVersion", "").rpartition("/")[0]
    return Owner(meta["namespace"], group, ref["kind"], ref["name"], ref["uid"])


def whose(job: TrainingJob, obj: Mapping[str, Any]) -> str:
    """Whose an object is that is not the job's, for a message."""
    owner, meta = owner_of(obj), job.metadata
    if owner is None:
        return "is not of this job"
    if owner == job_owner(meta.namespace, meta.name, owner.uid):
        goes = "deletionTimestamp" in obj["metadata"]
        return f"is of an earlier {KIND} of this name" + (", and is being deleted" if goes else "")
    return f"belongs to {owner.kind} {owner.name}"


def job_owner(namespace: str, name: str, uid: str) -> Owner:
    """A job as an owner."""
    return Owner(namespace, GROUP, KIND, name, uid)


def holder(namespace: str, name: str) -> Owner:
    """A job as the owner of what an earlier one of its name has left."""
    return job_owner(namespace, name, _KEPT)


def maker(namespace: str, made: ChildView) -> Owner:
    """What makes children of its own, as a Deployment does, as an owner."""
    return Owner(namespace, _GROUPS[made.kind], made.kind, made.name, made.uid)


def driver_owner(namespace: str, driver: PodView) -> Owner:
    """A Spark driver as the owner of its executors."""
    return Owner(namespace, "", "Pod", driver.name, driver.uid)


def pod_of(pod: Mapping[str, Any], owner: Owner) -> tuple[str, PodView] | None:
    """The name of the job that a v1 Pod is of, and the pod. None when its name and owner are not
    those of a pod of a job, nor it an executor of its driver. Its labels may have been changed
    since it was made, but for an executor's: the name says what it is."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    if owner.of_job:
        job, place = owner.name, names.place_of(owner.name, meta["name"])
    elif owner.of_driver and is_executor(pod):
        job = labels.get(names.LABEL_JOB, "")
        place = names.place_of(job, owner.name)
    elif owner.of_set:
        return _server_of(pod)
    else:
        return None
    if place is None:
        return None
    marks = names.marks(job, place)
    if owner.of_driver:
        marks = names.executor_marks(job, place)
        if not stages.named(place.stage).drives or place.index != 0:
            return None
        if not marks.items() <= labels.items():
            return None
    elif labels.get(names.LABEL_ROLE) == names.ROLE_CLEANER:
        marks[names.LABEL_ROLE] = names.ROLE_CLEANER
    return job, PodView.from_dict({**pod, "metadata": meta | {"labels": marks}})


def child_of(kind: str, obj: Mapping[str, Any], owner: Owner) -> tuple[str, ChildView] | None:
    """As ``pod_of``, for a child of another ``kind``."""
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    stands = _stands(labels)
    made = owner.of_deployment and kind == kinds.REPLICA_SET.name
    made |= owner.of_inference_service and kind == kinds.DEPLOYMENT.name
    if made and stands:
        return labels.get(names.LABEL_JOB, ""), ChildView.from_dict(kind, obj)
    if not owner.of_job or not (stands or names.is_child(owner.name, meta["name"])):
        return None
    if owner.uid == _KEPT and not stands:
        return None
    return owner.name, ChildView.from_dict(kind, obj)


def _server_of(pod: Mapping[str, Any]) -> tuple[str, PodView] | None:
    """As ``pod_of``, of a ReplicaSet: its name says nothing, and it is never the first of a gang.
    Its Deployment is a job's own when all above it are."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    if not _stands(labels):
        return None
    job = labels.get(names.LABEL_JOB, "")
    marks = names.marks(job, names.Place(labels[names.LABEL_STAGE], 1, 0))
    if names.LABEL_INFERENCE_SERVICE in labels:
        marks[names.LABEL_INFERENCE_SERVICE] = labels[names.LABEL_INFERENCE_SERVICE]
    return job, PodView.from_dict({**pod, "metadata": meta | {"labels": marks}})


def _stands(labels: Mapping[str, str]) -> bool:
    """Whether these are of a stage whose children have names of their own."""
    found = labels.get(names.LABEL_STAGE)
    return any(room.name == found and room.standing for room in stages.STAGES)


def changes(wanted: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """What the API server has changed of what we know a child by: its labels and annotations of our
    group, and its controller. For a message."""
    found = []
    for kind in ("labels", "annotations"):
        before, after = (obj["metadata"].get(kind) or {} for obj in (wanted, made))
        for key, value in before.items():
            if key.partition("/")[0] != GROUP or after.get(key) == value:
                continue
            how = f"changed to {after[key]!r}" if key in after else "removed"
            found.append(f"{kind.removesuffix('s')} {key} {how}")
    if owner_of(wanted) != owner_of(made):
        found.append("its owner changed")
    return found


def ours(job: TrainingJob, pods: Iterable[PodView], key: bytes) -> tuple[PodView, ...]:
    """Those that count, of the pods that are named and owned as the job's."""
    return tuple(pod for pod in pods if counts(job, pod, key))


def counts(job: TrainingJob, pod: PodView, key: bytes) -> bool:
    """Whether a pod that is named and owned as the job's is one that we have made.

    One without our signature may be of an operator before us, or of one whose key was lost: of
    attempts that it has put into status, as long as status does not say that all pods of the stage
    bear ours. Without a key, attempts that status does not know are nobody's, unless all of
    it was lost.
    """
    room = next((room for room in stages.of(job) if room.name == pod.stage), None)
    if room is None:
        return False
    if key and bears(job, pod, key):
        return True  # of whatever index: the gang may have been larger
    stored = next((stage for stage in job.status.stages if stage.name == room.name), None)
    stage = stored or StageStatus(name=room.name)
    most = max(room.replicas(job), stage.pods.desired)
    if pod.index >= most and pod.attempt >= stage.attempt:
        return False
    if not key:
        known = max(stage.attempt, cleanup.last_attempt(job.status, room.name))
        return pod.attempt <= known or not job.status.observed_generation
    begun = pod.attempt < stage.attempt + (stage.start_time is not None)
    return begun and stage.signer != key_id(key)


def is_ours(job: TrainingJob, pod: Mapping[str, Any], key: bytes) -> bool:
    """Whether a v1 Pod is one of the job's, in every respect: its owner, its name, its maker."""
    meta = job.metadata
    owner = owner_of(pod)
    if owner is None or owner != job_owner(meta.namespace, meta.name, meta.uid):
        return False
    found = pod_of(pod, owner)
    return found is not None and counts(job, found[1], key)
