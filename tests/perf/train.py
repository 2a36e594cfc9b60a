"""The built-in loop: its speed beside a bare DDP loop, what checkpoints cost, and its memory."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.datasets import write_dataset
from tests.local.train import bare_ddp, instrumented
from tests.local.train.gang import Job, mlp, pods
from trainingjob.local.node import free_port

ROUNDS = 3
FEATURES = 64
EPOCHS = 6
BATCH = 64


def table(rows: int, features: int = FEATURES, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    label = (x[:, :8].sum(axis=1) > 0).astype(np.int64) + 2 * (x[:, 8] > 0)
    return pa.table({f"x{i}": x[:, i] for i in range(features)} | {"label": label})


def steps_per_second(times: Path, steps: int) -> float:
    """Of the epochs after the first, which warms up."""
    at = [float(line) for line in times.read_text().split()]
    return steps * (len(at) - 1) / (at[-1] - at[0])


def ours(folder: Path, rows: int, **spec: object) -> float:
    times = folder / "times"
    times.unlink(missing_ok=True)
    fields = {"model": mlp(hidden=[64, 64]), "epochs": EPOCHS, "batchSize": BATCH, "nodes": 2}
    job = Job(folder, fields | spec, env={"EPOCH_TIMES": str(times)})
    job.main = [sys.executable, instrumented.__file__, "node"]
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    with pods(job) as running:
        assert running.wait()[0].result is not None, running.logs()
    return steps_per_second(times, -(-rows // BATCH))


def bare(folder: Path, rows: int) -> float:
    times = folder / "times"
    times.unlink(missing_ok=True)
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, bare_ddp.__file__, str(folder / "dataset"), str(EPOCHS), str(BATCH)],
            env={
                "PATH": os.environ["PATH"],
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "OMP_NUM_THREADS": "1",
                "EPOCH_TIMES": str(times),
            },
        )
        for rank in range(2)
    ]
    assert [rank.wait() for rank in ranks] == [0, 0]
    return steps_per_second(times, -(-rows // BATCH))


def compare(label: str, unit: str, runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of alternating runs of each."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            found[name].append(run())
    medians = {name: statistics.median(values) for name, values in found.items()}
    told = ", ".join(f"{name} {value:.0f} {unit}" for name, value in medians.items())
    first, second = medians.values()
    print(f"{label}: {told}: ratio {first / second:.3f}")
    return medians


def peak_memory(folder: Path, window_bytes: int) -> int:
    """Bytes of the largest process of a gang of one."""
    job = Job(
        folder,
        {"model": mlp(hidden=[64]), "epochs": 2, "batchSize": 512},
        env={"TRAININGJOB_WINDOW_BYTES": str(window_bytes)},
    )
    job.main = [sys.executable, instrumented.__file__, "node"]
    peak = folder / "peak"
    job.env["PEAK_MEMORY"] = str(peak)
    with pods(job) as running:
        assert running.wait()[0].result is not None, running.logs()
    return int(peak.read_text())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = 40_000
        write_dataset(
            folder / "dataset", {"train": table(rows)}, label="label", task="classification"
        )
        compare(
            "training, 2 processes",
            "steps/s",
            {"built in": lambda: ours(folder, rows), "bare DDP": lambda: bare(folder, rows)},
        )
        # One checkpoint a second, of which a thirtieth is charged at one per 30 s.
        with_, without = compare(
            "a checkpoint a second against none",
            "steps/s",
            {
                "with": lambda: ours(folder, rows, epochs=12, checkpoint={"everySeconds": 1}),
                "without": lambda: ours(folder, rows, epochs=12, checkpoint={"everySeconds": 3600}),
            },
        ).values()
        print(f"overhead of a checkpoint every 30 s: {max(0.0, without / with_ - 1) / 30:.3%}")
    window = 8 * 2**20
    for times in (1, 2, 4):
        with tempfile.TemporaryDirectory() as name:
            # Four windows would still be kept in memory.
            rows = times * 5 * window // (4 * FEATURES + 8)
            write_dataset(
                Path(name) / "dataset",
                {"train": table(rows)},
                label="label",
                task="classification",
                rows_per_group=20_000,
            )
            peak = peak_memory(Path(name), window)
            size = rows * (4 * FEATURES + 8)
            print(
                f"peak memory: {peak / 2**20:.0f} MiB with {size / 2**20:.0f} MiB of rows, "
                f"windows of {window / 2**20:.0f} MiB"
            )


if __name__ == "__main__":
    main()
