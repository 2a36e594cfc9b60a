"""What pods report, and what is made of it."""

from __future__ import annotations

import pytest

from trainingjob.api.payload import ProgressReport
from trainingjob.core.progress import newest, reported

from .world import at, ended, running, stamp, world


def told(stage="train", attempt=1, index=0, seconds=0, percent=0, eta=None, **metrics):
    wire = {
        "progressPercentage": percent,
        "estimatedRemainingSeconds": eta,
        "metrics": [{"name": name, "value": str(value)} for name, value in metrics.items()],
    }
    report = ProgressReport.model_validate({"trainerStatus": wire})
    return reported(report, stage, attempt, index, at(seconds))


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param({"step": 7, "fold": 2}, {"step": 7, "fold": 2}, id="ours"),
        pytest.param(
            {"current_step": 7, "current_epoch": 1.5, "total_steps": 9},
            {"step": 7, "epoch": 1, "totalSteps": 9},
            id="those of transformers",
        ),
        pytest.param(
            {"rows": 3_000_000_001, "total_rows": 2**40},
            {"rows": 3_000_000_001, "totalRows": 2**40},
            id="rows",
        ),
        pytest.param({"loss": "nan", "acc": "inf", "x": "y"}, {}, id="what is no number"),
        pytest.param({"step": -3}, {"step": 0}, id="counts below zero"),
        pytest.param({"step": 1e300}, {"step": 2**53}, id="counts beyond all bounds"),
        pytest.param({"n" * 129: 1}, {}, id="names that status does not hold"),
        pytest.param(
            {"\x1b[2J\u202e": 1},
            {"metrics": [{"name": r"\u001b[2J\u202e", "value": 1.0}]},
            id="names that would move a cursor",
        ),
        pytest.param(
            {"loss": "0.25"}, {"metrics": [{"name": "loss", "value": 0.25}]}, id="metrics"
        ),
    ],
)
def test_the_wire_format_becomes_status(metrics, expected):
    progress = told(**metrics).progress.to_dict()
    assert progress.pop("metrics") == expected.pop("metrics", [])
    assert progress == {"stage": "train", "percent": 0, "updatedTime": stamp(0)} | expected


def test_status_holds_so_many_metrics_and_no_more():
    assert len(told(**{f"m{n}": n for n in range(100)}).progress.metrics) == 32


def test_a_stage_that_is_none_is_refused():
    with pytest.raises(ValueError, match="preprocess"):
        told(stage="publish")


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        pytest.param({"percent": 1}, {"percent": 2}, True, id="a later one"),
        pytest.param({"percent": 2}, {"percent": 1}, True, id="also one that is less far"),
        pytest.param({"step": 1}, {"step": 1, "seconds": 5}, False, id="nothing new"),
        pytest.param({"eta": 9}, {"eta": 8}, False, id="only an estimate that runs down"),
        pytest.param({}, {"checkpoint_step": 5}, True, id="a checkpoint"),
        pytest.param({"attempt": 2}, {"attempt": 1, "step": 9}, False, id="an earlier attempt"),
        pytest.param({"step": 9}, {"attempt": 2, "step": 9}, True, id="a later attempt"),
        pytest.param({}, {"index": 1, "step": 9}, False, id="another pod than the first"),
        pytest.param({"index": 1}, {"step": 9}, True, id="the first pod"),
        pytest.param({"attempt": 3}, {"stage": "evaluate"}, True, id="another stage"),
    ],
)
def test_which_report_counts(before, after, counts):
    first, second = told(**before), told(**after)
    assert newest(None, first) is first
    assert newest(first, second) is (second if counts else first)


def test_progress_is_shown_while_its_stage_and_attempt_run():
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.report("train", percent=40, step=4)
    w.settle()
    assert w.status["progress"]["step"] == 4
    w.reported = None  # another operator, which has heard nothing yet
    w.settle()
    assert w.status["progress"]["step"] == 4
    w.report("train", percent=50, step=5)
    w.finish("train", lambda pod, seconds: ended(pod, seconds, code=137))
    w.settle()
    assert w.status["progress"]["step"] == 4, "what the attempt before told late is not this one's"
    w.report("train", attempt=2, step=1)
    w.settle()
    assert w.status["progress"]["step"] == 1
    w.finish("train")
    assert "progress" not in w.status, "it was of another stage"
    w.finish("evaluate")
    assert w.status["phase"] == "Succeeded"


def test_a_rerun_of_training_starts_over():
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.report("train", step=5, checkpoint_step=5)
    w.settle()
    w.finish("train")
    w.finish("evaluate")
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    w.settle()
    assert w.status["phase"] == "Training"
    assert not {"checkpoint", "progress"} & set(w.status)
    w.report("train", attempt=2, step=1, checkpoint_step=1)
    w.settle()
    assert w.status["checkpoint"]["step"] == 1


def test_the_checkpoint_stays_when_the_attempt_has_ended():
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.report("train", step=4)
    w.settle()
    assert "checkpoint" not in w.status
    w.seconds = 60
    w.report("train", step=5, checkpoint_step=5)
    w.settle()
    expected = {"step": 5, "uri": "pvc://training/runs/team/digits/checkpoints", "time": stamp(60)}
    assert w.status["checkpoint"] == expected
    w.reported = None
    w.seconds = 70
    w.report("train", step=6, checkpoint_step=5)
    w.settle()
    assert w.status["checkpoint"] == expected, "the operator before this one was told at 60"
    w.finish("train")
    w.report("evaluate", percent=10)
    w.finish("evaluate")
    assert w.status["checkpoint"] == expected


def training(w):
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()


def test_of_two_operators_at_once_the_one_that_heard_last_is_right():
    w = world()
    training(w)
    w.report("train", step=4, checkpoint_step=4)
    earlier = w.reported
    w.settle()
    w.seconds += 10
    w.report("train", step=8, checkpoint_step=8)
    w.settle()
    w.reported = earlier  # the other operator
    w.settle()
    assert (w.status["progress"]["step"], w.status["checkpoint"]["step"]) == (8, 8)


def test_a_report_of_another_stage_does_not_take_away_that_of_the_present_one():
    w = world()
    training(w)
    w.report("train", step=4)
    w.settle()
    w.report("preprocess", percent=100)  # by a pod that is on its way out
    w.settle()
    assert w.status["progress"]["step"] == 4


def test_only_training_has_checkpoints():
    w = world()
    for pod in w.of("preprocess"):
        running(pod, w.seconds)
    w.report("preprocess", percent=10, checkpoint_step=7)
    w.settle()
    assert "checkpoint" not in w.status
