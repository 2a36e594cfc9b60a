"""What the operator keeps of reports, and does where the CRD is older than it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.unit.core.test_progress import told
from tests.unit.core.world import World, running, world
from trainingjob.cluster import JOBS, PODS, Cache, Conflict, Gateway
from trainingjob.controller import pace
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.progress import Reports
from trainingjob.controller.reconcile import Outcome, Reconciler

KEY = ("team", "digits")


class Server:
    """An API server that takes every write as it stands; ``drops`` are the fields of status that
    its CRD does not know."""

    def __init__(self, *drops: str) -> None:
        self.version, self.writes, self.drops = 1, 0, drops
        self.deleted: list[tuple[str, str]] = []

    async def write_status(self, job: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if not dry_run:
            self.writes += 1
            self.version += 1
        status = {key: job["status"][key] for key in job["status"] if key not in self.drops}
        meta = job["metadata"] | {"resourceVersion": str(self.version)}
        return job | {"status": status, "metadata": meta}

    async def delete(
        self, _resource: object, namespace: str, name: str, uid: str, *, version: int | None = None
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
    for pod in w.pods.values():
        pod["metadata"]["resourceVersion"] = "1"
        cache.apply(PODS, pod)
    reports.since = datetime.now(UTC)
    made = Reconciler(cache, cast("Gateway", server), w.settings, Metrics(), reports)
    return made, reports


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
    await made.reconcile(KEY)
    assert server.deleted == []
    server.version = 1
    await made.reconcile(KEY)
    assert server.deleted == [KEY]


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
