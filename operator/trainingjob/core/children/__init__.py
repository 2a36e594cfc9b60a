"""From the spec to pods and their network: plain dicts, a fresh tree at each call.

One module a stage; each has ``replicas(job)`` and ``maker(job, attempt, settings)``, which prepares
what all pods of an attempt have in common, and makes one of them for an index.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from ...api.v1alpha1 import StageName, TrainingJob
from ..observation import Settings
from . import cache, evaluate, preprocess, train

_MODULES: dict[StageName, ModuleType] = {
    "preprocess": preprocess,
    "train": train,
    "evaluate": evaluate,
}


def stages(job: TrainingJob) -> list[StageName]:
    """The job's stages in order."""
    wanted: dict[StageName, bool] = {
        "preprocess": job.spec.preprocess is not None,
        "train": True,
        "evaluate": job.spec.evaluate is not None,
    }
    return [name for name, present in wanted.items() if present]


def replicas(job: TrainingJob, stage: StageName) -> int:
    """How many pods of the stage the operator makes."""
    return int(_MODULES[stage].replicas(job))


def executors(job: TrainingJob, stage: StageName) -> int:
    """How many Spark executors the stage's driver is to make; 0 without Spark."""
    return preprocess.executors(job) if stage == "preprocess" else 0


def pods(
    job: TrainingJob,
    stage: StageName,
    attempt: int,
    settings: Settings,
    indexes: Iterable[int] | None = None,
) -> list[dict[str, Any]]:
    """The pods of one attempt, or those with these indexes."""
    make = _MODULES[stage].maker(job, attempt, settings)
    return [make(index) for index in (range(replicas(job, stage)) if indexes is None else indexes)]


def network(job: TrainingJob, stage: StageName) -> list[dict[str, Any]]:
    """What the stage's pods find and trust each other by: to be made before them, in this order."""
    return train.network(job) if stage == "train" else []


def image(job: TrainingJob, stage: StageName, settings: Settings) -> str:
    """The image that the stage runs."""
    given = getattr(job.spec, stage).image
    return str(given or settings.images[stage])


def reports(job: TrainingJob, stage: StageName) -> bool:
    """Whether the stage's pods run our runtime, which reports a result."""
    return stage != "train" or not train.runs_as_it_stands(job)


def not_cached(job: TrainingJob, stage: StageName) -> str | None:
    """Why the stage is computed although the policy has a cache; None when it may be restored."""
    if not job.spec.policy.cache or stage == "evaluate":
        return None
    return cache.hindrance(job, stage) if reports(job, stage) else "its image runs as it stands"
