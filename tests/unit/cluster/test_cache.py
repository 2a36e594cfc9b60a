"""The newest version wins, whoever brings it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.core.world import manifest
from trainingjob.cluster import JOBS, PODS, SERVICES, Cache
from trainingjob.core import PodView
from trainingjob.core.names import LABEL_ATTEMPT, LABEL_INDEX, LABEL_JOB, LABEL_ROLE, LABEL_STAGE

KEY = ("team", "digits")


def job(version: int, uid: str = "uid-1", **more: Any) -> dict[str, Any]:
    made = manifest() | more
    made["metadata"] = made["metadata"] | {
        "uid": uid,
        "resourceVersion": str(version),
        "managedFields": [{"manager": "kubectl"}],
    }
    return made


def owned_by(kind: str, name: str, uid: str, **more: Any) -> list[dict[str, Any]]:
    version = "trainingjob.dev/v1alpha1" if kind == "TrainingJob" else "v1"
    ref = {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}
    return [ref | more]


def pod(version: int, name: str = "digits-train-1-0", owner: str = "uid-1", **status: Any) -> Any:
    _, stage, attempt, index = name.split("-")
    labels = {LABEL_JOB: "digits", LABEL_STAGE: stage, LABEL_ATTEMPT: attempt, LABEL_INDEX: index}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels,
            "ownerReferences": owned_by("TrainingJob", "digits", owner),
        },
        "status": status,
    }


def executor(version: int, name: str, driver: str, uid: str = "") -> dict[str, Any]:
    made: dict[str, Any] = pod(version, driver)
    meta = made["metadata"]
    meta |= {"name": name, "uid": f"uid-{name}"}
    del meta["labels"][LABEL_INDEX]
    meta["labels"][LABEL_ROLE] = "executor"
    meta["ownerReferences"] = owned_by("Pod", driver, uid or f"uid-{driver}")
    return made


def service(version: int) -> dict[str, Any]:
    made: dict[str, Any] = pod(version)
    made["metadata"] |= {"name": "digits-train", "uid": "uid-service"}
    return made


async def _pages(*pages: tuple[list[dict[str, Any]], int]) -> AsyncIterator[Any]:
    for page in pages:
        yield page


def replace(cache: Cache, resource: Any, items: list[Any], version: int, scope: Any = None) -> Any:
    half = len(items) // 2
    pages = _pages((items[:half], version), (items[half:], version))
    return asyncio.run(cache.replace(resource, scope, pages))


def pods(cache: Cache) -> tuple[PodView, ...]:
    return cache.pods(KEY, "uid-1")


def phases(cache: Cache) -> list[str]:
    return sorted(view.phase for view in pods(cache))


def test_the_order_in_which_versions_come_does_not_matter() -> None:
    versions = [
        pod(10, phase="Pending"),
        pod(11, phase="Running"),
        pod(12, phase="Succeeded"),
    ]
    for order in itertools.permutations(versions):
        cache = Cache()
        for version in order:
            cache.apply(PODS, version)
        assert phases(cache) == ["Succeeded"]


def test_what_is_no_news_changes_nothing() -> None:
    cache = Cache()
    assert cache.apply(JOBS, job(5)) == KEY
    assert cache.apply(PODS, pod(6)) == KEY

    assert cache.apply(JOBS, job(5)) is None
    assert cache.apply(JOBS, job(4)) is None
    assert cache.apply(PODS, pod(6, phase="Failed")) is None
    assert phases(cache) == ["Pending"]


LABELS = pod(1)["metadata"]["labels"]
OURS = owned_by("TrainingJob", "digits", "uid-1")[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ownerReferences": []}, id="a pod that nobody owns"),
        pytest.param(
            {"ownerReferences": [OURS | {"controller": False}]}, id="a pod owned, not controlled"
        ),
        pytest.param({"ownerReferences": owned_by("Job", "x", "u")}, id="a pod of a Job"),
        pytest.param(
            {"ownerReferences": [OURS | {"apiVersion": "evil.dev/v1alpha1"}]},
            id="a pod of another API group's TrainingJob",
        ),
        pytest.param(
            {"ownerReferences": [OURS | {"apiVersion": "v1"}]}, id="a pod of a kind of no group"
        ),
        pytest.param(
            {"ownerReferences": [OURS | {"name": "other"}]}, id="a pod of a job of another name"
        ),
        pytest.param({"namespace": "elsewhere"}, id="a pod of another namespace"),
        pytest.param({"name": "forged-train"}, id="a pod of another name"),
        pytest.param({"name": "digits-publish-1-0"}, id="a pod of no stage"),
        pytest.param({"name": "digits-train-0-0"}, id="a pod of attempt 0"),
        pytest.param({"name": "digits-train-01-0"}, id="a pod whose attempt has a zero before it"),
        pytest.param(
            {"name": f"digits-train-{'9' * 60}-0", "labels": LABELS | {LABEL_ATTEMPT: "9" * 60}},
            id="a pod whose attempt has 60 digits",
        ),
    ],
)
def test_other_peoples_pods_are_not_ours(change: dict[str, Any]) -> None:
    cache, strange = Cache(), pod(6)
    strange["metadata"] |= change

    assert cache.apply(PODS, strange) in (None, ("elsewhere", "digits"))
    assert pods(cache) == ()


@pytest.mark.parametrize(
    "labels",
    [
        {},
        LABELS | {LABEL_ATTEMPT: "x"},
        LABELS | {LABEL_ATTEMPT: "7"},
        LABELS | {LABEL_INDEX: "1"},
        LABELS | {LABEL_JOB: "other"},
    ],
)
def test_who_owns_a_pod_and_its_name_say_what_it_is(labels: dict[str, str]) -> None:
    """Also when we see it for the first time, as after a start; whether we have made it is for
    `ownership.counts` to say."""
    cache, found = Cache(), pod(6)
    found["metadata"]["labels"] = labels
    cache.apply(PODS, found)
    (view,) = pods(cache)
    assert (view.stage, view.attempt, view.index) == ("train", 1, 0)
    unwatched = ["digits-train-1-0"] if LABEL_JOB not in labels else []
    assert cache.unwatched(KEY, "uid-1") == unwatched


def test_a_pod_that_cleans_up_is_known_as_one() -> None:
    cache, cleaner = Cache(), pod(6)
    cleaner["metadata"]["labels"] |= {LABEL_ROLE: "cleaner"}
    cache.apply(PODS, cleaner)
    assert [view.cleans for view in pods(cache)] == [True]


def test_a_pod_that_left_the_watch_with_its_label_is_kept_as_long_as_it_is_found() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))
    bare = pod(7, phase="Running")
    bare["metadata"]["labels"] = {}
    # What the API server says to a watch of the label: that it was deleted.
    assert cache.remove(PODS, pod(7)) == KEY
    assert pods(cache) == ()
    assert cache.apply(PODS, bare) is None, "a late answer brings nothing back"
    assert cache.found(PODS, bare) == KEY
    assert replace(cache, PODS, [], 9) == set(), "no list has it either"
    assert phases(cache) == ["Running"]
    assert cache.unwatched(KEY, "uid-1") == ["digits-train-1-0"]
    # The label is back.
    cache.apply(PODS, pod(10, phase="Running"))
    assert cache.unwatched(KEY, "uid-1") == []
    assert replace(cache, PODS, [], 11) == {KEY}
    # It is gone in the end.
    cache.found(PODS, bare | {"metadata": bare["metadata"] | {"resourceVersion": "12"}})
    assert cache.unwatched(KEY, "uid-1")
    cache.lost(PODS, ("team", "digits-train-1-0"))
    assert pods(cache) == ()


def test_labels_that_are_changed_later_take_no_pod_from_its_job() -> None:
    """Its name says what it is; and one that is not the job's any more is not."""
    cache = Cache()
    cache.apply(PODS, pod(6, phase="Running"))
    changed = pod(7, phase="Succeeded")
    changed["metadata"]["labels"] = {
        LABEL_JOB: "digits",
        LABEL_ATTEMPT: "9",
        LABEL_ROLE: "executor",
    }
    assert cache.apply(PODS, changed) == KEY
    (view,) = pods(cache)
    assert (view.phase, view.stage, view.attempt, view.index) == ("Succeeded", "train", 1, 0)

    orphan = pod(8, phase="Succeeded")
    orphan["metadata"]["ownerReferences"] = []
    assert cache.apply(PODS, orphan) == KEY
    assert pods(cache) == ()
    assert cache._by_owner == {}


