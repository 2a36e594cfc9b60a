"""The annotation by which a job is run again from one of its stages."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.core import events, status
from trainingjob.core.policy import rerun as policy

from .reruns import (
    STAGES,
    ask,
    attempts,
    conditions,
    failed_in,
    finished,
    in_the_midst_of,
    suspended_in,
    to_the_end,
    uid,
)
from .world import World, at, disrupted, manifest, running, succeeded, world


@pytest.mark.parametrize(
    ("what", "made", "value", "phase", "expected"),
    [
        ("all", finished, "preprocess:1", "Pending", [2, 2, 2]),
        ("training and its verdict", finished, "train:1", "Training", [1, 2, 2]),
        ("the verdict alone", finished, "evaluate:1", "Evaluating", [1, 1, 2]),
        (
            "a stage that failed, and those after it never ran",
            lambda: failed_in("train"),
            "train:1",
            "Training",
            [1, 2, 1],
        ),
        (
            "a failed job from its first stage",
            lambda: failed_in("train"),
            "preprocess:1",
            "Pending",
            [2, 2, 1],
        ),
        (
            "a stage that an earlier one has failed before: that runs again, too",
            lambda: failed_in("preprocess"),
            "train:1",
            "Pending",
            [2, 1, 1],
        ),
        (
            "a gate that failed",
            lambda: failed_in("evaluate"),
            "evaluate:1",
            "Evaluating",
            [1, 1, 2],
        ),
        (
            "the stage that runs at the moment",
            lambda: in_the_midst_of("train"),
            "train:1",
            "Training",
            [1, 2, 1],
        ),
        (
            "a stage before the one that runs",
            lambda: in_the_midst_of("evaluate"),
            "train:1",
            "Training",
            [1, 2, 2],
        ),
        (
            "a stage whose turn has not come: nothing happens",
            lambda: in_the_midst_of("train"),
            "evaluate:1",
            "Training",
            [1, 1, 1],
        ),
        (
            "a suspended job stays so",
            lambda: suspended_in("train"),
            "preprocess:1",
            "Suspended",
            [2, 3, 1],
        ),
    ],
)
def test_a_request_resets_the_stage_and_all_after_it(
    what: str, made: Callable[[], World], value: str, phase: str, expected: list[int]
) -> None:
    w = made()
    usage = {stage["name"]: stage.get("usage") for stage in w.status["stages"]}
    ask(w, value)
    w.record()

    told = w.status
    assert (told["phase"], attempts(w), told["rerun"]) == (phase, expected, value)
    assert not {"evaluation", "lastFailure", "completionTime"} & set(told)
    assert conditions(w) == {
        "Valid": "True",
        "Suspended": str(phase == "Suspended"),
        "Reconciling": str(phase != "Suspended"),
        "Stalled": "False",
        "Complete": "False",
        "Failed": "False",
    }
    again = STAGES.index(value.partition(":")[0])
    for stage in told["stages"][again:]:
        assert not {"startTime", "completionTime", "outputs"} & set(stage)
        assert not any(stage["failures"].values())
        assert usage[stage["name"]] is None or "usage" in stage, "it adds up"

    w.settle()
    w.manifest["spec"].pop("suspend", None)
    w.settle()
    to_the_end(w)
    assert (w.status["phase"], attempts(w)) == ("Succeeded", expected)


def test_a_request_is_acted_on_once_and_the_next_one_again() -> None:
    w = finished()
    for number, value in enumerate(("train:1", "train:2", "train:7", "train:1"), 2):
        ask(w, value)
        w.settle()
        to_the_end(w)
        final = copy.deepcopy(w.status)
        w.seconds += 1000
        w.settle()
        assert w.status == final
        assert attempts(w) == [1, number, number]
    del w.manifest["metadata"]["annotations"]
    w.settle()
    assert w.status == final, "what is not there asks for nothing"


@pytest.mark.parametrize(
    "value",
    [
        "train",
        "train:",
        "train:0",
        "train:01",
        "train:10000",
        "train:-1",
        "train:1 ",
        "Train:1",
        "trian:1",
        "train:١",
        ":1",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("made", [finished, lambda: in_the_midst_of("train")])
def test_a_value_that_is_no_request_is_told_once_and_disturbs_nothing(
    made: Callable[[], World], value: str
) -> None:
    w = made()
    before, stored = w.observe().job.status, copy.deepcopy(w.status)
    pods = set(w.pods)
    ask(w, value)
    w.settle()

    assert w.status == stored | {"rerun": value[:64]}
    assert set(w.pods) == pods
    told = events(w.observe().job, before, w.observe().job.status, at(w.seconds))
    assert [(event["type"], event["reason"]) for event in told] == [("Warning", "RerunInvalid")]
    assert "train:1" not in value or "preprocess:1" in told[0]["message"]
    writes = w.writes
    w.settle()
    assert w.writes == writes


def test_a_stage_that_the_job_does_not_have_is_no_request() -> None:
    w = world(preprocess=None, train=manifest()["spec"]["train"] | {"dataset": {"uri": "pvc://d"}})
    ask(w, "preprocess:1")
    w.settle()
    assert (attempts(w), w.status["rerun"]) == ([1, 1], "preprocess:1")
    assert "rerunTime" not in w.status
    assert "(train, evaluate)" in policy.fault(w.observe().job, "preprocess:1")


@pytest.mark.parametrize(
    ("annotation", "known", "expected"),
    [
        (None, None, "train:1"),
        ("evaluate:3", "evaluate:3", "train:4"),
        ("train:2", "train:5", "train:6"),
        ("train:9999", "train:9999", "train:1"),
        ("nonsense", "nonsense", "train:1"),
    ],
)
def test_the_next_value_is_a_new_one(
    annotation: str | None, known: str | None, expected: str
) -> None:
    w = finished()
    if annotation:
        ask(w, annotation)
    if known:
        w.status["rerun"] = known
    job = w.observe().job
    assert policy.following(job, "train") == expected
    assert expected not in (annotation, known)


@pytest.mark.parametrize("value", ["train:1", "nonsense"])
def test_a_job_that_has_no_status_has_nothing_to_run_again(value: str) -> None:
    w = World()
    ask(w, value)
    w.settle()
    assert w.of("preprocess")
    assert (attempts(w), w.status["rerun"]) == ([1, 1, 1], value)

    w.finish("preprocess")
    del w.manifest["status"]
    w.settle()
    assert attempts(w) == [1, 1, 1], "an erased status is rebuilt"
    assert w.stage("preprocess")["phase"] == "Succeeded"


def test_a_job_of_another_controller_is_left_alone() -> None:
    w = world(managedBy="kueue.x-k8s.io/multikueue")
    w.manifest["status"]["observedGeneration"] = 1
    before = copy.deepcopy(w.status)
    ask(w, "train:1")
    w.settle()
    assert (w.status, w.created) == (before, [])


def test_a_rerun_is_told_once_and_that_it_went_well_is_not() -> None:
    w = finished()
    names: list[str] = []
    told: list[str] = []
    for number in (1, 2):
        before = w.observe().job.status
        ask(w, f"evaluate:{number}")
        w.record()
        middle = w.observe().job.status
        w.settle()
        w.finish("evaluate")
        after = w.observe().job.status
        for one, other in ((before, middle), (middle, after)):
            found = events(w.observe().job, one, other, at(w.seconds))
            names += [event["metadata"]["name"] for event in found]
            told += [f"{event['type']} {event['reason']}" for event in found]
    assert told == ["Normal Rerun"] * 2
    assert len(set(names)) == len(names)


def test_given_twice_it_is_the_same() -> None:
    w = finished()
    ask(w, "train:1")
    observation = w.observe()
    before = copy.deepcopy(observation)
    assert status(observation, at(50)) == status(observation, at(50))
    assert observation == before


@settings(max_examples=200, deadline=None)
@given(
    moves=st.lists(
        st.one_of(
            st.sampled_from(["act", "act", "record", "record", "run", "end", "kill", "suspend"]),
            st.sampled_from(STAGES),
        ),
        max_size=80,
    )
)
def test_any_requests_at_any_moment_end_in_success(moves: list[str]) -> None:
    """No pod's name comes twice, which the world sees to, and no gang is of two runs."""
    w = World(manifest(policy={"retries": {"infrastructure": 100}}))
    asked = 0
    for what in moves:
        w.seconds += 1
        if what in STAGES:
            asked += 1
            ask(w, f"{what}:{asked}")
        elif what == "act":
            w.act()
        elif what == "record":
            w.record()
        elif what == "suspend":
            w.manifest["spec"]["suspend"] = not w.manifest["spec"].get("suspend", False)
            w.manifest["metadata"]["generation"] += 1
        else:
            fate = {"run": running, "end": succeeded, "kill": disrupted}[what]
            wanted = "Pending" if what == "run" else "Running"
            for pod in w.pods.values():
                if pod["status"]["phase"] == wanted:
                    fate(pod, w.seconds)
        for attempt in {p["metadata"]["labels"]["trainingjob.dev/attempt"] for p in w.of("train")}:
            gang = [p for p in w.of("train") if f"-{attempt}-" in p["metadata"]["name"]]
            assert len({uid(World(pods={"": p}), "train") for p in gang}) == 1
    w.manifest["spec"]["suspend"] = False
    w.settle()
    to_the_end(w)
    assert w.status["phase"] == "Succeeded"
    assert w.status.get("rerun") == (f"{what_last(moves)}:{asked}" if asked else None)
    final = copy.deepcopy(w.status)
    w.seconds += 1000
    w.settle()
    assert w.status == final


def what_last(moves: list[str]) -> str:
    return [what for what in moves if what in STAGES][-1]
