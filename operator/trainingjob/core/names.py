"""Names, labels and locations of everything that belongs to a job. Nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..api import uris
from ..api.accepted import folder_name
from ..api.stages import STAGE_NAMES
from ..api.v1alpha1 import API_VERSION, GROUP, KIND, StageName, TrainingJob

FIELD_MANAGER = "trainingjob-operator"

LABEL_JOB = f"{GROUP}/job"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_INDEX = f"{GROUP}/index"
LABEL_ROLE = f"{GROUP}/role"
ROLE_EXECUTOR = "executor"
ROLE_CLEANER = "cleaner"
# Spark looks for its own container under this name, and so do we.
EXECUTOR_CONTAINER = "spark-kubernetes-executor"

# The container that fetches own code before a stage's own begins, and the volume of both.
CODE_CONTAINER = "trainingjob-code"
CODE_VOLUME = "trainingjob-checkout"

# The volume at /tmp.
SCRATCH_VOLUME = "trainingjob-tmp"

# A variable of torchrun's: by how many nodes a pod of a gang was made.
GANG_SIZE = "PET_NNODES"

# The certificate that a pod reports progress to, in PEM.
ANNOTATION_STATUS_CA = f"{GROUP}/status-ca"
# Which container `kubectl logs` reads when others stand beside ours.
ANNOTATION_CONTAINER = "kubectl.kubernetes.io/default-container"
# What the tokens are for by which pods show who they are when they report: for nothing else.
STATUS_AUDIENCE = GROUP
# By which the operator knows its own pods again, see `ownership`.
ANNOTATION_SIGNATURE = f"{GROUP}/signature"
# Of a pod: which template it was made from.
ANNOTATION_TEMPLATE = f"{GROUP}/template"
# Of a child: that it stays when its job goes, of which it has the name.
ANNOTATION_KEPT = f"{GROUP}/kept"
KEPT = "true"
# Of all that serves a model: of which Deployment, and of its pods, by which template of its.
LABEL_SERVER = f"{GROUP}/deployment"
LABEL_ROLLOUT = f"{GROUP}/rollout"
# Of what is applied: what it was made by, the last of these whose pods were all ready, and the
# template of the model before.
ANNOTATION_APPLIED = f"{GROUP}/applied"
ANNOTATION_PROVEN = f"{GROUP}/proven"
ANNOTATION_PREVIOUS = f"{GROUP}/previous"
# The container that KServe takes for the server, and by which label it marks its pods.
KSERVE_CONTAINER = "kserve-container"
LABEL_INFERENCE_SERVICE = "serving.kserve.io/inferenceservice"
# Of pods that serve: which model.
ANNOTATION_MODEL_URI = f"{GROUP}/model-uri"
ANNOTATION_MODEL_DIGEST = f"{GROUP}/model-digest"
ANNOTATION_MODEL_VARIANT = f"{GROUP}/model-variant"
_OF_MODEL = (ANNOTATION_MODEL_URI, ANNOTATION_MODEL_DIGEST, ANNOTATION_MODEL_VARIANT)
# Runs a job again: "<stage>:<number>". No field of the spec: GitOps tools leave it alone.
ANNOTATION_RERUN = f"{GROUP}/rerun"


_PEERS = "-pods"
_SHIELD = "-stages"
# Attempts 1 to 999,999, and indices to 9,999: beyond what any job comes to.
_PLACE = re.compile(rf"({'|'.join(STAGE_NAMES)})-([1-9][0-9]{{0,5}})-(0|[1-9][0-9]{{0,3}})")


@dataclass(frozen=True, slots=True)
class Place:
    """Which pod of a job a pod is."""

    stage: StageName
    attempt: int
    index: int


def pod_name(job: TrainingJob, stage: StageName, attempt: int, index: int) -> str:
    """Attempt-stamped, so that pods of two attempts can never be mistaken for each other."""
    return f"{job.metadata.name}-{stage}-{attempt}-{index}"


def place_of(job: str, pod: str) -> Place | None:
    """Which pod of the job of that name has the name ``pod``; None: none of them."""
    match = _PLACE.fullmatch(pod.removeprefix(f"{job}-")) if pod.startswith(f"{job}-") else None
    if match is None:
        return None
    return Place(cast("StageName", match[1]), int(match[2]), int(match[3]))


def child_name(job: TrainingJob, stage: StageName) -> str:
    """The name of the children of a stage that are no pods: one of each kind."""
    return fitted(job.metadata.name, f"-{stage}")


def shield_name(job: TrainingJob) -> str:
    """The name of the NetworkPolicy of all pods of a job's stages."""
    return fitted(job.metadata.name, _SHIELD)


def peers_name(job: TrainingJob, stage: StageName) -> str:
    """The name of the Service by which each pod of a stage has an address of its own."""
    return fitted(job.metadata.name, f"-{stage}{_PEERS}")


def group_name(job: TrainingJob, stage: StageName, nodes: int) -> str:
    """The name of the PodGroup of a stage's gang of so many pods, which cannot be resized."""
    return fitted(job.metadata.name, f"-{stage}-of-{nodes}")


def hostname(job: TrainingJob, stage: StageName, attempt: int, index: int) -> str:
    """What a pod is called below that Service."""
    return fitted(job.metadata.name, f"-{stage}-{attempt}-{index}")


def is_child(job: str, name: str) -> bool:
    """Whether a child of the job of that name, and no pod, may have the name ``name``."""
    ends = [f"-{stage}{end}" for stage in STAGE_NAMES for end in ("", _PEERS)]
    return any(name == fitted(job, end) for end in (_SHIELD, *ends))


