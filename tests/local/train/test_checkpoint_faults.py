"""A gang whose ranks die, or are asked to stop, in the middle of a checkpoint: it goes on from the
one before, with any number of ranks, and learns what it would have learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .language import make_dataset
from .test_language_gangs import history, run_gangs

# Checkpoints are those of steps 2, 4, 6, …; it happens in that of step 4.
STEP = 4


def killed(point: str, *ranks: int) -> list[tuple[int, str, int, str]]:
    return [(rank, point, STEP, "kill") for rank in ranks]


# A signal is seen in the next step, or in the one after it.
SOON = {5, 6, 7}
# The faults of each gang in turn, the steps from which the next ones may go on, and how many ranks
# the last one has.
Case = tuple[list[list[tuple[int, str, int, str]]], list[set[int]], int]
SHORT: dict[str, Case] = {
    "rank 1 dies with half of its part": ([killed("torn", 1)], [{2}], 1),
    "SIGTERM comes while rank 1 still writes": (
        [[(0, "part", STEP, "stop"), (1, "part", STEP, "wait")]],
        [SOON],
        2,
    ),
}
LONG: dict[str, Case] = {
    "rank 1 dies with half of its part, and again": ([killed("torn", 1)] * 2, [{2}, {2}], 1),
    "rank 0 dies when all parts are written": ([killed("state", 0)], [{2}], 3),
    "rank 0 dies before its part": ([killed("part", 0)] * 2, [{2}, {2}], 2),
    "both die before their parts": ([killed("part", 0, 1)] * 2, [{2}, {2}], 3),
    "both die with half of their parts": ([killed("torn", 0, 1)] * 2, [{2}, {2}], 1),
    "rank 0 dies with its part written": ([killed("written", 0)] * 2, [{2}, {2}], 2),
    "rank 1 dies with its part written": ([killed("written", 1)] * 2, [{2}, {2}], 3),
    "rank 1 dies once rank 0 has written": (
        [[(1, "part", STEP, "wait"), (1, "torn", STEP, "kill")]],
        [{2}],
        2,
    ),
    "rank 0 dies once it is published": ([killed("published", 0)], [{4}], 1),
    "rank 0 dies while an old one is removed": ([[(0, "removing", 2, "kill")]], [{6}], 3),
    "SIGTERM comes before the state is written": ([[(0, "state", STEP, "stop")]], [SOON], 2),
    "SIGTERM, and then a rank dies": (
        [[(1, "written", STEP, "stop")], [(0, "torn", 8, "kill")]],
        [SOON, {6, 7}],
        1,
    ),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("language"))


@pytest.mark.parametrize(
    "cases", [SHORT, pytest.param(LONG, marks=pytest.mark.nightly)], ids=["short", "long"]
)
def test_what_happens_in_a_checkpoint_costs_the_steps_since_the_one_before(
    tmp_path: Path, dataset: Path, cases: dict[str, Case]
) -> None:
    often: dict[str, Any] = {"train": {"checkpoint": {"everySteps": 2, "keep": 2}}}
    scenarios: list[dict[str, Any]] = [{"name": "undisturbed", "world": 2, **often}]
    for name, (gangs, _, world) in cases.items():
        one = {"name": name.replace(" ", "-"), **often}
        scenarios += [{**one, "world": 2, "faults": faults} for faults in gangs]
        scenarios.append({**one, "world": world, "faults": []})
    folders = run_gangs(tmp_path, dataset, scenarios, 60 * len(scenarios))
    expected = history(folders["undisturbed"])
    for name, (gangs, steps, world) in cases.items():
        folder = folders[name.replace(" ", "-")]
        for rank, point, *_ in {fault for faults in gangs for fault in faults}:
            assert (folder / f"hit-{rank}-{point}").exists(), (name, "did not happen")
        resumed = [*map(int, (folder / "resumed").read_text().split())]
        assert len(resumed) == 1 + len(steps), name
        for found, may in zip(resumed, [{0}, *steps], strict=True):
            assert found in may, (name, resumed)
        for row, other in zip(expected, history(folder), strict=True):
            assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-5), name
        for place in (folder / "checkpoints").glob("step-*"):
            state = json.loads((place / "state.json").read_text())
            assert len(state["parts"]) == len([*place.glob("part-*")]) == world, name
