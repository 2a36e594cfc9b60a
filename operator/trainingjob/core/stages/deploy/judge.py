"""How a rollout stands: Kubernetes carries it out, and we say when it is over and whether it goes
back.

Persist before destroying: that it goes back is in status, as the reason of a stage that still runs,
before what serves is touched; the stage has failed when that is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from ....api.payload import StageResult
from ....api.v1alpha1 import REASONS, StageStatus
from ....api.v1alpha1.reported import Outputs
from ....api.v1alpha1.status import Deployment, PodCounts
from ... import accepted, applied, diagnose, names
from ...child import ChildView
from ...diagnose import Failure
from ..outcome import StageOutcome, failed_for_good
from . import children
from .rollout import FINAL, GOES_BACK, Rollout, has_crashed, is_proven, runs_again

# A container that fails is started again after 10, 20, 40 … s: its cause has had time to pass.
_CRASHES = timedelta(seconds=150)


def judge(rollout: Rollout) -> StageOutcome:
    """As `Stage.judge`: the first policy that has an answer decides."""
    if rollout.prior.over:
        return StageOutcome(rollout.prior)
    return next(outcome for policy in POLICIES if (outcome := policy(rollout)) is not None)


def went_back(rollout: Rollout) -> StageOutcome | None:
    """The end of a rollout that failed."""
    if not rollout.goes_back:
        return None
    found, prior, words = rollout.served, rollout.prior, rollout.prior.message
    if rollout.went_back:
        proven = found is not None and is_proven(found)
        if found is not None and proven and rollout.is_same(found):
            words += "; no model was served before, and this one is left as it is"
            phase: Literal["Ready", "Failed"] = "Ready" if rollout.is_complete else "Failed"
            return _failed(rollout, words, rollout.told(phase))
        told = rollout.told("RolledBack" if proven else "Failed")
        back = told.words if told is not None and proven else ""
        words += f"; {back} is served again" if back else "; no model was served before"
        return _failed(rollout, words, told)
    if rollout.now < rollout.deadline or rollout.obs.job.spec.suspend:
        return StageOutcome(
            prior, deployment=rollout.told("RollingBack"), wake=rollout.until_deadline
        )
    blocker = rollout.blocker
    words += f"; going back failed, too: {blocker.message if blocker else 'nobody did it'}"
    return _failed(rollout, words, rollout.told("Failed"))


def suspended(rollout: Rollout) -> StageOutcome | None:
    """What has begun goes on in Kubernetes' hands, and is judged later."""
    if not rollout.obs.job.spec.suspend:
        return None
    words = "spec.suspend is set; the stage goes on when it is false"
    update = {"reason": "Suspended", "message": words, "waiting_since": None}
    return StageOutcome(rollout.prior.model_copy(update=update))


def impossible(rollout: Rollout) -> StageOutcome | None:
    """It cannot begin at all."""
    obs, prior = rollout.obs, rollout.prior
    denied = rollout.room.forbidden(obs.job, obs.settings)
    # Elsewhere the API server says so, and may yet be brought up to date.
    if denied is not None and REASONS[denied[0]].grace_seconds is None:
        return failed_for_good(prior, *denied, rollout.now)
    if rollout.by_hand:  # it needs no verdict
        words = _no_way_back(rollout)
        return failed_for_good(prior, GOES_BACK, words, rollout.now) if words else None
    if what := accepted.unsaid(obs.job):
        return failed_for_good(prior, "ResultInvalid", what, rollout.now)
    if what := accepted.unavailable(obs.job, children.spec_of(obs.job).variant):
        return failed_for_good(prior, "VariantUnavailable", what, rollout.now)
    return None


def _no_way_back(rollout: Rollout) -> str:
    """Why it cannot go back by hand; "" when it can, or has."""
    found, kind = rollout.served, rollout.target.kind.name
    if found is None:
        return f"there is no {kind} any more"
    known = applied.previous_of(found.annotations) is not None
    return "" if known or rollout.went_back else f"the {kind} does not know the model before"


def begins(rollout: Rollout) -> StageOutcome | None:
    """What is to serve is not there yet, or not as it is wanted."""
    found, obs, prior, now = rollout.served, rollout.obs, rollout.prior, rollout.now
    if not (rollout.by_hand or accepted.digest_of(obs.job)):  # to be stored first
        return StageOutcome(prior.model_copy(update={"reason": "Starting"}))
    if found is not None and rollout.is_applied(found):
        return None
    if found is not None and prior.start_time is not None:
        # Another template, as of an operator that was brought up to date: it has all of its time.
        prior = prior.model_copy(update={"start_time": None, "cleared_time": now})
        rollout = replace(rollout, prior=prior)
    blocker = rollout.blocker
    if blocker is None:  # it is tried, however late
        update = {"reason": "Starting", "message": "", "waiting_since": None}
        return StageOutcome(prior.model_copy(update=update))
    since, until = _tolerated(rollout, blocker)
    if now >= min(until or rollout.deadline, rollout.deadline):
        return failed_for_good(prior, blocker.reason, blocker.message, now)
    wait: dict[str, object] = {
        "reason": blocker.reason,
        "message": blocker.with_remedy()[:2048],
        "waiting_since": since,
    }
    wake = min(until or rollout.deadline, rollout.deadline)
    return StageOutcome(prior.model_copy(update=wait), wake=wake)