def test_a_pod_of_an_earlier_job_of_that_name_is_not_this_jobs() -> None:
    cache = Cache()
    cache.apply(JOBS, job(9, uid="uid-2"))
    cache.apply(PODS, pod(6, owner="uid-1"))

    assert cache.pods(KEY, "uid-2") == ()


def test_pods_and_other_children_are_told_apart() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))
    cache.apply(SERVICES, service(7))

    assert [view.name for view in pods(cache)] == ["digits-train-1-0"]
    (found,) = cache.children(KEY, "uid-1")
    assert (found.kind, found.name) == ("Service", "digits-train")


def test_executors_are_those_that_the_driver_of_the_job_owns() -> None:
    """Whichever is seen first."""
    driver = pod(6, "digits-preprocess-1-0")
    ours = executor(7, "digits-1-exec-1", "digits-preprocess-1-0")
    strange = executor(8, "digits-1-exec-2", "digits-preprocess-1-0", uid="uid-of-nobody")
    trainers = executor(9, "digits-1-exec-3", "digits-train-1-0")
    elsewhere = executor(10, "digits-1-exec-4", "digits-preprocess-1-0")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    later = executor(11, "digits-1-exec-5", "digits-preprocess-1-0")
    later["metadata"]["labels"][LABEL_ATTEMPT] = "2"
    every = [ours, strange, trainers, elsewhere, later, driver, pod(5)]
    for order in itertools.permutations(every):
        cache = Cache()
        for made in order:
            cache.apply(PODS, made)

        found = cache.executors(KEY, pods(cache))
        assert [view.name for view in found] == ["digits-1-exec-1"]
        assert (found[0].stage, found[0].attempt, found[0].index) == ("preprocess", 1, -1)
        assert {view.name for view in pods(cache)} == {"digits-preprocess-1-0", "digits-train-1-0"}


