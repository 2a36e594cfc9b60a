"""The tables of Kubernetes' words have what its sources have, and no word accuses wrongly."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import REASONS
from trainingjob.core import PodView, diagnose, terms

LIST = Path(__file__).with_name("terms") / "list.txt"
# Also of before, of other runtimes, or put together by the kubelet.
BESIDE = {
    "pod": {"Infeasible", "NodeUnschedulable", "PodLevelTopologyAffinityError", "Shutdown"},
    "ended": {"ContainerCannotRun"},
}
TABLES = {
    "pod": terms.POD,
    "waiting": terms.WAITING,
    "ended": terms.ENDED,
    "scheduling": terms.SCHEDULING,
    "disruption": dict.fromkeys(terms.DISRUPTIONS, terms.Term("Disrupted")),
}
LABELS = {
    "trainingjob.dev/stage": "train",
    "trainingjob.dev/attempt": "1",
    "trainingjob.dev/index": "0",
}
SAID = "the very words of the kubelet"
# What nobody but the job's own code, its memory or its disk may be accused of.
ACCUSING = ("application", "outOfMemory", "data")


def words() -> dict[str, set[str]]:
    """As the sources have them: see terms/__main__.py."""
    found = defaultdict(set)
    for line in LIST.read_text(encoding="utf-8").splitlines():
        place, word, _ = line.split()
        found[place].add(word)
    return found


def test_the_tables_have_every_word_of_the_sources_and_no_other() -> None:
    assert {place: {*table} for place, table in TABLES.items()} == {
        place: found | BESIDE.get(place, set()) for place, found in words().items()
    }


def test_the_list_is_of_the_versions_that_we_support() -> None:
    text = LIST.read_text(encoding="utf-8")
    for module in ("kubernetes@v1.30", "kubernetes@v1.33", "kubernetes@v1.37", "containerd@v2"):
        assert module in text


def view(phase: str, **status: Any) -> PodView:
    meta = {"name": "p", "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return PodView.from_dict({"metadata": meta, "status": {"phase": phase, **status}})


def ours(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "train", "state": state}]


@pytest.mark.parametrize("word", [*terms.POD, "OutOfnvidia.com/gpu", "SomethingNew"])
@pytest.mark.parametrize("ran", [True, False])
def test_a_pod_that_its_kubelet_has_ended_says_so_in_its_words(word: str, ran: bool) -> None:
    end = {"terminated": {"exitCode": 137, "startedAt": "2026-01-01T00:00:01Z"}}
    status: dict[str, Any] = {"containerStatuses": ours(end)} if ran else {}
    failure = diagnose.failure_of(view("Failed", reason=word, message=SAID, **status))
    assert failure is not None
    assert SAID in failure.message
    if word == "Evicted" and ran:  # for its own limits: it has no DisruptionTarget
        assert failure.reason == "StorageLimitExceeded"
    elif word == "SomethingNew":
        assert failure.reason == ("ProcessKilled" if ran else "NodeRefused")
    else:
        assert failure.failure_class not in ACCUSING
        assert failure.reason == (terms.of_pod(word) or terms.Term(None)).reason


@pytest.mark.parametrize("word", terms.DISRUPTIONS)
@pytest.mark.parametrize("reason", ["", "Evicted", "Terminated", "Preempting"])
def test_a_disruption_is_charged_to_nobody_and_says_all_that_is_known(
    word: str, reason: str
) -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": word, "message": "made way"}
    end = {"terminated": {"exitCode": 143}}
    status = {"containerStatuses": ours(end), "conditions": [target], "message": SAID}
    failure = diagnose.failure_of(view("Failed", reason=reason, **status))
    assert failure is not None
    assert (failure.reason, failure.failure_class) == ("Disrupted", "disruption")
    assert "made way" in failure.message
    assert SAID in failure.message


@pytest.mark.parametrize("word", terms.WAITING)
def test_a_container_that_waits_says_why(word: str) -> None:
    wait = {"waiting": {"reason": word, "message": SAID}}
    pod = view("Pending", containerStatuses=ours(wait))
    found, reason = diagnose.waiting_of(pod), terms.WAITING[word].reason
    assert (found.reason if found else None) == reason
    assert found is None or SAID in found.message


def test_a_container_that_waits_for_what_nobody_knows_says_so_at_the_deadline() -> None:
    wait = {"waiting": {"reason": "SomethingNew", "message": SAID}}
    pod = view("Pending", containerStatuses=ours(wait))
    assert diagnose.waiting_of(pod) is None
    assert SAID in diagnose.slowest([pod])


@pytest.mark.parametrize("word", [word for word in terms.ENDED if word != "Completed"])
@pytest.mark.parametrize("code", [1, 128, 137, 255])
def test_a_container_that_has_ended_is_told_by_its_word(word: str, code: int) -> None:
    end = {"terminated": {"exitCode": code, "reason": word, "message": SAID}}
    failure = diagnose.failure_of(view("Failed", message=SAID, containerStatuses=ours(end)))
    assert failure is not None
    assert failure.reason in REASONS
    expected = terms.ENDED[word].reason
    assert expected is None or failure.reason == expected
    assert SAID in failure.message


@pytest.mark.parametrize("word", terms.SCHEDULING)
def test_a_pod_without_a_node_says_why(word: str) -> None:
    told = {"type": "PodScheduled", "status": "False", "reason": word, "message": SAID}
    pod = view("Pending", conditions=[told])
    found = diagnose.waiting_of(pod)
    if word == "SchedulingGated":  # the gates themselves are in the pod's spec
        assert found is None
    else:
        assert found is not None
        assert (found.reason, SAID in found.message) == ("Unschedulable", True)


def test_a_report_of_its_own_and_its_kubelets_words_are_both_told() -> None:
    report = '{"error": {"reason": "DiskFull", "message": "no room"}}'
    end = {"terminated": {"exitCode": 1, "message": report}}
    failure = diagnose.failure_of(view("Failed", message=SAID, containerStatuses=ours(end)))
    assert failure is not None
    assert failure.reason == "DiskFull"
    assert "no room" in failure.message
    assert SAID in failure.message