def ready(rollout: Rollout) -> StageOutcome | None:
    """All pods have reproduced what was judged, and get the requests."""
    found = rollout.served
    if found is None or not rollout.is_complete or not is_proven(found):
        return None
    told = rollout.told("RolledBack" if rollout.by_hand else "Ready")
    uri = rollout.place or found.annotations.get(names.ANNOTATION_MODEL_URI, "")
    result = StageResult(outputs=Outputs(uri=uri, digest=told.model_digest if told else ""))
    update = {
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "",
        "waiting_since": None,
        "completion_time": rollout.now,
        "outputs": result.outputs,
    }
    stage = _running(rollout).model_copy(update=update)
    return StageOutcome(stage, result=result, deployment=told)


def fails(rollout: Rollout) -> StageOutcome | None:
    """Pods say why they will never be ready, or take too long: it goes back."""
    found, trouble = rollout.served, rollout.trouble
    if found is None:
        return None
    if rollout.is_complete:
        blocker = rollout.blocker
        if blocker is None or rollout.now < rollout.deadline:
            return None
        # All of its pods serve the model: there is nothing to go back from.
        ended = failed_for_good(rollout.prior, blocker.reason, blocker.message, rollout.now)
        return replace(ended, deployment=rollout.told("Ready"))
    if trouble is not None:
        _, until = _tolerated(rollout, trouble)
        crashed = has_crashed(trouble)
        again = rollout.obs.settings.serves and trouble.failure_class not in FINAL
        final = crashed and not again
        # What loads again may yet be ready: only the deadline ends that.
        over = until is not None and rollout.now >= until
        if final or (over and not (crashed and runs_again(trouble))):
            return _back(rollout, f"{trouble.reason}: {trouble.message}")
    late = rollout.now >= rollout.deadline or _gave_up(found)
    if not late:
        return None
    why = f"{trouble.reason}: {trouble.message}" if trouble else _slowest(rollout)
    count = sum(pod.ready for pod in rollout.obs.servers)
    seconds = children.deadline_of(rollout.obs.job)
    what = f"{count} of {rollout.desired} pods were ready after {seconds} s"
    return _back(rollout, f"{what}; {why}")


def rolls(rollout: Rollout) -> StageOutcome:
    """It gets on."""
    stage = _running(rollout)
    # Once all pods are ready, what is left is to mark it so.
    trouble = rollout.blocker if rollout.is_complete else rollout.trouble
    wake = rollout.until_deadline
    update: dict[str, object] = {"waiting_since": None}
    if trouble is not None:
        since, until = _tolerated(rollout, trouble)
        update = {
            "reason": trouble.reason,
            "message": trouble.with_remedy()[:2048],
            "waiting_since": since,
        }
        if until is not None and rollout.now < until:
            wake = min(wake or until, until)
    stage = stage.model_copy(update=update)
    return StageOutcome(stage, deployment=rollout.told("RollingOut"), wake=wake)


POLICIES: tuple[Callable[[Rollout], StageOutcome | None], ...] = (
    went_back,
    suspended,
    impossible,
    begins,
    ready,
    fails,
    rolls,
)


def _running(rollout: Rollout) -> StageStatus:
    room, obs, desired = rollout.room, rollout.obs, rollout.desired
    count = sum(pod.ready for pod in obs.servers)
    message = "; ".join(filter(None, (f"{count} of {desired} pods are ready", rollout.words)))
    return rollout.prior.model_copy(
        update={
            "phase": "Running",
            "reason": "RollingOut",
            "message": message,
            "start_time": rollout.prior.start_time or rollout.now,
            "image": room.image_of(obs.job, obs.settings),
            "pods": PodCounts(desired=desired, ready=count),
        }
    )


def _back(rollout: Rollout, words: str) -> StageOutcome:
    if rollout.by_hand:  # and not forward again: the newer one serves until then
        return _failed(rollout, words, rollout.told("Failed"))
    update = {
        "reason": GOES_BACK,
        "message": words[:1500],
        "waiting_since": rollout.now,
    }
    stage = _running(rollout).model_copy(update=update)
    return StageOutcome(stage, deployment=rollout.told("RollingBack"))


def _failed(rollout: Rollout, words: str, told: Deployment | None) -> StageOutcome:
    ended = failed_for_good(rollout.prior, GOES_BACK, words, rollout.now)
    stage = ended.stage.model_copy(update={"waiting_since": None})
    return StageOutcome(stage, failure=ended.failure, deployment=told)


def _tolerated(rollout: Rollout, trouble: Failure) -> tuple[datetime, datetime | None]:
    """Since when it has been so, and until when that may last; None: the deadline ends it."""
    prior, now = rollout.prior, rollout.now
    since = prior.waiting_since if prior.reason == trouble.reason else None
    since = since or now
    grace = REASONS[trouble.reason].grace_seconds
    if has_crashed(trouble):
        return since, since + _CRASHES
    return since, None if grace is None else since + timedelta(seconds=grace)


def _slowest(rollout: Rollout) -> str:
    pods = [pod for pod in rollout.obs.servers if not pod.ready]
    running = next((pod for pod in pods if pod.phase == "Running"), None)
    if running is not None:
        return f"pod {running.described} runs and is not ready; its log says what it does"
    return rollout.words or diagnose.slowest(pods)


def _gave_up(found: ChildView) -> bool:
    """Kubernetes has, by its own count of the same seconds."""
    return found.status.get("observedGeneration", 0) >= found.generation and any(
        (c.get("type"), c.get("status"), c.get("reason"))
        == ("Progressing", "False", "ProgressDeadlineExceeded")
        for c in found.status.get("conditions") or ()
    )
