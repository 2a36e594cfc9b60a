"""Gather, plan, apply, status: one job, once."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..api.stored import Unreadable, read_stored
from ..api.v1alpha1 import Status, TrainingJob
from ..cluster import (
    JOBS,
    PODS,
    AlreadyExists,
    Cache,
    ClusterError,
    Conflict,
    Gateway,
    Key,
    NotFound,
)
from ..cluster.cache import StoredJob
from ..core import (
    Blocker,
    Observation,
    Plan,
    PodEvent,
    PodView,
    Rest,
    Settings,
    events,
    fold,
    forced,
    ownership,
    podevents,
    status_of_unreadable,
    vanished,
)
from ..core.names import ANNOTATION_RERUN, LABEL_JOB, server_of
from ..core.policy import rerun
from . import byname
from .byname import ByName
from .children import Children
from .lanes import Lanes
from .metrics import Metrics
from .pace import Pace
from .progress import Reports

logger = logging.getLogger(__name__)

# A job that is larger, or was not kept, takes ten times its size while it is looked at: one of them
# at a time, so that the others are served meanwhile; who finds another there comes again after so
# long, more or less.
_LARGE_BYTES = 256 * 1024
_LARGE_SECONDS = 0.5
# Those of a whole batch of pods, and of earlier ones whose names never come again.
_MOST_BLOCKERS = 100
_MOST_DISCARDED = 1000  # a gang of the largest
# How often Events of a pod that waits are read.
_EXPLAIN_SECONDS = 15.0
# Why the API server takes nothing new in a namespace that is deleted.
_TERMINATED = "because it is being terminated"


@dataclass(frozen=True)
class Outcome:
    """What the queue has to know. ``again``: something was done, and more may follow from it.
    ``retry``: something was refused, and is to be tried again later."""

    again: bool = False
    retry: bool = False
    after: float | None = None


@dataclass
class _Memory:
    """What is kept of a job beside the cache; losing it costs nothing but time."""

    uid: str
    blockers: dict[str, Blocker] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    # What Events say of pods that wait, by uid, and when they were asked for last.
    told: dict[str, PodEvent] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    # The newest pods that were altered as they were made, and are on their way out.
    discarded: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_DISCARDED))
    # Children that were made since status was written, which does not know of them yet.
    made: set[str] = field(default_factory=set)
    # Pods of the attempt before that were looked for by name, before another one begins.
    looked: tuple[str, ...] = ()
    # What was written last and not kept as it was, as by an older CRD, and the version that it is.
    lost: tuple[int, Status] | None = None


class Reconciler:
    """Decides nothing: the core does."""

    def __init__(
        self,
        cache: Cache,
        gateway: Gateway,
        settings: Settings,
        metrics: Metrics,
        reports: Reports,
    ) -> None:
        self._cache = cache
        self._gateway = gateway
        self.children = Children(cache, gateway, settings)
        self._metrics = metrics
        self._reports = reports
        self._lanes = Lanes()
        self._by_name = ByName(cache, gateway, settings.signing_key, self._lanes)
        self._memory: dict[Key, _Memory] = {}
        self._large = asyncio.Lock()
        # Whether it is known that the CRD keeps which rerun was dealt with. An older one drops it,
        # and a request that nobody remembers would be acted on without end.
        self._keeps_reruns = False

    async def reconcile(self, key: Key) -> Outcome:
        """Bring the job one step on. Raises ClusterError; then it wants to be called again."""
        stored = self._cache.job(key)
        if stored is not None and stored.rest is not None and stored.looked_at:
            outcome = await self._at_rest(key, stored, stored.rest)
            if outcome is not None:
                return outcome
        if stored is None or (stored.data is not None and len(stored.data) < _LARGE_BYTES):
            return await self._step(key)
        if self._large.locked():
            return Outcome(after=random.uniform(0.5, 1.5) * _LARGE_SECONDS)  # noqa: S311
        async with self._large:
            try:
                if stored.data is None:
                    await self._read(key, stored)
                return await self._step(key)
            finally:
                self._cache.let_go(key)

    async def _at_rest(self, key: Key, stored: StoredJob, rest: Rest) -> Outcome | None:
        """For a job that needs nothing; None when it is to be looked at all the same."""
        now = datetime.now(UTC)
        if rest.over(now):
            await self._delete_job(key, stored)
        elif not rest.lasts(self._cache.pods(key, stored.uid)):
            return None
        self._reports.forget(stored.uid)
        self._cache.trust(stored.uid, ())
        self._forget(key)
        return Outcome(after=rest.seconds(now))

    async def _is_newest(self, key: Key, stored: StoredJob) -> bool:
        """Whether the job is there as it is known. Its children go with it, and may be seen to go
        before it is."""
        found = await self._read(key, stored)
        meta = found["metadata"] if found is not None else {}
        return (meta.get("uid"), meta.get("resourceVersion")) == (stored.uid, str(stored.version))

    async def _read(self, key: Key, stored: StoredJob) -> dict[str, Any] | None:
        found = await self._gateway.job(*key)
        if found is None:
            self._cache.forget(JOBS, key, stored.uid)
        else:
            self._cache.hold(found)
        return found

    async def _step(self, key: Key) -> Outcome:
        observed = await self._observe(key)
        if observed is None:
            if self._cache.job(key) is None:
                self._forget(key)
                return Outcome()
            # What was read is older than what the watch has told, or it has just changed.
            return Outcome(retry=True)
        stored, obs = observed
        if isinstance(obs, Unreadable):
            return await self._tell_unreadable(stored, obs)
        if obs.job.status.over:
            self._reports.forget(stored.uid)
        if not self._keeps_reruns and await self._learn(stored):
            return Outcome(again=True)
        now = datetime.now(UTC)
        found = fold(obs, now)
        todo = found.plan
        memory = self._memory[key]
        if todo.gone and memory.looked != todo.gone:
            # A pod of an attempt before, which nobody saw: once before each attempt.
            if await self._find(key, obs.job, todo.gone):
                return Outcome(again=True)
            memory.looked = todo.gone
        if todo.delete_job:
            await self._delete_job(key, stored)
            return Outcome()
        once_more = todo.remakes or not memory.made.isdisjoint(map(_name, todo.create))
        if once_more and not await self._is_newest(key, stored):
            # What was read may be older than what is known, and changes nothing: not at once again.
            return Outcome(again=True, retry=self._cache.job(key) is stored)
        blocked = await self._apply(key, obs.job, todo)
        asked = todo.explain is not None and await self._explain(key, todo.explain)
        refused = await self._force(obs.job, todo.force)
        if not todo.empty or asked or self._cache.job(key) is not stored:
            # What was done has changed the picture.
            stored, anew = await self._observe(key, obs.job) or (stored, None)
            if anew is None or isinstance(anew, Unreadable):
                return Outcome(again=True, retry=refused or blocked)
            obs, now = anew, datetime.now(UTC)
            found = fold(obs, now)
        wrote, wait = await self._record(key, stored, obs, found.status, now)
        waits = [after for after in (found.plan.requeue_after, wait) if after is not None]
        if todo.explain is not None:
            waits.append(_EXPLAIN_SECONDS)
        if self._cache.unwatched(key, stored.uid):
            waits.append(byname.SECONDS)
        return Outcome(
            again=wrote
            or not found.plan.empty
            or found.plan.delete_job
            or (todo.explain is None and found.plan.explain is not None),
            retry=refused or blocked,
            after=min(waits, default=None),
        )

    async def _observe(
        self, key: Key, known: TrainingJob | None = None
    ) -> tuple[StoredJob, Observation | Unreadable] | None:
        """``known``: the job as it was read before, so that it need not be parsed again."""
        seen = self._cached(key, known)
        if seen is None or isinstance(seen[1], Unreadable):
            return seen
        if names := self._cache.unwatched(key, seen[0].uid):
            await self._find(key, seen[1].job, names)
            seen = self._cached(key, seen[1].job)
        if seen is None or isinstance(seen[1], Unreadable) or not vanished(seen[1]):
            return seen
        # Another operator's status, in an upgrade that overlaps, can be here before its pods are.
        async for pods, _ in self._gateway.pages(PODS, key[0], f"{LABEL_JOB}={key[1]}"):
            for pod in pods:
                self._cache.apply(PODS, pod)
        again = self._cached(key, seen[1].job)
        if again is None or isinstance(again[1], Unreadable):
            return again
        # Somebody may have taken the label off by which pods are listed and watched.
        if not await self._find(key, again[1].job, vanished(again[1])):
            return again
        return self._cached(key, seen[1].job)

    async def _find(self, key: Key, job: TrainingJob, names: Iterable[str]) -> bool:
        return await self._by_name.find(key, job, names, self._memory[key].discarded)

    def _cached(
        self, key: Key, known: TrainingJob | None = None
    ) -> tuple[StoredJob, Observation | Unreadable] | None:
        stored = self._cache.job(key)
        if stored is None or stored.data is None:
            return None  # gone, or changed this moment: its turn comes again
        if key in self._memory and self._memory[key].uid != stored.uid:
            self._forget(key)  # another job has its name now
        memory = self._memory.setdefault(key, _Memory(stored.uid))
        same = known is not None and known.metadata.resource_version == str(stored.version)
        job = known if known is not None and same else read_stored(stored.data)
        if isinstance(job, Unreadable):
            return stored, job
        there = self._cache.pods(key, stored.uid)
        if memory.discarded:
            there = tuple(pod for pod in there if pod.uid not in memory.discarded)
        pods = ownership.ours(job, there, self.children.settings.signing_key)
        self._cache.trust(stored.uid, pods)
        if memory.asked:
            waiting = {pod.uid for pod in pods if pod.phase == "Pending"}
            memory.asked = {uid: at for uid, at in memory.asked.items() if uid in waiting}
            memory.told = {uid: event for uid, event in memory.told.items() if uid in waiting}
        return stored, Observation(
            job=job if self._keeps_reruns else rerun.ignored(job),
            pods=pods,
            executors=self._cache.executors(key, pods),
            children=(children := self._cache.children(key, stored.uid)),
            servers=self._cache.servers(key, children, server_of(job)),
            promoted=self._cache.deployments(key[0]) if job.spec.judged else (),
            named=self._cache.named(key[0]) if job.spec.judged else (),
            blockers=tuple(memory.blockers.values()),
            reported=self._reports.of(stored.uid),
            listening_since=self._reports.since,
            told=memory.told,
            settings=self.children.settings,
        )

    async def _learn(self, stored: StoredJob) -> bool:
        """Whether the CRD keeps which rerun was dealt with, where a job asks for one."""
        if stored.data is None or ANNOTATION_RERUN.encode() not in stored.data:
            return False
        job = read_stored(stored.data)
        value = None if isinstance(job, Unreadable) else rerun.unseen(job)
        if value is None:
            return False
        asked = json.loads(stored.data)
        asked["status"] = (asked.get("status") or {}) | {"rerun": value}
        would = await self._gateway.write_status(asked, dry_run=True)
        self._keeps_reruns = (would.get("status") or {}).get("rerun") == value
        if not self._keeps_reruns:
            meta = asked["metadata"]
            logger.warning(
                "%s/%s: is not run again: the CRD is older than this operator; bring it up to date",
                meta["namespace"],
                meta["name"],
            )
        return self._keeps_reruns

    def _forget(self, key: Key) -> None:
        memory = self._memory.pop(key, None)
        if memory is not None:
            self._reports.forget(memory.uid)

    async def _apply(self, key: Key, job: TrainingJob, todo: Plan) -> bool:
        """Make and delete children. Whether something was in the way; that is remembered until it
        is tried again, for whoever judges the job meanwhile."""
        memory, found = self._memory[key], dict[str, Blocker | None]()
        # What the pods need comes before them, one after the other, and without it they are not
        # made; the pods of a gang go together.
        for _, group in itertools.groupby(todo.create, key=lambda child: child["kind"]):
            wanted = [*group]
            makes = (partial(self.children.make, job, child, memory.discarded) for child in wanted)
            met = await self._lanes.all(key[0], makes)
            answers = dict(zip(map(_name, wanted), met, strict=True))
            found |= answers
            memory.made |= {name for name, blocker in answers.items() if blocker is None}
            if any(met):
                break
        removes = (partial(self.children.remove, key[0], pod) for pod in todo.delete)
        met = await self._lanes.all(key[0], removes)
        found |= dict(zip((pod.name for pod in todo.delete), met, strict=True))
        after = memory.blockers | found
        left = [(name, blocker) for name, blocker in after.items() if blocker is not None]
        memory.blockers = dict(left[-_MOST_BLOCKERS:])
        return any(found.values())

    async def _explain(self, key: Key, pod: PodView) -> bool:
        """Have Events say why the pod waits. Whether they say anything new."""
        memory, now = self._memory[key], time.monotonic()
        if now - memory.asked.get(pod.uid, float("-inf")) < _EXPLAIN_SECONDS:
            return False
        first = pod.uid not in memory.asked
        memory.asked[pod.uid] = now
        try:
            found = podevents.telling(await self._gateway.events_of(key[0], pod.uid))
        except ClusterError as error:
            # They are a help: nothing hangs on them, and it is said once.
            if first:
                logger.warning("%s/%s: no Events of pod %s: %s", *key, pod.name, error)
            return False
        before = memory.told.pop(pod.uid, None)
        if found is not None:
            memory.told[pod.uid] = found
        return found != before

    async def _force(self, job: TrainingJob, pods: Iterable[PodView]) -> bool:
        """Delete these by force. Whether any was refused: the job's deadlines hold all the same."""
        refused = False
        for pod in pods:
            try:
                ours = await self.children.delete(job.metadata.namespace, pod, force=True)
            except ClusterError as error:
                logger.warning("pod %s cannot be deleted by force: %s", pod.described, error)
                refused = True
                continue
            if ours:
                logger.warning("pod %s was deleted by force", pod.described)
                await self._announce(forced(job, pod, datetime.now(UTC)))
        return refused

    async def _delete_job(self, key: Key, stored: StoredJob) -> None:
        # This very version: somebody may have asked for a rerun. Where it has changed, or another
        # job has its name by now, the watch shows it before the next try.
        await self._gateway.delete(JOBS, *key, stored.uid, version=stored.version)
        logger.info("%s/%s: deleted, as its policy.ttlSecondsAfterFinished says", *key)
        # Also one that waits for somebody's finalizer is nothing to us any more.
        self._cache.forget(JOBS, key, stored.uid)

    async def _record(
        self, key: Key, stored: StoredJob, obs: Observation, after: Status, now: datetime
    ) -> tuple[bool, float | None]:
        """Write the status if it changed. Whether it did, and when to come back for a change
        that may wait."""
        before = obs.job.status
        if self._memory[key].lost == (stored.version, after):
            return False, None  # it would be lost again
        wait = self._memory[key].pace.wait(before, after, time.monotonic())
        if wait is None:
            if stored.rest is not None and stored.rest.lasts(obs.pods):
                self._cache.let_go(key, stored.version)
            return False, None
        if wait > 0:
            return False, wait
        if not await self._write(key, stored, after):
            return False, None
        self._metrics.progressed(before, after)
        for event in events(obs.job, before, after, now):
            await self._announce(event)
        return True, None

    async def _tell_unreadable(self, stored: StoredJob, found: Unreadable) -> Outcome:
        meta = found.metadata
        key = (meta.namespace, meta.name)
        if found.status is None:
            logger.error("%s/%s: its status cannot be read: %s", *key, found.message)
            return Outcome()
        now = datetime.now(UTC)
        after = status_of_unreadable(found.status, meta.generation, found.message, now)
        if after != found.status:
            await self._write(key, stored, after)
        elif stored.rest is not None:
            self._cache.let_go(key, stored.version)
        return Outcome()

    async def _write(self, key: Key, stored: StoredJob, after: Status) -> bool:
        try:
            job = json.loads(stored.data or b"{}") | {"status": after.to_dict()}
            kept = await self._gateway.write_status(job)
        except NotFound:
            self._cache.forget(JOBS, key, stored.uid)
            return False
        except Conflict:
            # The list that we began with may have been older than the watch: then nobody tells.
            await self._read(key, stored)
            raise
        self._cache.answered(JOBS, kept)
        memory = self._memory[key]
        memory.pace.written(time.monotonic())
        memory.made.clear()
        whole = kept.get("status") == job["status"]
        memory.lost = None if whole else (int(kept["metadata"]["resourceVersion"]), after)
        return True

    async def _announce(self, event: Mapping[str, Any]) -> None:
        """Events are a courtesy: when one cannot be made, status has it all the same."""
        try:
            await self._gateway.record(event)
        except AlreadyExists:
            pass
        except ClusterError as error:
            name = event["involvedObject"]["name"]
            if _TERMINATED in str(error):
                return
            logger.warning("%s: no Event %s: %s", name, event["reason"], error)


def _name(child: Mapping[str, Any]) -> str:
    name: str = child["metadata"]["name"]
    return name
