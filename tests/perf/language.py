"""Language models on gloo ranks: speed beside a bare FSDP2 loop, what a checkpoint costs, and how
memory is divided."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.gpu.language import Run, Size, make_dataset, payload_of, plain_seconds
from trainingjob.api.v1alpha1.train import BuiltInModel
from trainingjob.local.node import free_port
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.gang import ranks
from trainingjob.runtime.gang.collectives import Gang
from trainingjob.runtime.gang.place import Place
from trainingjob.runtime.train.devices import peak_memory

ROUNDS = 3
SPEED = Size(layers=4, hidden=256, heads=4, tokens=2048, length=128, batch=16, steps=15)
# Weights that outweigh what a layer computes.
MEMORY = Size(layers=10, hidden=768, heads=12, tokens=8192, length=32, batch=4, steps=4)
_EVERY_SECONDS = 30
CPU = torch.device("cpu")


def speed(folder: Path, gang: Gang) -> dict[str, float]:
    """Seconds of an epoch, of alternating runs."""
    manifest = DatasetManifest.read(folder / "dataset")
    payload = payload_of(folder, SPEED, cpu=True)
    found: dict[str, list[float]] = {"bare": [], "ours": [], "with a checkpoint": []}
    for number in range(ROUNDS):
        dataset = folder / "dataset"
        place = {"rank": gang.rank, "world": gang.world}
        bare = plain_seconds(dataset, manifest, payload, SPEED, CPU, bf16=False, **place)
        found["bare"].append(bare)
        gang.barrier()
        for name, after in (("ours", None), ("with a checkpoint", 8)):
            mine = {"checkpoints": f"file://{folder}/{number}-{after}"}
            run = Run(payload.model_copy(update=mine), CPU, gang)
            found[name].append(run.seconds(after))
            run.trainer.checkpoints.finish()
    return {name: statistics.median(values) for name, values in found.items()}


def memory(folder: Path, gang: Gang) -> dict[str, float]:
    """The most bytes that training adds to what the process had."""
    payload = payload_of(folder, MEMORY, cpu=True)
    tiny = {"architecture": "llama", "layers": 1, "hidden": 8, "heads": 1}
    model = BuiltInModel.model_validate({"transformer": tiny})
    # What is imported at the first step.
    Run(payload.model_copy(update={"model": model}), CPU, gang).seconds()
    before = peak_memory(CPU)
    run = Run(payload, CPU, gang)
    run.seconds()
    return {"peak": peak_memory(CPU) - before, "weights": run.trainer.parameters}


def gang_of(world: int, folder: Path, what: str) -> dict[str, Any]:
    """What rank 0 found."""
    port, output = free_port(), folder / f"{what}-{world}.json"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.perf.language", what, str(folder), str(output)],
            stdout=subprocess.DEVNULL,
            env=os.environ
            | ranks.MALLOC
            | {
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(world)
    ]
    assert [one.wait() for one in started] == [0] * world
    return json.loads(output.read_text())


def rank() -> None:
    what, folder, output = sys.argv[1:]
    torch.set_num_threads(1)
    # Before memory is looked at.
    importlib.import_module("transformers.models.llama.modeling_llama")
    gang = Gang(Place.from_env(os.environ), CPU)
    if gang.world > 1:
        importlib.import_module("torch.distributed.fsdp")
    found = {"speed": speed, "memory": memory}[what](Path(folder), gang)
    if gang.rank == 0:
        Path(output).write_text(json.dumps(found))
    gang.leave()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "dataset", SPEED)
        found = gang_of(2, folder, "speed")
        tokens = SPEED.batch * SPEED.length * (SPEED.steps - 3)
        bare, ours = (tokens / found[name] for name in ("bare", "ours"))
        print(
            f"language model, 2 processes: built in {ours:.0f} tokens/s, bare FSDP2 {bare:.0f} "
            f"tokens/s: ratio {ours / bare:.3f}"
        )
        extra = found["with a checkpoint"] - found["ours"]
        print(
            f"a checkpoint takes {max(0.0, extra):.2f} s of training: "
            f"{max(0.0, extra) / _EVERY_SECONDS:.2%} at one every 30 s"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "dataset", MEMORY)
        for world in (1, 2, 4):
            found = gang_of(world, folder, "memory")
            state = 16 * found["weights"] / 2**20
            print(
                f"memory of a rank of {world}: {found['peak'] / 2**20:.0f} MiB, where weights, "
                f"gradients and optimizer are {state:.0f} MiB / {world} = {state / world:.0f} MiB"
            )


if __name__ == "__main__":
    rank()
