"""Gangs under a quota: each is whole or holds nothing, and none is judged for waiting."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from functools import partial

import pytest

from trainingjob.core import Blocker, plan, status
from trainingjob.core.policy import line

from .world import World, at, ended, manifest, running

MODEL = {"model": {"mlp": {"hidden": [64]}}, "dataset": {"uri": "pvc://datasets/digits"}}


@dataclass
class Cluster:
    """An API server whose quota has room for so many pods that are not over."""

    room: int
    jobs: list[World] = field(default_factory=list)
    seconds: float = 0

    def add(self, nodes: int, **policy: int) -> World:
        spec = {"preprocess": None, "evaluate": None, "policy": policy}
        made = manifest(train={"nodes": nodes, **MODEL}, **spec)
        number = len(self.jobs)
        made["metadata"] |= {"name": f"j{number}", "uid": f"uid-{number}"}
        self.jobs.append(World(made))
        return self.jobs[-1]

    @property
    def used(self) -> int:
        pods = (pod for w in self.jobs for pod in w.pods.values())
        return sum(pod["status"]["phase"] in ("Pending", "Running") for pod in pods)

    def step(self, seconds: float = 0.5) -> None:
        """Each gang has a pod made in turn, as calls of many jobs come side by side."""
        self.seconds += seconds
        plans = []
        for w in self.jobs:
            w.seconds = self.seconds
            todo = plan(w.observe(), at(w.seconds))
            for pod in (*todo.delete, *todo.force):
                w.pods.pop(pod.name, None)
            for child in todo.create:
                if child["kind"] != "Pod":
                    w.create(child)
            plans.append([child for child in todo.create if child["kind"] == "Pod"])
        met = [{blocker.name: blocker for blocker in w.blockers} for w in self.jobs]
        for place in range(max(map(len, plans))):
            for number, wanted in enumerate(plans):
                if place >= len(wanted):
                    continue
                name = wanted[place]["metadata"]["name"]
                met[number].pop(name, None)
                if self.used < self.room:
                    self.jobs[number].create(wanted[place])
                else:
                    what = f"{name} was refused: exceeded quota: q, limited: pods={self.room}"
                    met[number][name] = Blocker(name, "QuotaExceeded", what)
        for number, w in enumerate(self.jobs):
            w.blockers = tuple(met[number].values())
            w.record()
            nodes = w.manifest["spec"]["train"]["nodes"]
            now = [p for p in w.pods.values() if p["status"]["phase"] == "Pending"]
            if len(now) == nodes == len(w.pods):  # ranks meet, or wait
                for pod in now:
                    running(pod, self.seconds)
                w.record()

    def until(self, done: int, seconds: float) -> None:
        """Until so many jobs train."""
        end = self.seconds + seconds
        while len(self.training) < done:
            assert self.seconds < end, [w.status["message"] for w in self.jobs]
            self.step()

    @property
    def training(self) -> list[World]:
        return [w for w in self.jobs if w.status.get("reason") == "Running"]

    def finish(self) -> None:
        for w in self.training:
            uri = f"pvc://training/runs/team/{w.manifest['metadata']['name']}/model"
            result = {"outputs": {"uri": uri, "digest": "sha256:2"}}
            w.finish("train", partial(ended, message=json.dumps({"result": result})))
            assert w.status["phase"] == "Succeeded"


@pytest.mark.parametrize("policy", [{}, {"startupDeadlineSeconds": 5}])
def test_eight_gangs_of_four_under_a_quota_of_sixteen(policy: dict[str, int]) -> None:
    """Four run, then four; none is judged, whatever its startup deadline."""
    cluster = Cluster(room=16)
    for _ in range(8):
        cluster.add(4, **policy)
    cluster.step()
    assert all(len(w.pods) == 2 for w in cluster.jobs), "each holds what another needs"
    cluster.until(4, seconds=60)
    for w in cluster.jobs:
        if w not in cluster.training:
            assert (w.status["phase"], w.status["reason"]) != ("Failed", "StartupDeadlineExceeded")
    for _ in range(200):
        cluster.step()
    assert len(cluster.training) == 4
    waiting = [w for w in cluster.jobs if w not in cluster.training]
    assert {w.status["reason"] for w in waiting} == {"QuotaExceeded"}
    assert not any(w.stage("train").get("failures", {}).get("infrastructure") for w in waiting)
    cluster.finish()
    cluster.until(4, seconds=120)
    cluster.finish()
    assert [w.status["phase"] for w in cluster.jobs] == ["Succeeded"] * 8
    assert not any(w.status.get("lastFailure") for w in cluster.jobs)


def test_what_is_given_back_is_told_and_tried_again_later_and_later() -> None:
    cluster = Cluster(room=2)
    w = cluster.add(3)
    cluster.step()
    assert w.status["reason"] == "QuotaExceeded"
    assert len(w.pods) == 2
    tries: list[float] = []
    attempt = 1
    while cluster.seconds < 600:
        cluster.step()
        if w.stage("train")["attempt"] > attempt:
            attempt = w.stage("train")["attempt"]
            tries.append(cluster.seconds)
            told = "its 2 pods of 3 were given back, and it is tried again at"
            assert told in w.status["message"]
            assert cluster.used == 2, "they go once status has it"
            cluster.step()
            assert cluster.used == 0
    waits = [later - before for before, later in itertools.pairwise(tries)]
    assert 5 <= len(tries) <= 25
    assert max(waits[-3:]) > 3 * waits[0]
    assert max(waits) < 60 + 10
    assert w.status["phase"] in ("Pending", "Training")
    cluster.room = 3
    cluster.until(1, seconds=70)
    assert "retryTime" not in w.stage("train")


def test_a_gang_that_has_nothing_gives_nothing_back() -> None:
    cluster = Cluster(room=0)
    w = cluster.add(4)
    for _ in range(100):
        cluster.step()
    assert w.stage("train")["attempt"] == 1
    assert w.status["reason"] == "QuotaExceeded"


def test_its_time_to_start_begins_when_it_is_its_turn() -> None:
    cluster = Cluster(room=0)
    w = cluster.add(2, startupDeadlineSeconds=30)
    for _ in range(200):
        cluster.step()
    assert w.status["reason"] == "QuotaExceeded"
    cluster.room = 2
    for _ in range(2):
        cluster.step()
    for pod in w.pods.values():
        pod["status"] = {"phase": "Pending"}
    w.seconds = cluster.seconds + 20
    assert status(w.observe(), at(w.seconds)).phase != "Failed"


def test_tries_are_spread() -> None:
    since, now = at(0), at(40)
    found = {line.retried_at(since, now, f"uid-{n}/train/1") for n in range(50)}
    assert len(found) == 50
    assert all(20 <= (at_ - now).total_seconds() <= 40 for at_ in found)
    assert (line.retried_at(since, at(10_000), "x") - at(10_000)).total_seconds() <= 60
