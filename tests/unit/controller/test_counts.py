"""How much work a job is: what is counted, since no clock of a busy machine tells it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from tests.unit.core.world import failed, job, manifest, running, succeeded
from trainingjob.api.v1alpha1.status import format_time
from trainingjob.cluster import JOBS, PODS, Cache, Gateway, Key
from trainingjob.cluster.resources import Resource, made, watched
from trainingjob.controller import reconcile
from trainingjob.controller.feed import Events, take
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.progress import Reports
from trainingjob.controller.queue import WorkQueue
from trainingjob.controller.reconcile import Reconciler
from trainingjob.controller.scopes import Scope
from trainingjob.core import Settings, ownership, stages

from .test_reconcile import KEY, Server

Obj = dict[str, Any]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Cluster(Server):
    """An API server whose watch tells everything, the operator's own writes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[Resource, str], Obj] = {}
        self.events: list[tuple[Resource, Obj]] = []
        self.calls: Counter[str] = Counter()

    def store(self, resource: Resource, obj: Obj) -> Obj:
        """As it is from now on."""
        self.version += 1
        meta = obj["metadata"] | {"resourceVersion": str(self.version)}
        meta.setdefault("uid", f"uid-{meta['name']}")
        meta.setdefault("creationTimestamp", format_time(BEGIN))
        kept = obj | {"metadata": meta}
        self.objects[resource, meta["name"]] = kept
        self.events.append((resource, kept))
        return kept

    async def create(self, child: Obj) -> Obj:
        self.calls[f"create {child['kind']}"] += 1
        status = {"status": {"phase": "Pending"}} if child["kind"] == "Pod" else {}
        return self.store(made(child), child | status)

    async def write_status(self, job: Obj, *, dry_run: bool = False) -> Obj:
        self.calls["write status"] += not dry_run
        return job if dry_run else self.store(JOBS, job)

    async def record(self, _event: Obj) -> None:
        self.calls["create Event"] += 1


class Run:
    """A job from its first event to its last."""

    def __init__(self, job: Obj, count: Counter[str]) -> None:
        self.server, self.cache, self.count = Cluster(), Cache(), count
        self.queue: WorkQueue[Key] = WorkQueue(self.cache.begun)
        gateway = cast("Gateway", self.server)
        self.reconciler = Reconciler(self.cache, gateway, Settings(), Metrics(), Reports())
        self.seconds = 0.0
        self.due: float | None = None
        self.scope = Scope("team", watched(deploys=False), 30, 300)
        self.server.store(JOBS, job)

    async def settle(self, seconds: float = 5.0) -> None:
        """Until the operator has heard everything, and done what is due within so many seconds;
        each event comes alone."""
        end = self.seconds + seconds
        while True:
            await self._work()
            if self.server.events:
                resource, obj = self.server.events.pop(0)
                self._hears(resource, obj)
            elif self.due is not None and self.due < end:
                self.seconds, self.due = max(self.seconds, self.due), None
                self.queue.add(KEY)
            else:
                self.seconds = end
                return

    def _hears(self, resource: Resource, obj: Obj) -> None:
        """An event of a watch."""
        event = {"type": "MODIFIED", "object": obj}
        line = json.dumps(event, separators=(",", ":")).encode()
        feed = self.scope.feeds[resource.path("team")]
        told = Events(cast("Any", None), self.scope, feed, self.cache, gone=False).seen(line)
        event = json.loads(told)
        if event["type"] == "BOOKMARK":
            self.count["echoes"] += 1
            return
        self.count["events"] += 1
        take(event, resource, self.cache, cast("WorkQueue[Key]", self))

    def add(self, key: Key) -> None:
        """To be looked at now."""
        self.queue.add(key)

    def add_after(self, _: Key, seconds: float) -> None:
        """To be looked at in so many seconds."""
        self.due = min(filter(None, (self.due, self.seconds + seconds)))

    async def _work(self) -> None:
        while self.queue.depth:
            key = await self.queue.get()
            self.count["reconciles"] += 1
            outcome = await self.reconciler.reconcile(key)
            assert not outcome.retry
            self.due = None
            if outcome.after is not None:
                self.add_after(key, outcome.after)
            if outcome.again:
                self.queue.add(key)
            self.queue.done(key)

    async def each_pod(self, change: Callable[[Obj, float], None], seconds: float) -> None:
        """Something happens to each pod that is not over, to one after the other, so many seconds
        apart."""
        pods = [obj for (kind, _), obj in self.server.objects.items() if kind == PODS]
        for pod in pods:
            if pod["status"]["phase"] in ("Pending", "Running"):
                after = pod | {"status": dict(pod["status"])}
                change(after, 1.0)
                self.server.store(PODS, after)
                await self.settle(seconds)

    async def finish(self, seconds: float) -> None:
        """All its pods start at once and do their work, so many seconds each."""
        await self.settle(0.01)
        while self.phase != "Succeeded":
            await self.each_pod(running, 0.01)
            await self.settle(seconds)
            await self.each_pod(succeeded, 0.01)
        await self.settle()

    @property
    def phase(self) -> str:
        job = self.server.objects[JOBS, "digits"]
        return str(job.get("status", {}).get("phase", "Pending"))


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*args, **options)

        return call

    for name, what in (("read_stored", "parses"), ("fold", "folds")):
        monkeypatch.setattr(reconcile, name, counting(what, getattr(reconcile, name)))
    monkeypatch.setattr(ownership, "pod_of", counting("pods read", ownership.pod_of))
    yield counted


