"""What to do: which children to make, which to delete, when to look again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from ..api.v1alpha1 import StageStatus, Status
from . import applied, claim, indexes, names, stages
from .children import podgroup
from .children.cleanup import cleaner
from .observation import Observation
from .pods import PodView
from .policy import cleanup, explaining, line, rerun, retention, retries, stuck
from .stages.gang import image_of

# Ranks end one after the other, and sidecars with them; one that is still there so long after the
# result hangs on its way out, and holds its GPU.
_LEAVE = timedelta(seconds=10)
# The garbage collector's finalizer of a deletion that leaves the pods alone.
_ORPHAN = "orphan"
# Pods made in one go. At most, as many as there are connections to the API server.
_FIRST_BATCH = 8
_LARGEST_BATCH = 32


@dataclass(frozen=True)
class Plan:
    """``create`` in order, though maybe not yet all that is to be made, ``delete`` by pod,
    ``force`` those that were deleted and do not go; all empty when all is as it should be.
    ``remakes``: what is created was there before, and went with the job or was taken from it.
    ``explain``: a pod that waits without saying why; Events may. ``gone``: names of pods of an
    attempt before; one that is there, though nobody sees it, would write beside what is created.
    ``delete_job``: its time is over, and what is its own goes with it."""

    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[PodView, ...] = ()
    force: tuple[PodView, ...] = ()
    gone: tuple[str, ...] = ()
    remakes: bool = False
    explain: PodView | None = None
    delete_job: bool = False
    requeue_after: float | None = None

    @property
    def empty(self) -> bool:
        """No child to make or to delete now."""
        return not self.create and not self.delete and not self.force


def planned(obs: Observation, status: Status, wake: datetime | None, now: datetime) -> Plan:
    """The next actions of a job that stands as ``status`` says, and may stand otherwise from
    ``wake`` on.

    Persist before destroying: pods are deleted only once the status that says why is stored, and
    a later attempt is made only when its number is stored and the pods of the one before are
    gone. So a crash at any point repeats a harmless step instead of losing one.
    """
    stored = obs.job.status
    if not obs.job.ours:
        return Plan()
    if obs.job.deleting:
        return _leaving(obs, now)
    if rerun.requested(obs.job) is not None:
        return Plan()  # nothing is made or deleted until status has it
    if stages.ended(obs.job):
        # An end that somebody has edited is corrected before anything hangs on it.
        told = (stored.phase, stored.completion_time)
        same = told == (status.phase, status.completion_time)
        return _after(obs, status, wake, now) if same else Plan()
    create: list[dict[str, Any]] = []
    wakes = [wake] if wake is not None else []
    # Also of stages whose turn comes again later.
    delete = [] if status.over else _outdated(obs)
    persisted = {stage.name: stage for stage in stored.stages}
    back = rerun.returning(status)
    for stage in (back,) if back is not None else status.stages:
        before = persisted.get(stage.name)
        if stage.phase != "Succeeded":
            if not (status.over or obs.job.spec.suspend):
                create = _children(_told(obs, status), stage, before, wakes, now)
            break
        if before is not None and before.phase == "Succeeded":
            _stop(obs.pods_of(stage.name), before.completion_time, now, delete, wakes)
    made = _plan(create, delete, _stuck(obs, now, wakes), wakes, now)
    # What a stage that runs has had to have; what is of no stage, the first one that ran.
    ran: set[str | None] = {stage.name for stage in stored.stages if stage.phase == "Running"}
    if any(stage.phase in ("Running", "Succeeded") for stage in stored.stages):
        ran.add(None)
    return replace(
        made,
        gone=_before(obs, create),
        remakes=any(child["metadata"]["labels"].get(names.LABEL_STAGE) in ran for child in create),
        explain=_unexplained(obs, status, now),
    )


def _told(obs: Observation, status: Status) -> Observation:
    """With what the stages before have left, which may not be stored yet."""
    done = {stage.name: stage for stage in status.stages if stage.phase == "Succeeded"}
    stored = {stage.name: stage for stage in obs.job.status.stages}
    known = obs.job.status.model_copy(update={"stages": [*(stored | done).values()]})
    return replace(obs, job=obs.job.model_copy(update={"status": known}))


def _unexplained(obs: Observation, status: Status, now: datetime) -> PodView | None:
    """A pod of the stage whose turn it is that has waited for some time, and does not say why."""
    current = next((stage for stage in status.stages if stage.phase != "Succeeded"), None)
    if current is None or status.over:
        return None
    pods = [pod for pod in obs.pods_of(current.name) if pod.attempt == current.attempt]
    return explaining.wanted(obs, pods, now)


def _before(obs: Observation, create: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Names of the pods of the attempt before the one that is begun by what is created."""
    first = next((c["metadata"]["name"] for c in create if c["kind"] == "Pod"), "")
    place = names.place_of(obs.job.metadata.name, first)
    if place is None or any(pod.attempt == place.attempt for pod in obs.pods_of(place.stage)):
        return ()
    if place.attempt <= 1:
        return ()
    stored = [s.pods.desired for s in obs.job.status.stages if s.name == place.stage]
    many = max([stages.named(place.stage).replicas(obs.job), *stored])
    before = (names.pod_name(obs.job, place.stage, place.attempt - 1, i) for i in range(many))
    remain = {pod.name for pod in obs.pods if pod.remains}
    return tuple(name for name in before if name not in remain)


