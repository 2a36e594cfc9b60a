"""The claim that is made for a job: the one child that may outlive it.

It is made before the pods of the job's first stage, at every attempt: one that is there is found
again by its name, and is the job's when it says so. A later stage makes none, since an empty claim
in place of one that is gone would hide what was lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..api.v1alpha1 import StageName, TrainingJob
from ..api.v1alpha1.resources import amount
from . import diagnose, names, stages
from .kinds import CLAIM
from .observation import Blocker


def wanted(job: TrainingJob, stage: StageName) -> list[dict[str, Any]]:
    """The claim that is to be there before the pods of the stage; empty when there is none to make.

    One that goes with its job is the job's in the eyes of Kubernetes, which deletes it: we have no
    right to. One that is kept has no owner, and the job's name.
    """
    asked = job.spec.storage.pvc
    if asked is None or stage != stages.of(job)[0].name:
        return []
    metadata: dict[str, Any] = {
        "name": names.claim_name(job),
        "namespace": job.metadata.namespace,
        "labels": {
            "app.kubernetes.io/name": "trainingjob",
            "app.kubernetes.io/instance": job.metadata.name,
            "app.kubernetes.io/managed-by": names.FIELD_MANAGER,
            names.LABEL_JOB: job.metadata.name,
        },
    }
    if asked.when_deleted == "delete":
        metadata["ownerReferences"] = [names.owner_reference(job)]
    else:
        metadata["annotations"] = {names.ANNOTATION_KEPT: names.KEPT}
    spec: dict[str, Any] = {
        "accessModes": [*(asked.access_modes or ())] or [_usual_mode(job)],
        "resources": {"requests": {"storage": str(asked.size)}},
    }
    if asked.storage_class_name is not None:
        spec["storageClassName"] = asked.storage_class_name
    return [
        {"apiVersion": CLAIM.api_version, "kind": CLAIM.name, "metadata": metadata, "spec": spec}
    ]


def blocker(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Blocker | None:
    """Why the claim that is there is not the one that is wanted, and is left as it is; None when it
    is the job's and has what the manifest asks for."""
    words = _whose(wanted["metadata"], found["metadata"])
    words = words or next(_differences(wanted["spec"], found["spec"]), None)
    return diagnose.conflict_of(wanted["metadata"]["name"], CLAIM.name, words) if words else None


def _usual_mode(job: TrainingJob) -> str:
    pods = max(room.at_once(job) for room in stages.of(job))
    return "ReadWriteMany" if pods > 1 else "ReadWriteOnce"


def _whose(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What about its metadata says that it is none of the job's."""
    if "deletionTimestamp" in found:
        return "is being deleted"
    theirs, ours = (
        {o["uid"]: o for o in meta.get("ownerReferences") or ()} for meta in (found, wanted)
    )
    if theirs and theirs.keys() != ours.keys():
        return "belongs to " + ", ".join(f"{o['kind']} {o['name']}" for o in theirs.values())
    left = names.holder_of(found) == wanted["labels"][names.LABEL_JOB]
    if ours and not theirs and left:
        return "an earlier job has left, and storage.pvc.whenDeleted is delete"
    return None if theirs or (left and not ours) else "is not of this job"


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """How it falls short of the manifest. One that somebody has enlarged is fine."""
    size, asked = (spec["resources"]["requests"]["storage"] for spec in (found, wanted))
    if _bytes(size) < _bytes(asked):
        yield f"has {size} where storage.pvc.size is {asked} (enlarge it, or ask for less)"
    of, wants = found.get("storageClassName"), wanted.get("storageClassName")
    if wants is not None and of != wants:
        yield f"is of class {of} where storage.pvc.storageClassName is {wants}"
    modes = found.get("accessModes") or []
    if missing := [mode for mode in wanted["accessModes"] if mode not in modes]:
        have = ", ".join(modes)
        yield f"has accessModes {have} where {missing[0]} is needed (see storage.pvc.accessModes)"


def _bytes(quantity: str) -> float:
    try:
        return float(amount(quantity))
    except (ValueError, KeyError):  # in units that are not ours, and so not by us
        return math.inf
