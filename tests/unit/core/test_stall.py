"""policy.stall: training that makes no progress."""

from __future__ import annotations

import pytest

from trainingjob.api.v1alpha1 import Status, TrainingJob
from trainingjob.core import Settings, events, plan

from .world import World, at, ended, running, stamp, world

AFTER = 600


def training(action: str = "alert", listening: float | None = 0.0, **policy: object) -> World:
    """All pods of the gang run since 100."""
    stall = {"afterSeconds": AFTER, "action": action}
    w = world(preprocess=None, policy={"stall": stall, **policy}, train=TRAIN)
    w.listening_since = None if listening is None else at(listening)
    w.seconds = 100
    for pod in w.of("train"):
        running(pod, 100)
    w.settle()
    return w


TRAIN = {
    "nodes": 2,
    "model": {"mlp": {"hidden": [64]}},
    "dataset": {"uri": "pvc://datasets/digits"},
}


def progressing(w: World) -> tuple[str, str] | None:
    found = (c for c in w.status["conditions"] if c["type"] == "Progressing")
    return next(((c["status"], c["reason"]) for c in found), None)


def after(w: World, seconds: float) -> None:
    w.seconds = seconds
    w.settle()


def test_training_that_reports_nothing_has_stalled_then():
    w = training()
    assert progressing(w) == ("True", "Progressing")
    assert plan(w.observe(), at(100)).requeue_after == AFTER
    after(w, 699)
    assert w.status["reason"] == "Running"
    after(w, 700)
    assert (w.status["phase"], w.status["reason"]) == ("Training", "NoProgress")
    assert w.status["message"].startswith("nothing new for 600 s; nothing was reported; see ")
    assert progressing(w) == ("False", "NoProgress")
    assert w.stage("train")["attempt"] == 1


def test_it_goes_on_when_something_new_is_heard():
    w = training()
    after(w, 700)
    w.report("train", step=5)
    w.settle()
    assert (w.status["reason"], progressing(w)) == ("Running", ("True", "Progressing"))
    after(w, 1299)
    w.report("train", step=5)
    w.settle()
    assert w.status["reason"] == "Running"
    after(w, 1300)
    assert w.status["message"].startswith("nothing new for 600 s; the last report was of step 5; ")


def test_an_alert_is_one_event():
    w = training()
    before = Status.model_validate(w.status)
    after(w, 700)
    job, now = TrainingJob.from_dict(w.manifest), Status.model_validate(w.status)
    (event,) = events(job, before, now, at(700))
    assert (event["type"], event["reason"]) == ("Warning", "NoProgress")
    writes = w.writes
    after(w, 5000)
    assert w.writes == writes, "told once"


def test_a_restart_is_another_attempt_and_is_charged():
    w = training("restart", retries={"infrastructure": 1})
    w.report("train", step=5)
    after(w, 700)
    stage = w.stage("train")
    assert (stage["attempt"], stage["failures"]["infrastructure"]) == (2, 1)
    failure = w.status["lastFailure"]
    assert (failure["reason"], failure["class"]) == ("NoProgress", "infrastructure")
    for pod in w.of("train"):
        running(pod, 710)
    after(w, 710)
    assert progressing(w) == ("True", "Progressing"), "its own time counts"
    after(w, 1310)
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "NoProgress")
    assert "nothing was reported" in w.status["message"]


def test_it_fails_at_once_where_that_is_asked_for():
    w = training("fail")
    after(w, 700)
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "NoProgress")
    assert w.stage("train")["attempt"] == 1
    assert progressing(w) is None


def test_time_in_which_nobody_listened_does_not_count():
    w = training(listening=None)
    assert progressing(w) == ("Unknown", "NotHeard")
    after(w, 5000)
    assert w.status["reason"] == "Running"
    w.listening_since = at(5000)
    after(w, 5599)
    assert w.status["reason"] == "Running"
    after(w, 5600)
    assert w.status["reason"] == "NoProgress"


def test_pods_that_trust_another_operator_are_not_heard():
    w = training("fail")
    w.settings = Settings(status_ca="another")
    after(w, 5000)
    assert (w.status["reason"], progressing(w)) == ("Running", ("Unknown", "NotHeard"))


def test_what_the_operator_before_heard_counts():
    w = training()
    w.seconds = 500
    w.report("train", step=5)
    w.settle()
    w.reported, w.listening_since = None, at(510)
    after(w, 1109)
    assert w.status["reason"] == "Running"
    after(w, 1110)
    assert "step 5" in w.status["message"]


@pytest.mark.parametrize("policy", [{}, {"stall": None}], ids=["no policy", "null"])
def test_nobody_watches_who_was_not_asked(policy):
    w = world(preprocess=None, train=TRAIN, policy=policy)
    w.listening_since = at(0)
    for pod in w.of("train"):
        running(pod, 1)
    after(w, 1_000_000)
    assert (w.status["reason"], progressing(w)) == ("Running", None)


def test_only_training_is_watched():
    w = world(policy={"stall": {"afterSeconds": 10}})
    w.listening_since = at(0)
    for pod in w.of("preprocess"):
        running(pod, 1)
    after(w, 1000)
    assert (w.status["reason"], progressing(w)) == ("Running", None)


def test_a_gang_that_has_not_started_is_left_to_the_startup_deadline():
    w = world(preprocess=None, train=TRAIN, policy={"stall": {"afterSeconds": 10}})
    w.listening_since = at(0)
    running(w.of("train")[0], 1)
    after(w, 500)
    assert w.status["reason"] != "NoProgress"


def test_a_failure_is_told_as_what_it_is():
    w = training("restart")
    for pod in w.of("train"):
        ended(pod, 650, code=137)
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = stamp(100)
    after(w, 900)
    assert w.status["lastFailure"]["reason"] == "ProcessKilled"


def test_what_another_operator_heard_since_is_progress():
    w = training("restart")
    w.report("train", step=5)
    earlier = w.reported
    after(w, 500)
    w.report("train", step=9)
    w.settle()
    w.reported = earlier  # two operators at once: this one heard only that
    after(w, 1099)
    assert (w.stage("train")["attempt"], w.status["reason"]) == (1, "Running")
    after(w, 1100)
    assert w.stage("train")["attempt"] == 2


def test_time_without_progress_forgives_no_stall_before():
    retries = {"infrastructure": 1}
    w = training("restart", stall={"afterSeconds": 7200, "action": "restart"}, retries=retries)
    after(w, 7300)
    assert w.stage("train")["attempt"] == 2
    for pod in w.of("train"):
        running(pod, 7300)
    w.settle()
    after(w, 7300 + 7200)
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "NoProgress")


def test_an_hour_of_progress_does():
    retries = {"infrastructure": 1}
    w = training("restart", retries=retries)
    after(w, 700)
    for pod in w.of("train"):
        running(pod, 700)
    after(w, 1000)
    for seconds in range(1000, 5000, 500):
        w.seconds = seconds
        w.report("train", attempt=2, step=seconds)
        w.settle()
    after(w, 6000)
    assert (w.status["phase"], w.stage("train")["attempt"]) == ("Training", 3)