def _leaving(obs: Observation, now: datetime) -> Plan:
    """The job is being deleted, which the API server has stored. The garbage collector follows the
    ownerReferences once it is gone, for which finalizers of others may take any time."""
    if _ORPHAN in obs.job.metadata.finalizers:
        return Plan()
    working = [pod for pod in obs.pods if not pod.at_rest and not pod.deleting]
    wakes: list[datetime] = []
    return _plan([], working, _stuck(obs, now, wakes), wakes, now)


def _after(obs: Observation, status: Status, wake: datetime | None, now: datetime) -> Plan:
    """The job is over, and status says so."""
    stored, policy = obs.job.status, obs.job.spec.policy
    delete: list[PodView] = []
    wakes: list[datetime] = [wake] if wake is not None else []
    until = retention.kept_until(policy, stored)
    if until is not None and now < until:
        wakes.append(until)
    elif until is not None and not any(cleanup.runs(one) for one in (stored, status)):
        return Plan(delete_job=True)
    ended, cleaning = stored.completion_time, cleanup.pod_of(obs, stored.cleanup)
    others = [pod for pod in obs.pods if pod != cleaning]
    # What failed is stopped at once; a sidecar may end by itself, so that the log stays.
    working = [pod for pod in others if not pod.over]
    _stop(working, ended if stored.phase == "Succeeded" else None, now, delete, wakes)
    _stop((pod for pod in others if pod.over), ended, now, delete, wakes)
    if not retention.keeps_pods(policy, stored):
        delete += [pod for pod in others if pod.at_rest and not pod.deleting]
    create = _cleaner(obs, status, wakes, now) if cleaning is None else []
    return _plan(create, delete, _stuck(obs, now, wakes), wakes, now)


def _cleaner(
    obs: Observation, status: Status, wakes: list[datetime], now: datetime
) -> list[dict[str, Any]]:
    """The pod that removes what the policy does not keep, when its turn has come: nobody writes
    any more."""
    stored = obs.job.status.cleanup
    if stored is None or stored != status.cleanup or not cleanup.may_begin(obs):
        return []
    if stored.next_time is not None and now < stored.next_time:
        wakes.append(stored.next_time)
        return []
    return [cleaner(obs.job, stored, obs.settings)]


def _plan(
    create: list[dict[str, Any]],
    delete: list[PodView],
    force: list[PodView],
    wakes: list[datetime],
    now: datetime,
) -> Plan:
    wake = min(wakes, default=None)
    after = None if wake is None else max(0.0, (wake - now).total_seconds())
    return Plan(tuple(create), tuple(delete), tuple(force), requeue_after=after)


def _outdated(obs: Observation) -> list[PodView]:
    """Pods of attempts before those that are stored, and those that clean up after an end that is
    none any more."""
    return [
        pod
        for stage in obs.job.status.stages
        for pod in obs.pods_of(stage.name)
        if (pod.attempt < stage.attempt or pod.cleans) and not pod.deleting
    ]