def fitted(name: str, end: str, most: int = 63) -> str:
    """Both together; where that is longer than ``most``, as the name of a Service may be, with a
    digest in place of the end of ``name``."""
    if len(name) + len(end) <= most:
        return name + end
    digest = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name[: most - len(digest) - len(end)].rstrip("-") + digest + end


def labels(job: TrainingJob, stage: StageName, attempt: int, index: int) -> dict[str, str]:
    """Labels of a pod."""
    return {
        "app.kubernetes.io/name": "trainingjob",
        "app.kubernetes.io/instance": job.metadata.name,
        "app.kubernetes.io/component": stage,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        **marks(job.metadata.name, Place(stage, attempt, index)),
    }


def marks(job: str, place: Place) -> dict[str, str]:
    """The labels by which pods are found and told apart."""
    return {
        LABEL_JOB: job,
        LABEL_STAGE: place.stage,
        LABEL_ATTEMPT: str(place.attempt),
        LABEL_INDEX: str(place.index),
    }


def executor_labels(job: TrainingJob, stage: StageName, attempt: int) -> dict[str, str]:
    """Labels of a Spark executor, which has no index: Spark makes as many as it wants."""
    marked = executor_marks(job.metadata.name, Place(stage, attempt, 0))
    return _without_index(labels(job, stage, attempt, 0) | marked)


def executor_marks(job: str, driver: Place) -> dict[str, str]:
    """As ``marks``, of an executor of that driver."""
    return _without_index(marks(job, driver) | {LABEL_ROLE: ROLE_EXECUTOR})


def _without_index(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key != LABEL_INDEX}


def owner_reference(job: TrainingJob) -> dict[str, Any]:
    """Children go with their job, even when no operator runs."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def holder_of(meta: Mapping[str, Any]) -> str | None:
    """The name of the job that has left the object with this metadata, and goes on with it should
    it come again; None when nobody has."""
    kept = (meta.get("annotations") or {}).get(ANNOTATION_KEPT) == KEPT
    return (meta.get("labels") or {}).get(LABEL_JOB) if kept else None


def model_of(template: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a pod's template, or of an InferenceService's predictor, by which it says
    which model it serves."""
    notes = template.get("metadata", template).get("annotations") or {}
    return {key: notes[key] for key in _OF_MODEL if key in notes}


def without_model(notes: Mapping[str, str]) -> dict[str, str]:
    """Annotations but for those."""
    return {key: note for key, note in notes.items() if key not in _OF_MODEL}


def claim_name(job: TrainingJob) -> str:
    """The claim that is made for the job, where its storage asks for one."""
    return f"{job.metadata.name}-storage"


def storage_uri(job: TrainingJob) -> str:
    """Where the job's artefacts lie, and those of others of its storage."""
    return job.spec.storage.uri or f"{uris.CLAIM.start}{claim_name(job)}"


def artefact_uri(job: TrainingJob, *parts: str) -> str:
    """URI below the job's folder ``<storage>/<namespace>/<job>/``."""
    meta = job.metadata
    return uris.join(storage_uri(job), meta.namespace, meta.name, *parts)


def dataset_uri(job: TrainingJob) -> str:
    """The dataset that training reads: the preprocess stage's, or the one that was given."""
    given = job.spec.train.dataset if job.spec.train is not None else None
    return given.uri if given else artefact_uri(job, "dataset")


def model_uri(job: TrainingJob) -> str:
    """The model folder."""
    return artefact_uri(job, "model")


def checkpoints_uri(job: TrainingJob) -> str:
    """The folder of the checkpoints."""
    return artefact_uri(job, "checkpoints")


def cache_uri(job: TrainingJob, stage: StageName) -> str:
    """The folder of the cache's records, the same for all jobs of namespace and storage. No job
    can have the name ``.cache``: theirs are DNS labels."""
    return uris.join(storage_uri(job), job.metadata.namespace, ".cache", stage)


def wheels_uri(job: TrainingJob) -> str:
    """The folder of the packages that own code asked for, of all jobs of namespace and storage."""
    return uris.join(storage_uri(job), job.metadata.namespace, ".wheels")


def cache_decision_uri(job: TrainingJob) -> str:
    """The file by which node 0 of a gang tells the others whether it restored the model."""
    return artefact_uri(job, ".cache.json")


def evaluation_uri(job: TrainingJob) -> str:
    """The folder of the evaluation."""
    return artefact_uri(job, "evaluation")


def predictions_uri(job: TrainingJob) -> str:
    """The folder of the predictions of the job's own that name no other."""
    return artefact_uri(job, "predictions")


def server_of(job: TrainingJob) -> str:
    """What serves the job's model is called so, and so is the model in requests."""
    deploy = job.spec.deploy
    return (deploy.name if deploy is not None else None) or job.metadata.name


def accepted_uri(job: TrainingJob) -> str:
    """The folder of the last accepted model's record; it outlives the job."""
    return artefact_uri(job, "accepted")


def accepted_model_uri(job: TrainingJob, model: str, dataset: str) -> str:
    """The folder of an accepted model, which stays as it is, by the digests of the model and of the
    dataset that it was judged on."""
    threshold = job.spec.evaluate.threshold if job.spec.evaluate is not None else None
    task, _ = job.spec.trained
    return artefact_uri(job, "accepted", folder_name(model, dataset, task, threshold))
