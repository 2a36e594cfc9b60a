"""What can be seen of a stage's present attempt: its pods, together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ...api.v1alpha1 import StageStatus
from ...api.v1alpha1.status import PodCounts
from .. import indexes, names, signing
from ..diagnose import Failure
from ..observation import Observation
from ..pods import PodView

if TYPE_CHECKING:
    from .stage import Stage


@dataclass(frozen=True)
class Gang:
    """One moment of one attempt. ``prior`` is the stage as stored, ``stage`` as its pods show it;
    ``since``: when its turn came. ``pods`` are those of the attempt; of them ``working`` are those
    that were not known to be done, and ``done`` the indexes of all that are."""

    room: Stage
    obs: Observation
    prior: StageStatus
    stage: StageStatus
    pods: Sequence[PodView]
    working: Sequence[PodView]
    done: frozenset[int]
    wanted: int
    since: datetime
    now: datetime

    @property
    def complete(self) -> bool:
        """All its pods are there, or were."""
        return len({pod.index for pod in self.pods} | self.known_done) == self.wanted

    @property
    def known_done(self) -> frozenset[int]:
        """A pod that was done is done, whatever becomes of it while others work."""
        return indexes.read(self.stage.pods.completed_indexes)

    @property
    def refused(self) -> Failure | None:
        """Why a child of the stage could not be made, or a pod of an attempt before not deleted: as
        long as the one is missing or the other is there."""
        if not self.obs.blockers:
            return None
        job, stage = self.obs.job, self.stage
        wanted = {names.pod_name(job, stage.name, stage.attempt, i) for i in range(self.wanted)}
        there = {pod.name for pod in self.obs.pods_of(stage.name)}
        others = {child["metadata"]["name"] for child in self.room.missing(self.obs)}
        shared = {names.claim_name(job), names.group_name(job, stage.name, self.wanted)}
        amiss = (wanted ^ there) | others | shared
        found = next((blocker for blocker in self.obs.blockers if blocker.name in amiss), None)
        return Failure(found.reason, found.message) if found else None

    @property
    def leaving(self) -> list[PodView]:
        """Pods of attempts before: what this one waits for before it can begin."""
        pods = self.obs.pods_of(self.stage.name)
        earlier = (pod for pod in pods if pod.attempt < self.stage.attempt)
        return [pod for pod in earlier if pod.deleting and not pod.remains]

    @property
    def executors(self) -> list[PodView]:
        """Spark's, of this attempt."""
        return [pod for pod in self.obs.executors if pod.attempt == self.stage.attempt]


def seen(room: Stage, obs: Observation, prior: StageStatus, since: datetime, now: datetime) -> Gang:
    """What the observation shows of a stage that is not over."""
    every = [pod for pod in obs.pods_of(prior.name) if not pod.cleans]
    attempt = max([prior.attempt, *(pod.attempt for pod in every)])
    pods = [pod for pod in every if pod.attempt == attempt]
    wanted = room.replicas(obs.job)
    before = indexes.read(prior.pods.completed_indexes if attempt == prior.attempt else None)
    working = [pod for pod in pods if pod.index not in before]
    done = before | {pod.index for pod in pods if pod.phase == "Succeeded"}
    done &= {*range(wanted)}
    stage = prior.model_copy(
        update={
            "attempt": attempt,
            "signer": signing.signer(obs.job, every, obs.settings.signing_key),
            "start_time": prior.start_time or min(created(pods), default=None),
            "image": image_of(room, obs, pods),
            "pods": PodCounts(
                desired=wanted,
                ready=sum(pod.phase == "Running" for pod in working) + len(done),
                failed=sum(pod.phase == "Failed" for pod in working),
                completed_indexes=indexes.write(done) if len(done) < wanted else None,
            ),
            "executors": _executors(room, obs, attempt) or prior.executors,
        }
    )
    return Gang(room, obs, prior, stage, pods, working, frozenset(done), wanted, since, now)


def vanished(room: Stage, obs: Observation, prior: StageStatus) -> list[str]:
    """Names of pods that are not seen although status says that they were running."""
    if prior.phase != "Running":
        return []
    present = {pod.index for pod in obs.pods_of(prior.name) if pod.attempt >= prior.attempt}
    present |= indexes.read(prior.pods.completed_indexes)
    # As many as ran: the job may have been resized since.
    wanted = range(prior.pods.desired or room.replicas(obs.job))
    missing = [index for index in wanted if index not in present]
    return [names.pod_name(obs.job, prior.name, prior.attempt, index) for index in missing]


def image_of(room: Stage, obs: Observation, pods: Iterable[PodView]) -> str:
    """The image of an attempt with these ``pods``: theirs, whatever the operator would now give."""
    return next((pod.image for pod in pods if pod.image), room.image_of(obs.job, obs.settings))


def created(pods: Iterable[PodView]) -> list[datetime]:
    """When these were made."""
    return [pod.created for pod in pods if pod.created is not None]


def _executors(room: Stage, obs: Observation, attempt: int) -> PodCounts | None:
    """Spark's executors, once there is one."""
    found = [pod for pod in obs.executors if pod.stage == room.name and pod.attempt == attempt]
    if not found:
        return None
    alive = sum(pod.phase in ("Pending", "Running") for pod in found)
    return PodCounts(
        # Dynamic allocation may want more than the manifest's least number.
        desired=max(room.executors(obs.job), alive),
        ready=sum(pod.phase == "Running" for pod in found),
        failed=sum(pod.phase == "Failed" for pod in found),
    )