def test_services_of_others_are_not_ours() -> None:
    for change in (
        {"ownerReferences": [OURS | {"apiVersion": "evil.dev/v1"}]},
        {"ownerReferences": [OURS | {"name": "other"}]},
        {"namespace": "elsewhere"},
        {"name": "digits-train-2"},
    ):
        cache, strange = Cache(), service(7)
        strange["metadata"] |= change
        cache.apply(SERVICES, strange)
        assert cache.children(KEY, "uid-1") == (), change


def test_a_late_answer_does_not_bring_a_deleted_pod_back() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))
    assert cache.remove(PODS, pod(8)) == KEY

    assert cache.apply(PODS, pod(7, phase="Running")) is None
    assert pods(cache) == ()


def test_a_service_whose_label_was_taken_off_and_put_back_is_known_once_it_is_read() -> None:
    """The watch told that it was gone, as it does of what is deleted."""
    cache = Cache()
    cache.apply(SERVICES, service(6))
    cache.remove(SERVICES, service(7))
    cache.answered(SERVICES, service(8))
    assert cache.children(KEY, "uid-1") == ()
    going = service(8)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.answered(SERVICES, going, lives=True)
    assert cache.children(KEY, "uid-1") == ()
    cache.answered(SERVICES, service(8), lives=True)
    assert [child.name for child in cache.children(KEY, "uid-1")] == ["digits-train"]


