"""The pod that removes what the policy does not keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...api.payload import CleanupPayload
from ...api.v1alpha1 import TrainingJob
from ...api.v1alpha1.resources import Resources
from ...api.v1alpha1.status import Cleanup
from .. import names, stages
from ..observation import Settings
from .environment import encoded
from .pod import job_ref, pod

_RESOURCES = Resources.model_validate(
    {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
)


def cleaner(job: TrainingJob, cleanup: Cleanup, settings: Settings) -> dict[str, Any]:
    """It reaches the storage as the stage does that it is named after, without its devices."""
    room = stages.named(cleanup.stage)
    spec = room.spec_of(job)
    dataset, checkpoints = names.dataset_uri(job), names.checkpoints_uri(job)
    rooms = stages.of(job)
    wrote = next((one.name for one in rooms if one.output_uri(job) == dataset), None)
    saved = next((one.name for one in rooms if one.resumable), None)
    payload = CleanupPayload(
        output=names.artefact_uri(job),
        dataset=dataset if wrote and "datasets" in cleanup.kinds else None,
        dataset_run=job_ref(job, wrote).uid if wrote else "",
        checkpoints=checkpoints if saved and "checkpoints" in cleanup.kinds else None,
        checkpoints_run=job_ref(job, saved).uid if saved else "",
    )
    made = pod(
        job,
        cleanup.stage,
        cleanup.attempt,
        # It has no progress to report.
        replace(settings, status_url="", status_ca=""),
        0,
        image=settings.images[room.image],
        payload=encoded(payload),
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(payload.output,),
        resources=_RESOURCES,
        template=spec.template and spec.template.model_copy(update={"scratch": None}),
    )
    made["metadata"]["labels"][names.LABEL_ROLE] = names.ROLE_CLEANER
    return made
