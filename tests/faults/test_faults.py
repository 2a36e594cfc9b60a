"""A sample of `make faults`: each kind of fault on each kind of write, on the real API server."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

import pytest

from tests import tables
from tests.cluster.controlplane import ControlPlane

from . import cases, oracle, scoreboard
from .runs import Result, Runs

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def results() -> Sequence[Result]:
    async def run() -> list[Result]:
        async with Runs(plane) as runs:
            plain = await runs.undisturbed()
            return [*plain.values(), *await runs.all(cases.sample(plain))]

    with ControlPlane(crd=True, fast=True) as plane:
        return asyncio.run(run())


@pytest.mark.parametrize("held", oracle.PROPERTIES, ids=lambda held: held.__name__)
def test_whatever_goes_wrong_the_job(results: Sequence[Result], held: oracle.Property) -> None:
    words = held.__name__.replace("_", " ")
    found = [
        f"{result.case.name}: {wrong}"
        for result in results
        for wrong in result.wrong
        if wrong.startswith(f"{words}: ")
    ]
    assert not found, "\n".join(found)


def test_the_faults_come_to_pass_and_are_soon_over(results: Sequence[Result]) -> None:
    struck = [result for result in results if result.case.fault]
    assert sum(result.reached for result in struck) >= 0.9 * len(struck)
    took = statistics.median(result.longer for result in struck)
    tables.add("faults", f"{len(struck)} cases", scoreboard.lines(struck, 0.0)[2:])
    # One at a time it is a second; here the machine is busy with eight.
    assert took < 5


def test_the_diagram_is_there() -> None:
    assert oracle.diagram()["Suspended"] >= {"Training", "Failed"}
