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


def pod(version: int, name: str = "digits-train-1-0", owner: str = "uid-1", **status: Any) -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {LABEL_JOB: "digits", LABEL_STAGE: "train", LABEL_ATTEMPT: "1"}
            | {LABEL_INDEX: name[-1]},
            "ownerReferences": [
                {"kind": "TrainingJob", "name": "digits", "uid": owner, "controller": True}
            ],
        },
        "status": status,
    }


def service(version: int) -> dict[str, Any]:
    made: dict[str, Any] = pod(version, "digits-train")
    made["metadata"]["uid"] = "uid-service"
    return made


async def _pages(*pages: tuple[list[dict[str, Any]], int]) -> AsyncIterator[Any]:
    for page in pages:
        yield page


def replace(cache: Cache, resource: Any, items: list[Any], version: int, scope: Any = None) -> Any:
    half = len(items) // 2
    pages = _pages((items[:half], version), (items[half:], version))
    return asyncio.run(cache.replace(resource, scope, pages))


def phases(cache: Cache) -> list[str]:
    return sorted(view.phase for view in cache.pods("uid-1"))


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


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a pod that nobody owns", {"ownerReferences": []}),
        (
            "a pod owned, not controlled",
            {"ownerReferences": [{"kind": "TrainingJob", "name": "digits", "uid": "uid-1"}]},
        ),
        (
            "a pod of a Job",
            {"ownerReferences": [{"kind": "Job", "name": "x", "uid": "u", "controller": True}]},
        ),
        ("a pod without an attempt", {"labels": {LABEL_JOB: "digits", LABEL_STAGE: "train"}}),
        (
            "a pod whose attempt is no number",
            {"labels": {LABEL_STAGE: "train", LABEL_ATTEMPT: "x", LABEL_INDEX: "0"}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_peoples_pods_are_not_ours(name: str, change: dict[str, Any]) -> None:
    cache, strange = Cache(), pod(6)
    strange["metadata"] |= change

    assert cache.apply(PODS, strange) is None
    assert cache.pods("uid-1") == ()


def test_a_pod_of_an_earlier_job_of_that_name_is_not_this_jobs() -> None:
    cache = Cache()
    cache.apply(JOBS, job(9, uid="uid-2"))
    cache.apply(PODS, pod(6, owner="uid-1"))

    assert cache.pods("uid-2") == ()


def test_pods_and_services_are_told_apart() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))
    cache.apply(SERVICES, service(7))

    assert [view.name for view in cache.pods("uid-1")] == ["digits-train-1-0"]
    assert cache.services("uid-1") == {"digits-train"}


def test_executors_are_those_that_a_pod_of_the_job_owns() -> None:
    """Whichever is seen first."""
    ours, strange = pod(7, "digits-1-exec-1"), pod(8, "other-1-exec-1")
    for made, owner in ((ours, "uid-digits-preprocess-1-0"), (strange, "uid-of-nobody")):
        meta = made["metadata"]
        meta["labels"] = {LABEL_JOB: "digits", LABEL_STAGE: "preprocess", LABEL_ATTEMPT: "1"}
        meta["labels"][LABEL_ROLE] = "executor"
        meta["ownerReferences"] = [{"kind": "Pod", "name": "d", "uid": owner, "controller": True}]
    for order in itertools.permutations([ours, strange, pod(6, "digits-preprocess-1-0")]):
        cache = Cache()
        assert {cache.apply(PODS, made) for made in order} == {KEY}

        assert [view.name for view in cache.executors("uid-1")] == ["digits-1-exec-1"]
        assert [view.name for view in cache.pods("uid-1")] == ["digits-preprocess-1-0"]


def test_a_late_answer_does_not_bring_a_deleted_pod_back() -> None:
    cache = Cache()
    cache.apply(PODS, pod(6))
    assert cache.remove(PODS, pod(8)) == KEY

    assert cache.apply(PODS, pod(7, phase="Running")) is None
    assert cache.pods("uid-1") == ()


def test_the_deletion_of_an_earlier_pod_of_that_name_does_not_hit_the_present_one() -> None:
    cache, earlier = Cache(), pod(6)
    cache.apply(PODS, pod(9))
    earlier["metadata"]["uid"] = "uid-earlier"

    assert cache.remove(PODS, earlier) is None
    assert len(cache.pods("uid-1")) == 1


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
    names = sorted(view.name[-1] for view in cache.pods("uid-1"))
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


def over(version: int, uid: str = "uid-1", **more: Any) -> dict[str, Any]:
    made = job(version, uid, **more)
    made["status"] = {"phase": "Succeeded", "observedGeneration": 1}
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


def test_a_pod_reports_for_a_job_that_is_there_and_its_own() -> None:
    cache = Cache()
    cache.apply(PODS, pod(1))
    name = ("team", "digits-train-1-0")
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "its job is not known"
    cache.apply(JOBS, job(2))
    found = cache.reporter(name, "uid-digits-train-1-0")
    assert found is not None
    assert found[:2] == (KEY, "uid-1")
    assert cache.reporter(name, "uid-of-another-pod") is None
    cache.forget(JOBS, KEY, "uid-1")
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "its job is gone, and it goes"
    cache.apply(JOBS, job(3, uid="uid-2"))
    assert cache.reporter(name, "uid-digits-train-1-0") is None, "another job has the name"
