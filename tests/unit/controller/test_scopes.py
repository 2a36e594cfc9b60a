"""What is served, and what becomes of the rest: the state of a scope, step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest

from trainingjob import cluster
from trainingjob.cluster import PODS
from trainingjob.controller.scopes import Backoff, Feed, Scope, Scopes

PATIENCE, STALE = 30.0, 900.0
WATCHED = cluster.watched(deploys=True)
START = 1000.0  # monotonic seconds begin anywhere

Step = Callable[["World"], None]


class World:
    """Two namespaces and a clock."""

    def __init__(self, *namespaces: str | None) -> None:
        self.scopes = Scopes(namespaces or ("a", "b"), WATCHED, PATIENCE, STALE)
        self.now = START

    def scope(self, namespace: str) -> Scope:
        return self.scopes.of(namespace)

    def served(self) -> str:
        return "".join(sorted(s.namespace or "*" for s in self.scopes if s.served(self.now)))

    def do(self, *steps: Step) -> World:
        for step in steps:
            step(self)
        return self


def kopf_lists(namespace: str) -> Step:
    def step(world: World) -> None:
        scope = world.scope(namespace)
        for feed in scope.feeds.values():
            scope.asked(feed)
            scope.watching(feed, world.now)

    return step


def watched(namespace: str) -> Step:
    """From where it was, without a list."""

    def step(world: World) -> None:
        scope = world.scope(namespace)
        for feed in scope.feeds.values():
            scope.watching(feed, world.now)

    return step


def refused(namespace: str, plural: str = "pods") -> Step:
    def step(world: World) -> None:
        world.scope(namespace).failed(_feed(world, namespace, plural), "forbidden", world.now)

    return step


def answered(namespace: str, plural: str = "pods") -> Step:
    def step(world: World) -> None:
        world.scope(namespace).watching(_feed(world, namespace, plural), world.now)

    return step


def _feed(world: World, namespace: str, plural: str) -> Feed:
    feeds = world.scope(namespace).feeds.values()
    return next(feed for feed in feeds if feed.resource.plural == plural)


def we_list(namespace: str) -> Step:
    """If it is wanted, as the operator does."""

    def step(world: World) -> None:
        scope = world.scope(namespace)
        if scope.wanted.is_set():
            scope.list_begins()
            scope.listed(world.now)

    return step


def our_list_fails(namespace: str) -> Step:
    def step(world: World) -> None:
        world.scope(namespace).list_begins()
        world.scope(namespace).list_failed("no answer")

    return step


def passed(seconds: float) -> Step:
    def step(world: World) -> None:
        world.now += seconds

    return step


def begun(namespace: str) -> tuple[Step, Step]:
    return kopf_lists(namespace), we_list(namespace)


BEGUN = (*begun("a"), *begun("b"))


@pytest.mark.parametrize(
    ("what", "steps", "served"),
    [
        ("nothing at the start", [], ""),
        ("nothing before our own list", [kopf_lists("a"), kopf_lists("b")], ""),
        ("one as soon as it is listed, whatever the other does", [*begun("a")], "a"),
        ("one whose other was refused from the start", [refused("b"), *begun("a")], "a"),
        ("both", [*BEGUN], "ab"),
        ("both for a while after one broke", [*BEGUN, refused("b"), passed(29)], "ab"),
        ("the other alone after that", [*BEGUN, refused("b"), passed(31)], "a"),
        (
            "one resource of it is enough",
            [*BEGUN, refused("b", "services"), passed(31), watched("a")],
            "a",
        ),
        (
            "both when it is back in time, without another list",
            [*BEGUN, refused("b"), passed(29), watched("b"), passed(31)],
            "ab",
        ),
        (
            "not yet one that is back late: what it missed is to be listed first",
            [*BEGUN, refused("b"), passed(31), watched("b")],
            "a",
        ),
        (
            "both when that was listed",
            [*BEGUN, refused("b"), passed(31), watched("b"), we_list("b")],
            "ab",
        ),
        (
            "not one of which a part is still refused",
            [*BEGUN, refused("b"), passed(31), refused("b", "services"), answered("b")],
            "a",
        ),
        ("both while our list fails for a while", [*BEGUN, our_list_fails("b"), passed(60)], "ab"),
        (
            "not one whose list is too old",
            [*BEGUN, passed(600), kopf_lists("a"), we_list("a"), passed(600)],
            "a",
        ),
        (
            "never one whose first list failed",
            [*begun("a"), kopf_lists("b"), our_list_fails("b"), passed(1)],
            "a",
        ),
    ],
)
def test_served_are(what: str, steps: Sequence[Step], served: str) -> None:
    assert World().do(*steps).served() == served


@pytest.mark.parametrize(
    ("what", "steps", "wanted"),
    [
        ("not before everything is watched", [], False),
        ("once everything is", [kopf_lists("a")], True),
        ("not twice", [*begun("a")], False),
        ("when kopf has listed again, as after 410", [*begun("a"), kopf_lists("a")], True),
        ("not when a watch was only begun again", [*begun("a"), watched("a")], False),
        ("not while a part is refused", [kopf_lists("a"), refused("a")], False),
        ("when ours has failed", [*begun("a"), our_list_fails("a")], True),
        ("when it was blind", [*begun("a"), refused("a"), passed(31), watched("a")], True),
    ],
)
def test_our_list_is_wanted(what: str, steps: Sequence[Step], wanted: bool) -> None:
    assert World().do(*steps).scope("a").wanted.is_set() is wanted


def test_a_list_of_kopfs_during_ours_wants_another_one() -> None:
    world = World().do(kopf_lists("a"))
    world.scope("a").list_begins()
    world.do(kopf_lists("a"))
    world.scope("a").listed(world.now)

    assert world.scope("a").wanted.is_set()


@pytest.mark.parametrize(
    ("what", "steps", "ready", "words"),
    [
        ("not at the start", [], False, ["first list of jobs and pods is not complete"]),
        ("not while one is about to be", [*begun("a")], False, ["is not complete yet"]),
        ("with all", [*BEGUN], True, []),
        (
            "with one, and it tells of the other",
            [*begun("a"), refused("b")],
            True,
            ["namespace b: cannot watch pods: forbidden"],
        ),
        (
            "not when nothing is served",
            [*BEGUN, refused("a"), refused("b"), passed(31)],
            False,
            ["namespace a: cannot watch pods: forbidden", "namespace b: cannot watch pods"],
        ),
        ("not with old lists", [*BEGUN, passed(901)], False, ["is 901 s old"]),
    ],
)
def test_it_is_ready(what: str, steps: Sequence[Step], ready: bool, words: list[str]) -> None:
    world = World().do(*steps)
    found, text = world.scopes.ready(world.now)

    assert found is ready
    assert all(word in text for word in words)
    assert bool(text) is bool(words)


def test_jobs_that_wanted_to_be_looked_at_meanwhile_are_when_it_is_back() -> None:
    world = World().do(*BEGUN, refused("b"), passed(31))
    world.scope("b").parked.add(("b", "job"))
    world.do(watched("b"))
    world.scope("b").list_begins()

    assert world.scope("b").listed(world.now) == {("b", "job")}
    assert not world.scope("b").parked


def test_one_line_when_it_breaks_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    steps: list[Step] = [refused("b"), refused("b", "services"), refused("b"), passed(60)]
    world = World().do(*BEGUN)
    caplog.clear()
    world.do(*steps, *steps, our_list_fails("b"), *begun("b"), watched("b"))

    assert [record.getMessage() for record in caplog.records] == [
        "namespace b: cannot watch pods: forbidden",
        "namespace b: served again",
    ]


def test_all_namespaces_are_one() -> None:
    world = World(None).do(*begun("any"))

    assert world.scopes.of("one") is world.scopes.of("another")
    assert list(world.scopes.rows(world.now)) == [("", True)]
    assert set(world.scopes.feeds) == {r.path(None) for r in WATCHED}


def test_pauses_grow_to_a_quarter_of_a_minute_and_begin_anew() -> None:
    backoff = Backoff()
    pauses = [backoff.longer() for _ in range(20)]
    backoff.reset()

    for pause, longest in zip(pauses, [0.5, 1, 2, 4, 8, *[15] * 15], strict=True):
        assert longest / 2 <= pause <= longest
    assert backoff.longer() <= 0.5


def test_a_watch_without_a_sign_of_life_is_found_and_named() -> None:
    world = World()
    path = PODS.path("b")
    for _ in range(18):
        assert world.scopes.silent(10, 180) == ""
        for other, (_, feed) in world.scopes.feeds.items():
            if other != path:
                feed.heard()

    assert world.scopes.silent(10, 180) == (
        "the watch of pods in namespace b is dead: no sign of life for 190 s"
    )


def test_the_age_is_that_of_what_can_be_listed() -> None:
    world = World().do(*BEGUN, passed(10), kopf_lists("a"), we_list("a"), refused("b"), passed(5))

    assert world.scopes.age(world.now) == 5
    assert World().scopes.age(START) == float("inf")
