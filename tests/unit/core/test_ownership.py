"""Which pods count as a job's own, of those that are named and owned as if they were."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import PodView, Settings, ownership, signing
from trainingjob.core.names import Place, place_of

from .world import World, ended, manifest, stamp, succeeded

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
OURS = Settings(signing_key=KEY)
BEGUN = {"startTime": stamp(0)}
SIGNED = {"signer": signing.key_id(KEY)}


def job(stage: str = "train", observed: int = 1, **status: Any) -> TrainingJob:
    """With that status of that stage."""
    stages = [{"name": stage, **status}]
    told = {"observedGeneration": observed, "stages": stages} if observed else {}
    return TrainingJob.from_dict(manifest() | {"status": told})


def pod(name: str, key: bytes = b"") -> PodView:
    place = place_of("digits", name)
    assert place is not None
    marked = signing.signed(job(), {"metadata": {"name": name}}, key)["metadata"]
    return PodView(
        name=name,
        uid="any",
        stage=place.stage,
        attempt=place.attempt,
        index=place.index,
        phase="Running",
        signature=marked.get("annotations", {}).get("trainingjob.dev/signature", ""),
    )


@pytest.mark.parametrize(
    ("what", "seen", "of", "counts"),
    [
        ("ours", pod("digits-train-1-1", KEY), job(), True),
        ("ours, of a gang that was larger", pod("digits-train-1-2", KEY), job(), True),
        ("of an index that there is not", pod("digits-train-1-2"), job(**BEGUN), False),
        ("ours, of an attempt that status lost", pod("digits-train-3-0", KEY), job(), True),
        ("ours, and all of status is lost", pod("digits-train-3-0", KEY), job(observed=0), True),
        ("unsigned, before its turn", pod("digits-evaluate-1-0"), job(), False),
        ("unsigned, before the first status", pod("digits-train-1-0"), job(observed=0), False),
        ("of an operator before us", pod("digits-train-2-0"), job(attempt=2, **BEGUN), True),
        ("of one whose key is lost", pod("digits-train-1-0", OTHER_KEY), job(**BEGUN), True),
        (
            "of one whose key is lost, as status says",
            pod("digits-train-1-0", OTHER_KEY),
            job(signer=signing.key_id(OTHER_KEY), **BEGUN),
            True,
        ),
        ("unsigned among signed ones", pod("digits-train-1-0"), job(**BEGUN, **SIGNED), False),
        ("signed by a stranger", pod("digits-train-1-0", OTHER_KEY), job(**SIGNED), False),
        ("unsigned, of a later attempt", pod("digits-train-2-0"), job(**BEGUN), False),
        (
            "unsigned, in the rerun's way",
            pod("digits-train-2-0"),
            job(attempt=2, firstAttempt=2),
            False,
        ),
        (
            "unsigned, of before the rerun",
            pod("digits-train-1-0"),
            job(attempt=2, firstAttempt=2),
            True,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pod_counts_that_we_have_made(
    what: str, seen: PodView, of: TrainingJob, counts: bool
) -> None:
    assert ownership.counts(of, seen, KEY) is counts


@pytest.mark.parametrize(
    ("what", "seen", "of", "counts"),
    [
        ("of the attempt that status has", pod("digits-train-2-1"), job(attempt=2), True),
        ("of one before", pod("digits-train-1-0"), job(attempt=2), True),
        ("of one that nobody has begun", pod("digits-train-7-0"), job(), False),
        ("of any, when all of status is lost", pod("digits-train-7-0"), job(observed=0), True),
        ("of an index that there is not", pod("digits-train-1-2"), job(), False),
        ("of a stage without status", pod("digits-evaluate-1-0"), job(), True),
        ("of a later attempt of such", pod("digits-evaluate-2-0"), job(), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_key_names_and_attempts_decide(
    what: str, seen: PodView, of: TrainingJob, counts: bool
) -> None:
    assert ownership.counts(of, seen, b"") is counts


def test_a_pod_of_a_stage_that_the_job_has_not_is_not_its() -> None:
    alone = TrainingJob.from_dict(manifest(evaluate=None))
    assert not ownership.counts(alone, pod("digits-evaluate-1-0", KEY), KEY)


def test_a_signature_is_of_one_pod_of_one_job() -> None:
    seen = pod("digits-train-1-0", KEY)
    other = TrainingJob.from_dict(
        manifest() | {"metadata": manifest()["metadata"] | {"uid": "uid-2"}}
    )
    assert ownership.counts(job(observed=0), seen, KEY)
    assert not ownership.counts(other, seen, KEY)


def test_status_says_which_key_signs_once_all_pods_are_signed() -> None:
    """An operator that does not sign has made the first attempt's pods: they go on."""
    w = World()
    w.settle()
    assert "signer" not in w.stage("preprocess")
    w.settings = OURS
    w.finish("preprocess")
    assert "signer" not in w.stage("preprocess")
    assert w.stage("train")["signer"] == signing.key_id(KEY)

    w = World(settings=OURS)
    w.settle()
    assert w.stage("preprocess")["signer"] == signing.key_id(KEY)
    w.settings = Settings()  # no key any more: what it makes is not to be taken for a stranger's
    w.settle()
    assert "signer" not in w.stage("preprocess")


def test_a_later_attempt_of_a_stage_is_signed_though_the_first_was_not() -> None:
    w = World()
    w.settle()
    w.settings, w.seconds = OURS, 1
    ended(w.of("preprocess")[0], 1, code=137)
    w.settle()
    assert (w.stage("preprocess")["attempt"], w.stage("preprocess")["signer"]) == (
        2,
        signing.key_id(KEY),
    )
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage, succeeded)
    assert w.status["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("job", "pod", "place"),
    [
        ("a", "a-train-1-0", Place("train", 1, 0)),
        ("a-train-1", "a-train-1-train-12-999", Place("train", 12, 999)),
        ("a", "a-train-1-train-1-0", None),
        ("a", "b-train-1-0", None),
        ("a", "train-1-0", None),
        ("a", "a-train-0-0", None),
        ("a", "a-train-01-0", None),
        ("a", "a-train-1-00", None),
        ("a", "a-train--1-0", None),
        ("a", "a-train-1_0-0", None),
        ("a", "a-train-\u0661-0", None),
        ("a", "a-train-1000000-0", None),
        ("a", f"a-train-{'9' * 60}-0", None),
        ("a", "a-publish-1-0", None),
        ("a", "a-train-1-0\n", None),
    ],
)
def test_a_name_says_which_pod_it_is(job: str, pod: str, place: Place | None) -> None:
    assert place_of(job, pod) == place


def test_what_an_admission_policy_alters_is_told() -> None:
    name = "digits-train-1-0"
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u", "controller": True}
    told = {"trainingjob.dev/index": "0", "trainingjob.dev/job": "digits", "app": "x"}
    wanted = {"metadata": {"name": name, "namespace": "team", "labels": told}}
    wanted = signing.signed(job(), wanted, KEY)
    assert ownership.changes(wanted, wanted) == []
    made = {
        "metadata": {
            "name": name,
            "namespace": "team",
            "labels": {"trainingjob.dev/index": "7", "app": "y"},
            "annotations": {"injected": "true"},
            "ownerReferences": [ref],
        }
    }
    assert ownership.changes(wanted, made) == [
        "label trainingjob.dev/index changed to '7'",
        "label trainingjob.dev/job removed",
        "annotation trainingjob.dev/signature removed",
        "its owner changed",
    ]
