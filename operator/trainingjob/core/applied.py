"""Objects that stand longer than a job: a later job finds them and brings them up to date.

They are applied on the server's side and never by force: what somebody else has set stays, or is
told as a conflict. One that is the job's by its owner goes with it; one that is kept has no owner,
and the name of the job that holds it.
https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..api.v1alpha1 import TrainingJob
from . import diagnose, names
from .child import ChildView
from .kinds import DEPLOYMENT, INFERENCE_SERVICE, SERVERS
from .observation import Blocker

Object = Mapping[str, Any]

# What has gone back says so, and from what.
BACK = "back:"

# The part of its spec that pods are made from: that is what goes back.
_PARTS = {DEPLOYMENT.name: "template", INFERENCE_SERVICE.name: "predictor"}
_SERVERS = [kind.name for kind in SERVERS]
# By which KServe takes all pods of an InferenceService away.
_STOP = "serving.kserve.io/stop"


def is_applied(child: Object) -> bool:
    """Whether the child is brought up to date where it is there, and not only made."""
    return names.ANNOTATION_APPLIED in (child["metadata"].get("annotations") or {})


def body(
    wanted: Object, found: Object | None, present: Callable[[str], bool]
) -> dict[str, Any] | Blocker:
    """What is to be applied in place of ``found``, which is as it was read just now: nobody else
    may have changed it meanwhile. ``present``: whether there is a job of that name.

    A Blocker when it is somebody else's: then nothing is touched.
    """
    if found is None:
        return {**wanted}
    meta = wanted["metadata"]
    if words := _whose(meta, found["metadata"], present):
        return diagnose.conflict_of(meta["name"], wanted["kind"], words)
    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
    made = {**wanted, "metadata": meta | version}
    part = _PARTS.get(wanted["kind"])
    return made if part is None else _rolled(made, found, part)


def previous_of(annotations: Mapping[str, str]) -> dict[str, Any] | None:
    """What the pods of the model before were made from, by the annotations of what serves."""
    try:
        found = json.loads(annotations.get(names.ANNOTATION_PREVIOUS, "null"))
    except ValueError:  # somebody has written there
        return None
    whole = isinstance(found, dict) and ("spec" in found or "annotations" in found)
    return found if whole else None


def in_use(
    job: TrainingJob, children: Iterable[ChildView], named: Iterable[str] = ()
) -> tuple[str, ...]:
    """Folders of the job's accepted models that are served or may be gone back to: also by what the
    job does not ask for any more, and by other jobs that have promoted one; then those that are
    ``named`` by their URIs, since a job is to serve or to predict by them."""
    start = names.accepted_uri(job) + "/"
    found: list[str] = []
    for child in children:
        if child.kind in _SERVERS:
            before = previous_of(child.annotations)
            notes = child.annotations, names.model_of(before) if before is not None else {}
            found += (note.get(names.ANNOTATION_MODEL_URI, "") for note in notes)
    ours = [uri.removeprefix(start) for uri in (*found, *named) if uri.startswith(start)]
    return tuple(dict.fromkeys(folder for uri in ours if (folder := uri.partition("/")[0])))


def is_complete(status: Mapping[str, Any], generation: int, wanted: int) -> bool:
    """Whether all pods of a Deployment have its template and are ready, and there is one.

    As `kubectl rollout status` has it.
    https://github.com/kubernetes/kubectl/blob/v0.36.0/pkg/polymorphichelpers/rollout_status.go
    """
    updated = status.get("updatedReplicas", 0)
    return bool(
        status.get("observedGeneration", 0) >= generation
        and 1 <= wanted <= updated
        and status.get("replicas", 0) == updated
        and status.get("availableReplicas", 0) >= updated
    )


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether KServe says that an InferenceService answers, by pods of whatever template."""
    conditions = status.get("conditions") or ()
    return any((c.get("type"), c.get("status")) == ("Ready", "True") for c in conditions)