def test_the_deletion_of_an_earlier_pod_of_that_name_does_not_hit_the_present_one() -> None:
    cache, earlier = Cache(), pod(6)
    cache.apply(PODS, pod(9))
    earlier["metadata"]["uid"] = "uid-earlier"

    assert cache.remove(PODS, earlier) is None
    assert len(pods(cache)) == 1


def test_a_list_removes_what_is_gone_and_keeps_what_is_newer() -> None:
    cache = Cache()
    for version, name in (
        (5, "digits-train-1-0"),
        (6, "digits-train-1-1"),
        (30, "digits-train-1-2"),
    ):
        cache.apply(PODS, pod(version, name, phase="Running"))

    changed = replace(cache, PODS, [pod(6, "digits-train-1-1"), pod(7, "digits-train-1-3")], 20)

    assert changed == {KEY}
    names = sorted(view.name[-1] for view in pods(cache))
    assert names == ["1", "2", "3"]


def test_a_list_that_tells_nothing_new_changes_nothing() -> None:
    cache = Cache()
    cache.apply(JOBS, job(5))
    cache.apply(PODS, pod(6))

    assert replace(cache, JOBS, [job(5)], 20) == set()
    assert replace(cache, PODS, [pod(6)], 20) == set()


def test_a_list_of_one_namespace_leaves_the_others() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))

    assert replace(cache, PODS, [], 20, scope="elsewhere") == set()
    assert replace(cache, PODS, [], 20, scope="team") == {KEY}


def test_a_job_is_kept_whole_but_for_who_set_which_field() -> None:
    cache = Cache()
    cache.apply(JOBS, job(5))
    stored = cache.job(KEY)

    assert stored is not None
    assert b"managedFields" not in stored.data
    assert b'"resourceVersion":"5"' in stored.data


def test_a_job_has_begun_when_it_has_a_status_or_a_child() -> None:
    cache = Cache()
    cache.apply(JOBS, job(5))
    assert not cache.begun(KEY)

    cache.apply(PODS, pod(6))
    assert cache.begun(KEY)
    cache.remove(PODS, pod(6))
    assert not cache.begun(KEY)

    cache.apply(JOBS, job(7, status={"phase": "Training", "observedGeneration": 1}))
    assert cache.begun(KEY)
    assert cache.phases() == {"Training": 1}


_TIME = {"completionTime": "2026-01-01T00:00:09Z"}
_DONE = [{"name": n, "phase": "Succeeded", **_TIME} for n in ("preprocess", "train", "evaluate")]
ENDED = {"stages": _DONE, **_TIME}


def over(version: int, uid: str = "uid-1", **more: Any) -> dict[str, Any]:
    made = job(version, uid, **more)
    made["status"] = {"phase": "Succeeded", "observedGeneration": 1, **ENDED}
    made["spec"] = made["spec"] | {"policy": {}}
    return made


def test_of_a_job_at_rest_little_is_kept() -> None:
    cache = Cache()
    for number in range(1000):
        made = over(number + 1, uid=f"uid-{number}")
        made["metadata"]["name"] = f"job-{number}"
        made["spec"]["preprocess"]["steps"] = ["x" * 100_000]
        cache.apply(JOBS, made)

    assert cache.phases() == {"Succeeded": 1000}
    for key in cache.jobs():
        stored = cache.job(key)
        assert stored is not None
        assert (stored.data, stored.looked_at) == (None, True)
        assert cache.begun(key)


def test_each_later_version_of_it_is_looked_at_once() -> None:
    cache = Cache()
    cache.apply(JOBS, job(5))
    assert cache.apply(JOBS, over(6)) == KEY
    stored = cache.job(KEY)
    assert stored is not None
    assert stored.data is not None
    assert not stored.looked_at

    cache.let_go(KEY)
    assert cache.job(KEY) == stored, "nobody has looked at it"
    cache.let_go(KEY, 5)
    assert cache.job(KEY) == stored, "nobody has looked at this version"
    cache.let_go(KEY, 6)
    stored = cache.job(KEY)
    assert stored is not None
    assert (stored.data, stored.looked_at) == (None, True)


