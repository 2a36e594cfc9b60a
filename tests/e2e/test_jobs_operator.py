"""An operator, or a node, that is disturbed under its jobs: nothing may run beside it."""

from __future__ import annotations

from tests.cluster.node.node import Node
from tests.cluster.wait import wait_for

from .jobs import JOB_SECONDS, Installation, Space
from .parts import PANDAS, training


def test_the_operator_killed_in_every_stage(space: Space, installed: Installation) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=50))
    for stage in ("preprocess", "train", "evaluate"):
        wait_for(stage, lambda s=stage: space.stage("digits", s).get("startTime"), JOB_SECONDS)
        installed.kill()
        installed.wait()
    status = space.succeeds("digits")

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_progress_is_live_and_the_next_operator_hears_it_too(
    space: Space, installed: Installation
) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=5000))

    def step() -> int:
        progress: dict[str, int] = space.status("digits").get("progress") or {}
        return progress.get("step", 0)

    wait_for("progress", step, JOB_SECONDS)
    wait_for("a checkpoint", lambda: space.status("digits").get("checkpoint"), 60)
    installed.kill()
    installed.wait()
    before = step()
    wait_for("more of it", lambda: step() > before, 60)
    assert space.stage("digits", "train")["attempt"] == 1


def test_the_operator_upgraded_in_mid_run(space: Space, installed: Installation) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=80))
    space.runs("digits", "train")
    installed.install(log={"level": "debug"})
    status = space.succeeds("digits")
    installed.install()

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_helm_uninstall_leaves_running_jobs_and_reinstall_picks_them_up(
    space: Space, installed: Installation
) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=80))
    space.runs("digits", "train")
    before = {pod["metadata"]["uid"] for pod in space.list("pods")}
    installed.uninstall()
    assert {pod["metadata"]["uid"] for pod in space.list("pods")} == before
    installed.install()
    status = space.succeeds("digits")

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_the_node_restarted_during_training(space: Space, node: Node) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=120))
    space.runs("digits", "train")
    node.restart("kubelet", "containerd")
    status = space.succeeds("digits")
    space.tells_end("the node is restarted in training", status)

    assert status["stages"][1]["attempt"] <= 2
