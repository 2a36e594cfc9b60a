"""Which key is looked at next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from trainingjob.controller.queue import WorkQueue


async def take(queue: WorkQueue[str], count: int) -> list[str]:
    return [await asyncio.wait_for(queue.get(), 5) for _ in range(count)]


async def test_a_key_added_often_comes_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    queue.add("b")

    assert queue.depth == 2
    assert await take(queue, 2) == ["a", "b"]
    assert queue.depth == 0


async def test_a_key_is_not_handed_out_twice_at_a_time_and_comes_again() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await take(queue, 1)
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert await take(queue, 1) == ["b"]
    queue.done("a")
    assert await take(queue, 1) == ["a"]
    queue.done("a")
    assert queue.depth == 0


async def test_what_has_begun_comes_first() -> None:
    queue: WorkQueue[str] = WorkQueue(begun=lambda key: key.startswith("begun"))
    for key in ("new 1", "begun 1", "new 2", "begun 2"):
        queue.add(key)

    assert await take(queue, 4) == ["begun 1", "begun 2", "new 1", "new 2"]


async def test_a_new_job_is_served_while_begun_ones_come_as_fast_as_they_are_served() -> None:
    queue: WorkQueue[str] = WorkQueue(begun=lambda key: key.startswith("begun"))
    for number in range(8):
        queue.add(f"begun {number}")
    queue.add("new")
    served: list[str] = []
    for _ in range(5000):
        (key,) = await take(queue, 1)
        served.append(key)
        queue.done(key)
        if key != "new":
            queue.add(key)

    assert served.index("new") < 4
    assert len(set(served)) == 9


SLOW = [("large", f"{n}") for n in range(30)]


async def test_the_last_workers_are_for_namespaces_that_have_none() -> None:
    queue: WorkQueue[tuple[str, str]] = WorkQueue(shared=3)
    for key in SLOW:
        queue.add(key)
    busy = [await asyncio.wait_for(queue.get(), 5) for _ in range(3)]
    spare = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(worker.done() for worker in spare), "no more than its share"

    for key in (("other", "a"), ("other", "b"), ("third", "a")):
        queue.add(key)
    got = {await asyncio.wait_for(worker, 5) for worker in spare}
    assert got == {("other", "a"), ("third", "a")}, "one of each that had none"

    # Three at a time are there again once three have ended.
    for key in [*busy, *got]:
        queue.done(key)
    assert len([await asyncio.wait_for(queue.get(), 5) for _ in range(3)]) == 3


async def test_who_waits_for_its_share_is_woken_by_an_end() -> None:
    queue: WorkQueue[tuple[str, str]] = WorkQueue(shared=1)
    queue.add(("large", "a"))
    queue.add(("large", "b"))
    first = await asyncio.wait_for(queue.get(), 5)
    spare = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    queue.done(first)
    assert await asyncio.wait_for(spare, 5) == ("large", "b")


@pytest.mark.parametrize("begun", [True, False], ids=["jobs that have begun", "new jobs"])
async def test_namespaces_take_turns(begun: bool) -> None:
    queue: WorkQueue[tuple[str, str]] = WorkQueue(begun=lambda key: begun)
    for number in range(1000):
        queue.add(("crowded", f"job {number}"))
    queue.add(("small", "first"))
    queue.add(("small", "second"))
    queue.add(("other", "job"))
    turns = [await queue.get() for _ in range(6)]

    assert turns == [
        ("crowded", "job 0"),
        ("small", "first"),
        ("other", "job"),
        ("crowded", "job 1"),
        ("small", "second"),
        ("crowded", "job 2"),
    ]
    assert queue.depth == 1003 - 6


async def test_three_turns_in_four_are_for_jobs_that_have_begun() -> None:
    queue: WorkQueue[str] = WorkQueue(begun=lambda key: key.startswith("begun"))
    for number in range(20):
        queue.add(f"begun {number}")
        queue.add(f"new {number}")
    turns = [key.partition(" ")[0] for key in await take(queue, 16)]

    assert turns == ["begun", "begun", "begun", "new"] * 4


async def test_a_key_comes_after_its_time_and_a_sooner_time_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)

    assert await take(queue, 1) == ["a"]


async def test_an_event_comes_before_the_time_and_ends_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.02)
    queue.add("a")
    await take(queue, 1)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.1)


async def test_failed_keys_come_back_later_and_later_up_to_a_minute() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waits = [queue.retry("a") for _ in range(20)]

    for failures, wait in enumerate(waits):
        longest = min(60.0, 0.1 * 2**failures)
        assert longest / 2 <= wait <= longest
    queue.succeeded("a")
    assert queue.retry("a") <= 0.1


async def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    queue: WorkQueue[str] = WorkQueue()

    assert queue.retry("a", at_least=7) == 7


async def test_the_age_of_the_oldest_is_told() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.oldest_seconds == 0
    queue.add("a")
    await asyncio.sleep(0.02)
    queue.add("b")
    assert queue.oldest_seconds >= 0.02


async def test_many_workers_see_every_key_and_never_one_at_the_same_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    keys = [f"job {number}" for number in range(20)]
    busy: set[str] = set()
    seen: dict[str, int] = dict.fromkeys(keys, 0)

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            seen[key] += 1
            busy.discard(key)
            queue.done(key)

    async def feed(some: Iterable[str]) -> None:
        for key in some:
            queue.add(key)
            await asyncio.sleep(0)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    await asyncio.gather(*(feed(keys) for _ in range(10)))
    while queue.depth or busy:
        await asyncio.sleep(0)
    for worker in workers:
        worker.cancel()

    assert all(count >= 1 for count in seen.values())


async def test_what_is_to_have_its_turn_does_not_come_once_more_after_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add_after("a", 0)
    assert not queue._timers
    await take(queue, 1)
    queue.add("a")
    queue.add_after("a", 0)
    assert not queue._timers