def _rolled(made: dict[str, Any], found: Object, part: str) -> dict[str, Any]:
    """With the template to go back to, of another model where one is known; or with that template,
    when this is the way back. ``part``: the template, or what is there in its place."""
    old = found["metadata"].get("annotations") or {}
    notes = {**made["metadata"]["annotations"]}
    applied, before = notes[names.ANNOTATION_APPLIED], old.get(names.ANNOTATION_APPLIED, "")
    kept = _kept_replicas(found)
    spec = {**made["spec"]} | ({} if kept is None else {"replicas": kept})
    back = previous_of(old)
    if applied.startswith(BACK):
        stays = {key: found["spec"][key] for key in (part, "replicas") if key in found["spec"]}
        if before.startswith(BACK):  # it was done already
            spec |= stays
            notes |= {_STOP: old[_STOP]} if _STOP in old else {}
            if old.get(names.ANNOTATION_PROVEN) == before:
                notes[names.ANNOTATION_PROVEN] = applied
        elif back is not None:
            spec[part] = back
            notes[names.ANNOTATION_PROVEN] = applied
        elif _works(found):  # it is not for us to end what serves
            spec |= stays
            notes[names.ANNOTATION_PROVEN] = applied
        else:
            # Nothing to go back to: what never becomes ready is not to run for ever.
            spec |= stays
            if "replicas" not in stays:
                notes[_STOP] = "true"
            elif kept is None:
                spec["replicas"] = 0
    else:
        same = _serving(spec[part]) == _serving(found["spec"][part])
        if applied != before and not (same and back is not None):
            back = _serves(found, part, back)
        if back is not None:
            text = json.dumps(back, ensure_ascii=False, separators=(",", ":"))
            notes[names.ANNOTATION_PREVIOUS] = text
    notes = names.without_model(notes) | names.model_of(spec[part])
    return made | {"metadata": made["metadata"] | {"annotations": notes}, "spec": spec}


def _serving(template: Object) -> tuple[str | None, str | None]:
    """Which model, and in which form."""
    notes = names.model_of(template)
    keys = names.ANNOTATION_MODEL_DIGEST, names.ANNOTATION_MODEL_VARIANT
    return notes.get(keys[0]), notes.get(keys[1])


def _serves(found: Object, part: str, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """The template by which it serves: its own if that has proven itself, else the one ``before``;
    without one, its own if anything serves at all."""
    template: dict[str, Any] = found["spec"][part]
    if _works(found):
        return template
    status = found.get("status") or {}
    served = status.get("availableReplicas", 0) > 0 or is_ready(status)
    return before if before is not None or not served else template


def _works(found: Object) -> bool:
    """Whether its own template has proven itself, or all of its pods are ready: an InferenceService
    is Ready, too, while those of the template before serve."""
    notes = found["metadata"].get("annotations") or {}
    status, spec = found.get("status") or {}, found["spec"]
    applied = notes.get(names.ANNOTATION_APPLIED)
    return (applied is not None and notes.get(names.ANNOTATION_PROVEN) == applied) or is_complete(
        status, found["metadata"].get("generation", 0), spec.get("replicas", 1)
    )


def _kept_replicas(found: Object) -> int | None:
    """How many pods somebody else wants, an autoscaler or a person; None when nobody does."""
    for entry in found["metadata"].get("managedFields") or ():
        owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("manager") != names.FIELD_MANAGER and "f:replicas" in owned:
            return int(found["spec"]["replicas"])
    return None


def _whose(
    wanted: Mapping[str, Any], found: Mapping[str, Any], present: Callable[[str], bool]
) -> str | None:
    """What about its metadata says that it is none of the job's."""
    if "deletionTimestamp" in found:
        return "is being deleted"
    theirs, ours = (
        {o["uid"]: o for o in meta.get("ownerReferences") or ()} for meta in (found, wanted)
    )
    if theirs and theirs.keys() != ours.keys():
        return "belongs to " + ", ".join(f"{o['kind']} {o['name']}" for o in theirs.values())
    if theirs:
        part = (found.get("labels") or {}).get(names.LABEL_STAGE)
        return None if part == wanted["labels"][names.LABEL_STAGE] else f"is of the job's {part}"
    holder = names.holder_of(found)
    if holder is None:
        return "is not of this job"
    if holder != wanted["labels"][names.LABEL_JOB] and present(holder):
        return f"job {holder} holds (choose another deploy.name, or delete that job)"
    return "an earlier job has left, and deploy.keep is false" if ours else None