def by_its_clock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is slow is no news."""
    clock = SimpleNamespace(now=lambda _: BEGIN + timedelta(seconds=run.seconds))
    monkeypatch.setattr(reconcile, "datetime", clock)
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: run.seconds))


def bound(pod: Obj, _: float) -> None:
    """The scheduler has a node, and the kubelet writes what is nobody's business."""
    pod["status"] |= {"hostIP": "10.0.0.1", "qosClass": "Burstable"}


def gang_of(nodes: int, **does: Any) -> Obj:
    what = does or {"model": {"mlp": {"hidden": [64]}}}
    train = {"nodes": nodes, "dataset": {"uri": "pvc://training/x"}, **what}
    return manifest(preprocess=None, evaluate=None, train=train)


def gang_of_five() -> Obj:
    return gang_of(5)


def gang_of_own_code() -> Obj:
    return gang_of(5, script={"inline": "pass"})


def three_stages() -> Obj:
    return manifest(train={"nodes": 3, "model": {"mlp": {"hidden": [64]}}})


# Beyond its five pods: a NetworkPolicy, a Service, and as often as its status is written.
WRITES: dict[str, tuple[Callable[[], Obj], float, int]] = {
    "a gang, done at once": (gang_of_five, 0.2, 2 + 1),
    "a gang that runs for a while": (gang_of_five, 3, 2 + 2),
    "a gang of own code, likewise": (gang_of_own_code, 3, 2 + 2),
    "three stages, each done at once": (three_stages, 0.2, 2 + 3),
    # That it has begun, that it runs, and the end of one with the beginning of the next.
    "three stages that run for a while": (three_stages, 3, 2 + 6),
}


