"""What a pod says whose code is fetched before its own container begins."""

from __future__ import annotations

import json

import pytest

from trainingjob.core.diagnose import failure_of

from .containers import ended, running, status, view, waiting

NO_COMMIT = json.dumps({"error": {"reason": "RepositoryInvalid", "message": "has no commit"}})


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (ended(1, NO_COMMIT), "RepositoryInvalid", "has no commit"),
        (ended(137, reason="OOMKilled"), "OutOfMemory", "used more memory than its limit"),
        (ended(1, "Traceback"), "ScriptFailed", "exited with code 1"),
    ],
)
def test_the_container_that_fetches_code_tells_why_it_failed(state, reason, words):
    """As the kubelet has a pod whose init container has failed."""
    before = status("trainingjob-code", state)
    pod = view("Failed", train=waiting("PodInitializing"), init=(before,))
    failure = failure_of(pod)
    assert (failure.reason, words in failure.message) == (reason, True)
    assert (pod.phase, pod.over) == ("Failed", True)


def test_a_pod_whose_code_is_being_fetched_has_not_begun():
    for state in (running(), ended()):
        before = status("trainingjob-code", state)
        pod = view("Pending", train=waiting("PodInitializing"), init=(before,))
        assert (pod.phase, pod.started, failure_of(pod)) == ("Pending", None, None)
    pod = view("Running", train=running(), init=(status("trainingjob-code", ended()),))
    assert (pod.phase, pod.started is not None) == ("Running", True)


def test_an_init_container_of_others_is_still_theirs():
    before = status("setup", ended(1, NO_COMMIT))
    pod = view("Failed", train=waiting("PodInitializing"), init=(before,))
    assert failure_of(pod).reason == "InitContainerFailed"