def _stuck(obs: Observation, now: datetime, wakes: list[datetime]) -> list[PodView]:
    """Pods that are of no use any more and do not go, where the policy lets them go by force.

    What an attempt waits for is reported first: by that the status knows when the wait is over.
    """
    stored, policy = obs.job.status, obs.job.spec.policy
    current = next((stage for stage in stored.stages if stage.phase != "Succeeded"), None)
    force: list[PodView] = []
    stopped = obs.job.deleting
    for stage in stored.stages:
        useless = stored.over or stage.phase == "Succeeded" or stopped
        waits = stage is current and stage.phase == "Pending" and not obs.job.spec.suspend
        for pod in obs.pods_of(stage.name):
            due = stuck.forced_from(policy, pod)
            if due is None or not (useless or pod.attempt < stage.attempt):
                continue
            if now < due:
                wakes.append(due)
            elif stopped or not waits or stage.reason == "PodStuck":
                force.append(pod)
    return force


def _stop(
    pods: Iterable[PodView],
    since: datetime | None,
    now: datetime,
    delete: list[PodView],
    wakes: list[datetime],
) -> None:
    """Pods that are of no use any more ``since`` then, if they do not end by themselves."""
    left = [pod for pod in pods if not pod.at_rest and not pod.deleting]
    if not left:
        return
    # The clock may have been set back since.
    if since is not None and abs(now - since) < _LEAVE:
        wakes.append(since + _LEAVE)
    else:
        delete += left


def _children(
    obs: Observation,
    stage: StageStatus,
    before: StageStatus | None,
    wakes: list[datetime],
    now: datetime,
) -> list[dict[str, Any]]:
    """What is to be made for the stage whose turn it is, which is stored as ``before``."""
    if stage.phase == "Running":
        return stages.named(stage.name).missing(obs)
    if any(pod.cleans and not pod.over for pod in obs.pods):
        return []  # it may remove what is written now
    pods = obs.pods_of(stage.name)
    stored = before.attempt if before is not None else 1
    if stage.attempt != max([stored, *(pod.attempt for pod in pods if not pod.cleans)]):
        return []  # its number is to be stored first
    due = _due(obs, stage, now)
    if due is not None and now < due:
        wakes.append(due)
        return []
    left = any((pod.attempt < stage.attempt and not pod.remains) or pod.cleans for pod in pods)
    return [] if left else _missing(obs, stage)


def _missing(obs: Observation, stage: StageStatus) -> list[dict[str, Any]]:
    """What is to be made next: children of other kinds, and some of the pods.

    As many as there are already, as the Jobs of batch/v1 do it, but that one begins with a
    single pod: a refusal of all costs eight calls and not a thousand, and a gang of eight is made
    at once. Whoever plans has others' turns between one batch and the next.
    """
    name, attempt = stage.name, stage.attempt
    room = stages.named(name)
    pods = [pod for pod in obs.pods_of(name) if pod.attempt == attempt]
    # A rank that was done is done, whatever became of its pod.
    present = {pod.index for pod in pods} | indexes.read(stage.pods.completed_indexes)
    # An operator that is brought up to date in between completes a gang as it was begun.
    images = {**obs.settings.images, room.image: image_of(room, obs, pods)}
    groups = pods[0].group if pods else obs.settings.pod_groups
    used = applied.in_use(obs.job, (*obs.children, *obs.promoted), obs.named)
    settings = replace(obs.settings, images=images, in_use=used, pod_groups=groups)
    # Nobody watches the claim and the group: they are looked for before an attempt's first pod.
    others = [] if pods else claim.wanted(obs.job, name)
    others += [] if pods else podgroup.wanted(obs.job, name, room.replicas(obs.job), settings)
    others += room.missing(obs)
    batch = max(_FIRST_BATCH, min(len(present), _LARGEST_BATCH))
    missing = (i for i in range(room.replicas(obs.job)) if i not in present)
    wanted = [*islice(missing, batch)]
    if room.waits(obs.job):
        return others
    return others + room.pods(obs.job, attempt, settings, wanted)


def _due(obs: Observation, stage: StageStatus, now: datetime) -> datetime | None:
    """When the attempt may start: a while after the failure of the one before, or when it is its
    turn in line. None: now, also where our clock was set back since, and the wait would be longer
    than it was to be."""
    failure = obs.job.status.last_failure
    if stage.retry_time is not None:
        return stage.retry_time if stage.retry_time - now <= line.LONGEST else None
    if stage.attempt == 1 or failure is None or now < failure.time:
        return None
    seed = f"{obs.job.metadata.uid}/{stage.name}/{stage.attempt}"
    return failure.time + timedelta(seconds=retries.delay_seconds(stage.failures, seed))
