"""How much work a job is: what is counted, since no clock of a busy machine tells it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.core.world import manifest, running, succeeded
from trainingjob.api.v1alpha1.status import format_time
from trainingjob.cluster import JOBS, PODS, Cache, Gateway, Key
from trainingjob.cluster.resources import Resource, made, watched
from trainingjob.controller import reconcile
from trainingjob.controller.feed import Events
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.progress import Reports
from trainingjob.controller.queue import WorkQueue
from trainingjob.controller.reconcile import Reconciler
from trainingjob.controller.scopes import Scope
from trainingjob.core import Settings

from .test_reconcile import KEY, Server

Obj = dict[str, Any]


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
        meta.setdefault("creationTimestamp", format_time(datetime.now(UTC)))
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

    async def settle(self) -> None:
        """Until the operator has heard and done everything; each event comes alone."""
        while True:
            await self._work()
            if self.server.events:
                resource, obj = self.server.events.pop(0)
                self._hears(resource, obj)
            elif self.due is not None and self.due < 5:
                self.seconds, self.due = self.seconds + self.due, None
                self.queue.add(KEY)
            else:
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
        if self.cache.apply(resource, event["object"]):
            self.queue.add(KEY)

    async def _work(self) -> None:
        while self.queue.depth:
            key = await self.queue.get()
            self.count["reconciles"] += 1
            outcome = await self.reconciler.reconcile(key)
            assert not outcome.retry
            self.due = outcome.after
            if outcome.again:
                self.queue.add(key)
            self.queue.done(key)

    async def each_pod(self, change: Callable[[Obj, float], None]) -> None:
        """Something happens to each pod that is not over, to one after the other."""
        pods = [obj for (kind, _), obj in self.server.objects.items() if kind == PODS]
        for pod in pods:
            if pod["status"]["phase"] in ("Pending", "Running"):
                self.seconds += 0.01
                after = pod | {"status": dict(pod["status"])}
                change(after, 1.0)
                self.server.store(PODS, after)
                await self.settle()

    @property
    def phase(self) -> str:
        return str(self.server.objects[JOBS, "digits"]["status"]["phase"])


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*args, **options)

        return call

    for name, what in (("read_stored", "parses"), ("fold", "folds"), ("status", "folds")):
        monkeypatch.setattr(reconcile, name, counting(what, getattr(reconcile, name)))
    yield counted


def bound(pod: Obj, _: float) -> None:
    """The scheduler has a node, and the kubelet writes what is nobody's business."""
    pod["status"] |= {"hostIP": "10.0.0.1", "qosClass": "Burstable"}


def gang_of_five() -> Obj:
    train = {
        "nodes": 5,
        "dataset": {"uri": "pvc://training/x"},
        "model": {"mlp": {"hidden": [64]}},
    }
    return manifest(preprocess=None, evaluate=None, train=train)


async def test_a_gang_of_five(count: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pod is let in, starts and ends a while after the one before: in a burst it is less."""
    run = Run(gang_of_five(), count)
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: run.seconds))
    await run.settle()
    before = count["reconciles"]
    await run.each_pod(bound)
    assert count["reconciles"] == before, "nothing that decides has changed"
    await run.each_pod(running)
    await run.each_pod(succeeded)
    assert run.phase == "Succeeded"
    writes = run.server.calls
    assert sum(writes.values()) - writes["write status"] == 5 + 3
    assert writes["write status"] <= 7
    # The job as it was made, and three events a pod.
    assert count["events"] == 1 + 3 * 5
    assert count["echoes"] == 5 + 2 + writes["write status"], "all of our own writes"
    assert count["reconciles"] <= 1 + 2 * 5 + 5 + writes["write status"]
    assert count["parses"] <= count["reconciles"]
    # The status once more after the pods were made.
    assert count["folds"] <= count["reconciles"] + 1


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
