"""When a job has its next turn, by what its last one came to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainingjob.controller.operator import Operator
from trainingjob.controller.queue import WorkQueue
from trainingjob.controller.reconcile import Outcome

KEY = ("team", "digits")


@pytest.mark.parametrize(
    ("after", "soonest", "latest"),
    # The sixth retry comes after 1.6 to 3.2 s.
    [(None, 1.6, 3.2), (0.0, 1.6, 3.2), (0.5, 0.4, 0.5), (60.0, 1.6, 3.2)],
)
def test_what_is_due_already_does_not_come_sooner_than_what_is_tried_again(
    after: float | None, soonest: float, latest: float
) -> None:
    async def turns() -> float:
        queue: WorkQueue[tuple[str, str]] = WorkQueue()
        for _ in range(5):
            queue.retry(KEY)
        queue.add(KEY)
        assert await queue.get() == KEY
        queue.done(KEY)

        async def reconcile(key: object) -> Outcome:
            return Outcome(retry=True, after=after)

        metrics = SimpleNamespace(reconciled=lambda *told: None)
        operator: Any = SimpleNamespace(_queue=queue, _metrics=metrics)
        await Operator._reconcile(operator, cast("Any", SimpleNamespace(reconcile=reconcile)), KEY)
        loop = asyncio.get_running_loop()
        return queue._timers[KEY].when() - loop.time()

    assert soonest - 0.3 <= asyncio.run(turns()) <= latest
