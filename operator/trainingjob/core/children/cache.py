"""Which stages may be restored from the cache, and what their keys count beside the payload."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from ...api import payload as contract
from ...api.v1alpha1 import Preprocess, Train, TrainingJob
from .. import names

CachedStage = Literal["preprocess", "train"]


def ref(job: TrainingJob, stage: CachedStage, image: str) -> contract.CacheRef | None:
    """Where the stage, which runs ``image``, finds the cache; None when it is to be computed."""
    if not job.spec.policy.cache or hindrance(job, stage) is not None:
        return None
    gang = stage == "train" and job.spec.train.nodes > 1
    return contract.CacheRef(
        records=names.cache_uri(job, stage),
        conditions=_conditions(_spec(job, stage), image),
        decision=names.cache_decision_uri(job) if gang else None,
    )


def hindrance(job: TrainingJob, stage: CachedStage) -> str | None:
    """Why equal keys would not mean equal results; None when they do.

    A tag moves. Own code may look at all that it can reach, of which we see less.
    """
    if any(found.name == stage and found.first_attempt for found in job.status.stages):
        return "somebody asked for it to be run again"
    spec = _spec(job, stage)
    if spec.image is not None and "@sha256:" not in spec.image:
        return "its image is not given by its digest (@sha256:…)"
    own_code = spec.script is not None or (isinstance(spec, Train) and spec.command is not None)
    if own_code and spec.env_from:
        return "it is own code with envFrom"
    if own_code and spec.template is not None and spec.template.volumes:
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


def _spec(job: TrainingJob, stage: CachedStage) -> Preprocess | Train:
    if stage == "train":
        return job.spec.train
    if job.spec.preprocess is None:
        raise ValueError("the job has no preprocess stage")
    return job.spec.preprocess
