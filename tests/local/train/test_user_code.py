"""The user's own programs in a gang: which of them failed, and that no other is left waiting."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainingjob.api.payload import StageError

from .gang import Job, fail, pods, succeed

BEGIN = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
one = torch.ones(1)
dist.all_reduce(one)
assert one.item() == dist.get_world_size()
"""
# Waits for the others in a collective, as training does.
STEPS = """
while True:
    dist.all_reduce(torch.ones(1))
"""
END = """
if rank == 0:
    open(os.environ["TRAININGJOB_OUTPUT_DIR"] + "/weights", "w").write("0")
dist.barrier()
dist.destroy_process_group()
"""


def script(folder: Path, source: str, *, torchrun: bool, processes: int = 1) -> Job:
    """Two nodes that run it."""
    spec = {"nodes": 2, "procsPerNode": processes, "script": {"inline": BEGIN + source}}
    if torchrun:
        spec["command"] = ["torchrun", "train.py"]
    return Job(folder, spec)


def failures(job: Job) -> list[StageError]:
    """What each node tells of a gang that must fail."""
    with pods(job) as running:
        reports = running.wait()
        assert all(report.error for report in reports), running.logs()
        return [report.error for report in reports if report.error]


@pytest.mark.parametrize("torchrun", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_gang_that_ends_well(tmp_path: Path, torchrun: bool, processes: int) -> None:
    result = succeed(script(tmp_path, END, torchrun=torchrun, processes=processes))
    assert result.outputs is not None and result.outputs.digest
    assert (tmp_path / "model/weights").read_text() == "0"


@pytest.mark.parametrize("torchrun", [False, True])
@pytest.mark.parametrize("failing", [0, 1])
def test_one_node_fails_and_the_other_lost_its_peer(
    tmp_path: Path, torchrun: bool, failing: int
) -> None:
    source = f"if rank == {failing}:\n    raise ValueError('no such luck')\n" + STEPS
    told = failures(script(tmp_path, source, torchrun=torchrun))
    assert told[failing].reason == "ScriptFailed", told
    assert told[1 - failing].reason == "PeerLost", told


def test_an_exit_code_is_told_as_it_is(tmp_path: Path) -> None:
    told = failures(script(tmp_path, "if rank == 1:\n    os._exit(7)\n" + STEPS, torchrun=False))
    assert (told[1].reason, told[1].exit_code) == ("ScriptFailed", 7), told


def test_a_rank_that_is_killed_is_no_fault_of_the_script(tmp_path: Path) -> None:
    source = "if rank == 1:\n    os.kill(os.getpid(), 9)\n" + STEPS
    told = failures(script(tmp_path, source, torchrun=False))
    assert told[1].reason == "ProcessKilled", told


def test_a_program_that_is_no_script_of_ours(tmp_path: Path) -> None:
    job = Job(tmp_path, {"command": ["sh", "-c", 'echo hello > "$TRAININGJOB_OUTPUT_DIR/weights"']})
    assert succeed(job).outputs is not None


def test_a_program_that_leaves_nothing(tmp_path: Path) -> None:
    told = fail(Job(tmp_path, {"command": [sys.executable, "-c", "print('hello')"]}))
    assert told.reason == "ModelMissing", told
    assert f"left nothing in {tmp_path / 'model'}" in told.message
