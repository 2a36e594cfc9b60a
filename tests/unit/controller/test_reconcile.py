"""What the operator keeps of reports, and does where the CRD is older than it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tests.unit.core.test_progress import told
from tests.unit.core.world import World, running, world
from trainingjob.api.v1alpha1.status import format_time
from trainingjob.cluster import (
    JOBS,
    PODS,
    Cache,
    Conflict,
    Gateway,
    NotFound,
    Refused,
    Unavailable,
)
from trainingjob.cluster.resources import BY_KIND
from trainingjob.controller import pace
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.progress import Reports
from trainingjob.controller.reconcile import Outcome, Reconciler
from trainingjob.core.names import owner_reference

KEY = ("team", "digits")


class Server:
    """An API server that takes every write as it stands; ``drops`` are the fields of status that
    its CRD does not know."""

    def __init__(self, *drops: str) -> None:
        self.version, self.writes, self.drops = 1, 0, drops
        self.deleted: list[tuple[str, str]] = []
        self.made: list[str] = []
        # The job as it is by now, which a list shows; None when it is gone.
        self.now: dict[str, Any] | None = None

    async def job(self, _namespace: str, _name: str) -> dict[str, Any] | None:
        return self.now

    async def pod(self, _namespace: str, _name: str) -> dict[str, Any] | None:
        return None

    async def pages(self, *_: object) -> Any:
        """No pod but those that are known."""
        for page in ():
            yield page

    async def get(self, child: dict[str, Any]) -> dict[str, Any]:
        raise NotFound(f"there is no {child['metadata']['name']}")

    async def create(self, child: dict[str, Any]) -> dict[str, Any]:
        meta = child["metadata"]
        self.made.append(f"{child['kind']} {meta['name']}")
        new = {"uid": f"uid-{meta['name']}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        return child | {"metadata": meta | new | {"resourceVersion": str(self.version)}}

    async def write_status(self, job: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if not dry_run:
            self.writes += 1
            self.version += 1
        status = {key: job["status"][key] for key in job["status"] if key not in self.drops}
        meta = job["metadata"] | {"resourceVersion": str(self.version)}
        written = job | {"status": status, "metadata": meta}
        self.now = self.now if dry_run else written
        return written

    async def delete(
        self,
        _resource: object,
        namespace: str,
        name: str,
        uid: str,
        *,
        version: int | None = None,
        force: bool = False,
    ) -> None:
        if version not in (None, self.version):
            raise Conflict("it has changed")
        self.deleted.append((namespace, name))

    async def record(self, event: dict[str, Any]) -> None:
        """Take an Event."""


def reconciler(w: World, server: Server) -> tuple[Reconciler, Reports]:
    cache, reports = Cache(), Reports()
    w.manifest["metadata"]["resourceVersion"] = "1"
    cache.apply(JOBS, w.manifest)
    server.now = w.manifest
    for pod in w.pods.values():
        pod["metadata"]["resourceVersion"] = "1"
        cache.apply(PODS, pod)
    children_seen(w, cache)
    reports.since = datetime.now(UTC)
    made = Reconciler(cache, cast("Gateway", server), w.settings, Metrics(), reports)
    return made, reports


def children_seen(w: World, cache: Cache) -> None:
    for kind, name in w.children:
        meta = {"name": name, "namespace": "team", "uid": f"uid-{kind}", "resourceVersion": "1"}
        meta["ownerReferences"] = [owner_reference(w.observe().job)]
        cache.apply(BY_KIND[kind], {"metadata": meta})


async def test_a_report_is_forgotten_when_its_job_is_over() -> None:
    w = world()
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    made, reports = reconciler(w, Server())
    reports.take("uid-1", told("evaluate", percent=100))
    await made.reconcile(KEY)
    assert reports.of("uid-1") is None


async def test_a_crd_that_is_older_than_we_are_makes_no_rerun_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    w = world()
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    server = Server("rerun", "rerunTime")
    made, _ = reconciler(w, server)
    for _ in range(5):
        outcome = await made.reconcile(KEY)
    assert (server.writes, outcome.again) == (0, False)
    assert "the CRD is older than this operator" in caplog.text
    server.drops = ()  # it is brought up to date
    assert (await made.reconcile(KEY)).again
    await made.reconcile(KEY)
    assert server.writes == 1


async def test_a_job_that_was_changed_meanwhile_is_not_deleted_at_its_end() -> None:
    w = world(policy={"ttlSecondsAfterFinished": 0})
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    server = Server()
    made, _ = reconciler(w, server)
    server.version = 2  # somebody asks for a rerun, and we have not heard of it
    with pytest.raises(Conflict):  # and come again
        await made.reconcile(KEY)
    assert server.deleted == []
    server.version = 1
    await made.reconcile(KEY)
    assert server.deleted == [KEY]


async def test_a_job_that_was_written_after_it_was_listed_is_read_when_that_shows() -> None:
    """A list that is older than the watch: no event ever tells."""
    w = world()
    server = Refuses(Unavailable("timed out"), conflicts=1)
    made, _ = reconciler(w, server)
    w.finish("preprocess")
    server.now = w.manifest | {"metadata": w.manifest["metadata"] | {"resourceVersion": "7"}}
    for pod in w.pods.values():
        pod["metadata"]["resourceVersion"] = "7"
        made._cache.apply(PODS, pod)
    with pytest.raises(Conflict):
        await made.reconcile(KEY)
    stored = made._cache.job(KEY)
    assert stored is not None and stored.version == 7


async def test_a_job_that_is_read_in_an_older_state_than_the_watch_told_is_read_again() -> None:
    """It was over as it was seen first, so that few words of it are kept; its pods are to go."""
    w = world()
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    w.manifest["spec"]["policy"] = {"cleanPods": "always"}
    made, _ = reconciler(w, server := Server())
    stored = made._cache.job(KEY)
    assert stored is not None and stored.data is None
    server.now = w.manifest | {"metadata": w.manifest["metadata"] | {"resourceVersion": "0"}}
    assert (await made.reconcile(KEY)).retry
    assert made._cache.pods(KEY, "uid-1")
    server.now = w.manifest
    await made.reconcile(KEY)
    assert not made._cache.pods(KEY, "uid-1")


GONE: dict[str, tuple[dict[str, Any] | None, list[str]]] = {
    "it was taken from the job": ({}, ["NetworkPolicy digits-stages"]),
    "it goes with the job, which is gone": (None, []),
    "what was read is older than what is known": ({"resourceVersion": "0"}, []),
    "it goes with the job, which is going": (
        {"deletionTimestamp": "2026-01-01T00:01:00Z", "resourceVersion": "7"},
        [],
    ),
}


@pytest.mark.parametrize(("change", "made_again"), GONE.values(), ids=GONE)
async def test_a_child_that_is_gone_is_made_again_only_for_a_job_that_is_there(
    change: dict[str, Any] | None, made_again: list[str]
) -> None:
    """The garbage collector may be faster than the watch of jobs."""
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    made, _ = reconciler(w, server := Server())
    made._cache.forget(BY_KIND["NetworkPolicy"], ("team", "digits-stages"), "uid-NetworkPolicy")
    meta = w.manifest["metadata"]
    server.now = None if change is None else w.manifest | {"metadata": meta | change}
    for _ in range(2):
        await made.reconcile(KEY)
    assert server.made == made_again


class Today(Server):
    """Its pods are new, and none is the one before."""

    async def create(self, child: dict[str, Any]) -> dict[str, Any]:
        made = await super().create(child)
        new = {"creationTimestamp": format_time(datetime.now(UTC)), "uid": f"uid-{len(self.made)}"}
        return made | {"metadata": made["metadata"] | new}


@pytest.mark.parametrize("there", [True, False], ids=["the job is there", "it is gone"])
async def test_nor_is_a_pod_that_goes_before_status_knows_of_it(there: bool) -> None:
    made, _ = reconciler(World(), server := Today())
    await made.reconcile(KEY)
    assert server.writes == 0
    first = [*server.made]
    (pod,) = made._cache.pods(KEY, "uid-1")
    made._cache.forget(PODS, ("team", pod.name), pod.uid)
    server.now = server.now if there else None
    for _ in range(2):
        await made.reconcile(KEY)
    assert server.made == first + ([f"Pod {pod.name}"] if there else [])


async def test_what_an_older_crd_drops_is_not_written_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_COMPANY_SECONDS", 0.0)
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    server = Server("checkpoint")
    made, reports = reconciler(w, server)
    reports.take("uid-1", told(step=5, checkpoint_step=5))
    assert (await made.reconcile(KEY)).again
    assert await made.reconcile(KEY) == Outcome()
    assert server.writes == 1
    reports.take("uid-1", told(step=6, checkpoint_step=5, seconds=9))
    outcome = await made.reconcile(KEY)
    assert outcome.after is not None, "what is new is"


class Refuses(Server):
    """An API server that does not let children pass, as ``error`` says, nor the next status."""

    def __init__(self, error: Exception, *, conflicts: int = 0) -> None:
        super().__init__()
        self.error, self.conflicts, self.asked = error, conflicts, 0

    async def create(self, _child: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        raise self.error

    async def write_status(self, job: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict("somebody was faster")
        return await super().write_status(job, dry_run=dry_run)


def later(made: Reconciler, server: Server, seconds: float) -> None:
    """As if the stage had waited for so much longer."""
    stored = made._cache.job(KEY)
    assert stored is not None
    job = json.loads(stored.data or b"")
    (stage,) = (stage for stage in job["status"]["stages"] if stage.get("waitingSince"))
    since = datetime.fromisoformat(stage["waitingSince"]) - timedelta(seconds=seconds)
    stage["waitingSince"] = format_time(since)
    server.version += 1
    job["metadata"]["resourceVersion"] = str(server.version)
    made._cache.apply(JOBS, job)
    server.now = job


def status_of(made: Reconciler) -> dict[str, Any]:
    stored = made._cache.job(KEY)
    assert stored is not None
    found: dict[str, Any] = json.loads(stored.data or b"")["status"]
    return found


BLOCKED: dict[str, tuple[Exception, str, str]] = {
    "LimitRange": (Refused("maximum memory usage per Container is 1Gi", 403), "PodRefused", "1Gi"),
    "service account": (
        Refused('error looking up service account team/x: serviceaccount "x" not found', 403),
        "ServiceAccountMissing",
        "not found",
    ),
}


@pytest.mark.parametrize(("error", "reason", "said"), BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("conflicts", [0, 2], ids=["written at once", "written later"])
async def test_what_blocks_pods_fails_the_stage_after_its_time(
    error: Exception, reason: str, said: str, conflicts: int
) -> None:
    """Whatever becomes of the write that says so: nothing is forgotten before it is tried again."""
    server = Refuses(error)
    made, _ = reconciler(World(), server)
    assert (await made.reconcile(KEY)).retry
    first = status_of(made)
    assert (first["phase"], first["reason"]) == ("Pending", reason)
    asked = server.asked
    later(made, server, 60)
    server.conflicts = conflicts
    for _ in range(conflicts):
        with pytest.raises(Conflict):
            await made.reconcile(KEY)
    await made.reconcile(KEY)

    ended = status_of(made)
    assert (ended["phase"], ended["reason"]) == ("Failed", reason)
    assert said in ended["message"]
    assert server.asked == asked, "what has failed makes no further pods"


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("timed out"),
        Conflict('Operation cannot be fulfilled on resourcequotas "q": it has been modified', 409),
    ],
)
async def test_a_conflict_is_no_refusal_and_its_stage_does_not_fail_of_it(error: Exception) -> None:
    made, _ = reconciler(World(), server := Refuses(error))
    assert (await made.reconcile(KEY)).retry
    later(made, server, 120)
    await made.reconcile(KEY)
    found = status_of(made)
    assert (found["phase"], found["reason"]) == ("Pending", "ApiUnavailable")
    assert str(error) in found["message"]


async def test_a_pod_that_was_made_although_nobody_said_so_blocks_nothing() -> None:
    """The answer was lost."""
    w = World()
    made, _ = reconciler(w, Refuses(Unavailable("timed out")))
    await made.reconcile(KEY)
    assert status_of(made)["reason"] == "ApiUnavailable"
    w.act()
    children_seen(w, made._cache)
    (pod,) = w.pods.values()
    running(pod, 1)
    pod["metadata"]["resourceVersion"] = "1"
    made._cache.apply(PODS, pod)
    await made.reconcile(KEY)

    assert status_of(made)["stages"][0]["reason"] == "Running"