def test_a_job_that_was_read_again_is_there_until_it_is_let_go() -> None:
    cache = Cache()
    cache.apply(JOBS, over(5))
    cache.hold(over(5))
    stored = cache.job(KEY)
    assert stored is not None
    assert stored.data is not None
    cache.hold(over(4))
    assert cache.job(KEY) == stored, "what is older is no news"
    cache.let_go(KEY, 5)
    assert cache.job(KEY).data is None  # type: ignore[union-attr]
    cache.forget(JOBS, KEY, "uid-1")
    cache.hold(over(6))
    assert cache.job(KEY) is None, "nor is what is gone"


def test_jobs_under_way_are_kept_as_far_as_there_is_room() -> None:
    cache, most = Cache(), 16 * 2**20
    for number in range(100):
        made = job(number + 1, uid=f"uid-{number}")
        made["metadata"]["name"] = f"job-{number}"
        made["spec"]["preprocess"]["steps"] = ["x" * 2**20]
        cache.apply(JOBS, made)

    kept = [cache.job(key).data for key in cache.jobs()]  # type: ignore[union-attr]
    assert 0.9 * most < sum(len(data) for data in kept if data) <= most + 2**21
    cache.hold(made)
    assert cache.job(("team", "job-99")).data is not None  # type: ignore[union-attr]
    cache.let_go(("team", "job-99"))
    assert cache.job(("team", "job-99")).data is None  # type: ignore[union-attr]
    for number, key in enumerate(cache.jobs()):
        cache.forget(JOBS, key, f"uid-{number}")
    assert cache._kept == 0


def test_annotations_of_others_are_not_kept() -> None:
    cache, made = Cache(), job(5)
    mine = {"trainingjob.dev/rerun": "train:1"}
    made["metadata"]["annotations"] = mine | {"kubectl.kubernetes.io/last-applied": "x" * 1000}
    cache.apply(JOBS, made)
    stored = cache.job(KEY)
    assert stored is not None
    assert stored.data is not None
    assert json.loads(stored.data)["metadata"]["annotations"] == mine


def test_nothing_is_left_of_what_is_gone() -> None:
    cache = Cache()
    for number in range(100):
        name = f"digits-train-1-{number}"
        cache.apply(PODS, pod(number + 1, name))
        cache.remove(PODS, pod(number + 1, name))

    assert cache._by_owner == {}
    assert cache._children == {PODS: {}}

    for number in range(100):
        cache.apply(JOBS, job(number + 1, f"uid-{number}"))
        cache.trust(f"uid-{number}", pods(cache) or [PodView("p", "u", "train", 1, 0, "Running")])
    cache.remove(JOBS, job(101, "uid-99"))
    assert cache._trusted == {}


def test_a_pod_reports_for_a_job_that_is_there_and_its_own() -> None:
    cache = Cache()
    cache.apply(PODS, pod(1))
    name = ("team", "digits-train-1-0")
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "its job is not known"
    cache.apply(JOBS, job(2))
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "nobody says that it counts"
    cache.trust("uid-1", pods(cache))
    found = cache.reporter(name, "uid-digits-train-1-0")
    assert found is not None
    assert found[:2] == (KEY, "uid-1")
    assert cache.reporter(name, "uid-of-another-pod") is None
    cache.apply(PODS, pod(3, phase="Succeeded"))
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "it is over, whoever has its token"
    cache.apply(PODS, pod(4, phase="Running"))
    cache.forget(JOBS, KEY, "uid-1")
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "its job is gone, and it goes"
    cache.apply(JOBS, job(5, uid="uid-2"))
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "another job has the name"
