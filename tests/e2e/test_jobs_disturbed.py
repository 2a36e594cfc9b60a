"""Jobs in real pods that are disturbed, or cannot go well."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cluster.mesh import Mesh
from tests.cluster.node.node import Node
from tests.cluster.wait import wait_for
from tests.tables import tell

from .jobs import JOB_SECONDS, Space
from .parts import GONE_SECONDS, PANDAS, RESUMED_SECONDS, metric, spark, training

# --- jobs that are disturbed ------------------------------------------------------------------


def test_a_rank_killed_in_mid_training_resumes_from_the_checkpoint(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    space.runs("digits", "train")
    checkpoints = space.artefacts("digits") / "checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("step-*/state.json")), JOB_SECONDS)
    killed = time.monotonic()
    space.kill_process("digits-train-1-1", "trainingjob.runtime")
    space.tells_failure("a rank is killed", "digits", killed)
    space.wait_for_pod("digits-train-2-1")
    space.runs("digits", "train")
    newest = max(path.stat().st_mtime for path in checkpoints.glob("step-*"))
    wait_for(
        "the first step after the resume",
        lambda: any(p.stat().st_mtime > newest for p in checkpoints.glob("step-*")),
        JOB_SECONDS,
    )
    print(f"killed → training again: {time.monotonic() - killed:.1f} s (goal {RESUMED_SECONDS})")
    status = space.succeeds("digits")

    train = status["stages"][1]
    assert train["attempt"] == 2
    assert status["lastFailure"]["pod"] == "digits-train-1-1"
    assert metric(status, "accuracy") >= 0.9


def test_a_training_pod_that_is_deleted(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    space.runs("digits", "train")
    begun = time.monotonic()
    space.delete("pods", "digits-train-1-0")
    space.tells_failure("a training pod is deleted", "digits", begun)
    status = space.succeeds("digits")

    assert status["stages"][1]["attempt"] == 2
    assert status["lastFailure"]["reason"] == "PodLost"


@pytest.mark.parametrize("stage", [pytest.param("preprocess", marks=spark), "train", "evaluate"])
def test_a_job_deleted_in_every_stage_is_gone_and_frees_its_gpus(space: Space, stage: str) -> None:
    preprocess = None if stage == "preprocess" else PANDAS
    more = {} if preprocess is None else {"preprocess": preprocess}
    epochs = 5 if stage == "evaluate" else 5000
    name = space.example("digits/job.yaml", train=training(epochs=epochs), **more)
    wait_for(stage, lambda: space.stage(name, stage).get("pods", {}).get("ready"), JOB_SECONDS)
    space.delete("trainingjobs", name)
    seconds = space.gone()

    print(f"deleted in {stage} → all pods gone: {seconds:.1f} s (goal {GONE_SECONDS})")
    assert space.gpus_in_use() == 0


def test_a_job_that_is_suspended_in_training_goes_on_from_its_checkpoint(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    checkpoints = space.artefacts("digits") / "checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("step-*/state.json")), JOB_SECONDS)
    begun = time.monotonic()
    space.patch("trainingjobs", "digits", {"spec": {"suspend": True}})
    status = space.wait("digits", phase="Suspended")
    tell("it is suspended in training", time.monotonic() - begun, status)
    wait_for("the GPUs to be free", lambda: space.gpus_in_use() == 0, 30)
    space.patch("trainingjobs", "digits", {"spec": {"suspend": False}})
    space.wait_for_pod("digits-train-2-0")
    status = space.succeeds("digits")

    assert "lastFailure" not in status
    log = space.control_plane.kubectl("logs", "-n", space.name, "digits-train-2-0").stdout
    assert "resuming from checkpoint" in log, log


def test_sidecars_that_never_end_hold_up_nothing_and_hide_nothing(
    node: Node, space: Space, images: dict[str, str]
) -> None:
    with Mesh(space.control_plane, space.name, node.images.busybox(), native=True):
        good = space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=5))
        fails = {"image": images["torch"], "command": ["python", "-c", "print('begun'); 1 / 0"]}
        bad = space.example(
            "digits/job.yaml",
            "fails",
            preprocess=PANDAS,
            train={"nodes": 1} | fails,
            policy={"retries": {"application": 0}},
        )
        status = space.succeeds(good)
        failure = space.ends(bad)["lastFailure"]
    space.tells_end("it goes well beside sidecars that never end", status)
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    assert (failure["reason"], failure["exitCode"]) == ("ScriptFailed", 1), space.story(bad)
    assert "begun" in failure["logTail"] and "ZeroDivisionError" in failure["logTail"]
    space.gone(60)
    assert space.gpus_in_use() == 0


# --- jobs that cannot go well -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "change", "expected"),
    [
        (
            "a command that does not exist",
            {"command": ["/no/such/program"]},
            {"reason": "CommandNotFound", "class": "configuration"},
        ),
        (
            "memory that is not enough",
            {"resources": {"limits": {"memory": "120Mi"}}},
            {"reason": "OutOfMemory", "class": "outOfMemory"},
        ),
        (
            "user code that exits with 3",
            {"script": {"inline": "import sys\nsys.exit(3)\n"}},
            {"reason": "ScriptFailed", "class": "application", "exitCode": 3},
        ),
    ],
)
def test_a_failure_in_a_pod_is_told_with_its_class(
    space: Space, what: str, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    train = training(nodes=1, epochs=1)
    if "resources" not in change:
        for built_in in ("model", "optimizer", "epochs", "batchSize", "checkpoint"):
            del train[built_in]
    name = space.example("digits/job.yaml", preprocess=PANDAS, train=train | change)
    status = space.ends(name)
    space.tells_end(what, status)

    assert status["phase"] == "Failed", space.story(name)
    last = status["lastFailure"]
    assert {key: last[key] for key in expected} == expected, json.dumps(last)


def test_a_gate_that_fails(space: Space) -> None:
    gates = {"gates": [{"metric": "accuracy", "min": 0.9999}]}
    name = space.example(
        "digits/job.yaml", preprocess=PANDAS, train=training(nodes=1, epochs=1), evaluate=gates
    )
    status = space.ends(name)
    space.tells_end("a gate fails", status)

    assert (status["phase"], status["reason"]) == ("Failed", "GateFailed")
