"""Ranks of a stage of ours: started on a node, and what came of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang import ranks
from trainingjob.runtime.gang.node import Node

# Without our package, which takes half a second to import.
RANK = """
import json, os, sys
rank, folder = os.environ["RANK"], os.environ["TRAININGJOB_REPORTS_DIR"]
told = {{"result": {{"outputs": {{"uri": os.environ["MALLOC_ARENA_MAX"] + "/" + rank}}}}}}
if {fails} == rank:
    told = {{"error": {{"reason": "DiskFull", "message": "no space", "rank": int(rank)}}}}
with open(f"{{folder}}/rank-{{rank}}.json", "w") as file:
    json.dump(told, file)
sys.exit({fails} == rank)
"""


def ran(folder: Path, environ: dict[str, str], *, fails: str = "", index: int = 0) -> str | None:
    environ = {"NODE_RANK": str(index), "PATH": "/bin", **environ}
    node = Node.from_env(2, 2, environ)
    result = ranks.run(node, [sys.executable, "-c", RANK.format(fails=repr(fails))], folder)
    return None if result is None else result.outputs.uri


def test_the_first_node_tells_what_rank_0_does_and_memory_goes_back(tmp_path: Path) -> None:
    assert ran(tmp_path, {}) == "1/0"
    assert ran(tmp_path, {}, index=1) is None


def test_what_the_user_sets_stays(tmp_path: Path) -> None:
    assert ran(tmp_path, {"MALLOC_ARENA_MAX": "7"}) == "7/0"


def test_a_rank_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(StageFailure) as caught:
        ran(tmp_path, {}, fails="3", index=1)
    assert (caught.value.reason, caught.value.rank) == ("DiskFull", 3)
