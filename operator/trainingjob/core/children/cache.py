"""Which stages may be restored from the cache, and what their keys count beside the payload."""

from __future__ import annotations

import hashlib
import json

from ...api import payload as contract
from ...api.v1alpha1 import Preprocess, StageName, Train, TrainingJob
from .. import names


def ref(
    job: TrainingJob, stage: StageName, spec: Preprocess | Train, image: str, *, gang: bool = False
) -> contract.CacheRef | None:
    """Where the stage, which is as ``spec`` says and runs ``image``, finds the cache; None when it
    is to be computed. ``gang``: it has several pods."""
    if not job.spec.policy.cache or obstruction(job, stage, spec) is not None:
        return None
    return contract.CacheRef(
        records=names.cache_uri(job, stage),
        conditions=_conditions(spec, image),
        decision=names.cache_decision_uri(job) if gang else None,
    )


def obstruction(job: TrainingJob, stage: StageName, spec: Preprocess | Train) -> str | None:
    """Why equal keys would not mean equal results; None when they do.

    A tag moves. Own code may look at all that it can reach, of which we see less.
    """
    if any(found.name == stage and found.first_attempt for found in job.status.stages):
        return "somebody asked for it to be run again"
    if spec.image is not None and "@sha256:" not in spec.image:
        return "its image is not given by its digest (@sha256:…)"
    if spec.own_code and spec.env_from:
        return "it is own code with envFrom"
    if spec.own_code and spec.template is not None and spec.template.volumes:
        return "it is own code with volumes of its own"
    return None


def _conditions(spec: Preprocess | Train, image: str) -> str:
    """A digest, since variables can be as long as an environment lets them."""
    resources = spec.resources if isinstance(spec, Train) else None
    limits = (resources.limits if resources else None) or {}
    counted = {
        "image": image,
        "env": {variable.name: variable.value for variable in spec.env or ()},
        # On a GPU a model is another one than on a CPU.
        "devices": {name: str(count) for name, count in limits.items() if "/" in name},
    }
    text = json.dumps(counted, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