@pytest.mark.parametrize(("job", "seconds", "writes"), WRITES.values(), ids=WRITES)
async def test_what_a_job_of_five_pods_writes(
    job: Callable[[], Obj], seconds: float, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(job(), Counter())
    by_its_clock(run, monkeypatch)
    await run.finish(seconds)
    assert sum(run.server.calls.values()) == 5 + writes


async def test_a_gang_of_five(count: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pod is let in, starts and ends a while after the one before: in a burst it is less."""
    run = Run(gang_of_five(), count)
    by_its_clock(run, monkeypatch)
    await run.settle()
    before = count["reconciles"]
    await run.each_pod(bound, 1.0)
    assert count["reconciles"] == before, "nothing that decides has changed"
    await run.each_pod(running, 1.0)
    await run.each_pod(succeeded, 1.0)
    assert run.phase == "Succeeded"
    writes = run.server.calls
    assert sum(writes.values()) - writes["write status"] == 5 + 2
    assert writes["write status"] <= 7
    # The job as it was made, and three events a pod.
    assert count["events"] == 1 + 3 * 5
    assert count["echoes"] == 5 + 2 + writes["write status"], "all of our own writes"
    assert count["reconciles"] <= 2 + 2 * 5 + 5 + writes["write status"]
    assert count["parses"] <= count["reconciles"]
    # Once more after the pods were made.
    assert count["folds"] <= count["reconciles"] + 1
    # The answer to its making, and each event.
    assert count["pods read"] == 5 + 3 * 5


@pytest.mark.parametrize("nodes", [2, 5, 8])
async def test_a_gang_whose_pods_come_and_go_together(
    nodes: int, count: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: they are made, run, tell their result, are gone, and it is written
    down."""
    run = Run(gang_of(nodes), count)
    by_its_clock(run, monkeypatch)
    await run.finish(0.2)
    assert count["reconciles"] <= 5
    assert count["folds"] <= count["reconciles"] + 1


def goes(pod: Obj, _: float) -> None:
    pod["metadata"] = pod["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def fails(pod: Obj, seconds: float) -> None:
    failed(pod, seconds, "ScriptFailed")


def fails_beside_another(pod: Obj, seconds: float) -> None:
    """Its sidecar runs on, and the pod with it."""
    fails(pod, seconds)
    pod["status"]["phase"] = "Running"


# What becomes of a pod of a gang, of which index, and whether its job is looked at right away.
URGENT: dict[str, tuple[Callable[[Obj, float], None], int, bool]] = {
    "it runs": (running, 0, False),
    "it fails": (fails, 1, True),
    "it fails, and a sidecar goes on": (fails_beside_another, 1, True),
    "it tells the result": (succeeded, 0, True),
    "it is done like others": (succeeded, 1, False),
    "it is being deleted": (goes, 1, True),
}


@pytest.mark.parametrize(("change", "index", "urgent"), URGENT.values(), ids=URGENT)
def test_what_may_decide_is_looked_at_at_once(
    change: Callable[[Obj, float], None], index: int, urgent: bool
) -> None:
    (pod,) = stages.named("train").pods(job(), 1, Settings(), [index])
    pod["metadata"] |= {"uid": "u", "resourceVersion": "2"}
    change(pod, 1.0)
    queue: Counter[str] = Counter()
    recorded = SimpleNamespace(
        add=lambda key: queue.update(["at once"]),
        add_after=lambda key, seconds: queue.update(["later"]),
    )
    cache = Cache()
    event = cast("kopf.RawEvent", {"type": "MODIFIED", "object": pod})
    take(event, PODS, cache, cast("WorkQueue[Key]", recorded))
    assert queue == {"at once" if urgent else "later": 1}
    gone = cast("kopf.RawEvent", {"type": "DELETED", "object": pod})
    take(gone, PODS, cache, cast("WorkQueue[Key]", recorded))
    assert queue["at once"] == urgent + 1


def line_of(what: str, meta: Obj) -> bytes:
    event = {"type": what, "object": {"metadata": {"namespace": "team", "name": "digits"} | meta}}
    return json.dumps(event, separators=(",", ":")).encode()


ANSWER = {"uid": "uid-1", "resourceVersion": "7"}
HEARD: dict[str, tuple[bytes, bool]] = {
    "what the answer has told already": (line_of("MODIFIED", ANSWER), False),
    "what it was made with": (line_of("ADDED", ANSWER), False),
    "somebody's edit after it": (line_of("MODIFIED", ANSWER | {"resourceVersion": "8"}), True),
    "and the one before it": (line_of("MODIFIED", ANSWER | {"resourceVersion": "6"}), True),
    "another job of the name": (line_of("ADDED", ANSWER | {"uid": "uid-2"}), True),
    "that it is gone": (line_of("DELETED", ANSWER), True),
    "an edit that bears our version as a label": (
        line_of("MODIFIED", {"labels": {"resourceVersion": "7"}, "uid": "u", "name": "x"}), True,
    ),
    "one that bears it, and is of another": (
        line_of(
            "MODIFIED", ANSWER | {"resourceVersion": "8", "labels": {"resourceVersion": "7"}}
        ),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "heard"), HEARD.values(), ids=HEARD)
def test_only_echoes_are_not_heard(line: bytes, heard: bool) -> None:
    cache, scope = Cache(), Scope("team", [JOBS], 30, 300)
    job = manifest()
    job["metadata"] |= ANSWER
    cache.answered(JOBS, job)
    (feed,) = scope.feeds.values()
    events = Events(cast("Any", None), scope, feed, cache, gone=False)
    told = events.seen(line)
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}
    assert told == line if heard else json.loads(told) == bookmark
    assert events.seen(line) == line, "told once more, as after a list, it is compared"


def test_an_answer_that_comes_after_its_event_is_forgotten() -> None:
    cache = Cache()
    job = manifest()
    job["metadata"] |= ANSWER
    cache.apply(JOBS, job)
    cache.answered(JOBS, job)
    assert cache.answer(JOBS, 7) is None
