"""An epoch of two ranks over a dataset in S3 and in HDFS ÷ in a folder; memory, and what comes to
the disk.

``python -m tests.perf.epoch [MB [ROUNDS]]``, 2000 and 3 unless said otherwise. Servers run on this
machine, and take processor time of it; the model is a linear one, which learns faster than it
reads. Where others use the machine as well, compare processor seconds: those of the whole job, its
start and three epochs, without the servers.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tests.cluster.hdfs.server import Hdfs
from tests.cluster.versitygw.server import Versitygw
from tests.datasets import write_dataset
from tests.local.train import instrumented
from tests.local.train.gang import Job, mlp, pods
from trainingjob.api.payload import COPIES_DIR, TrainPayload
from trainingjob.runtime.train.data import WINDOW_BYTES

from .train import FEATURES, table

MB = 2000
ROUNDS = 3
EPOCHS = 3
BATCH = 1024
_FILE_ROWS = 200_000
_GROUP_ROWS = 50_000
_SECONDS, _PROCESSOR = attrgetter("seconds"), attrgetter("processor")


@dataclass
class Elsewhere(Job):
    """A training job whose dataset lies at ``uri``."""

    uri: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def payload(self) -> TrainPayload:
        return super().payload().model_copy(update={"dataset": self.uri})


class Used(NamedTuple):
    """Seconds of an epoch but the first; processor seconds of the job; bytes of memory of a rank;
    bytes on the disk."""

    seconds: float
    processor: float
    memory: int
    disk: int


def epoch(folder: Path, window: int, uri: str, variables: dict[str, str]) -> Used:
    """What a job over the dataset at ``uri`` uses."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    times, peak, copies = folder / "times", folder / "peak", folder / "copies"
    spec = {"model": mlp(hidden=[]), "epochs": EPOCHS, "batchSize": BATCH, "procsPerNode": 2}
    env = {
        "EPOCH_TIMES": str(times),
        "PEAK_MEMORY": str(peak),
        "TRAININGJOB_WINDOW_BYTES": str(window),
        COPIES_DIR: str(copies),
    }
    job = Elsewhere(folder, spec, env=env | variables, uri=uri)
    job.main = [sys.executable, instrumented.__file__, "node"]
    before = _processor()
    with pods(job) as running:
        running.processes[0].wait()
        assert running.report(0).result is not None, running.logs()
    at = [float(line) for line in times.read_text().split()]
    disk = sum(path.stat().st_size for path in copies.rglob("*.parquet"))
    used = _processor() - before
    return Used((at[-1] - at[0]) / (len(at) - 1), used, int(peak.read_text()), disk)


def _processor() -> float:
    """Processor seconds of processes that have ended, and of what they had started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    given = [int(text) for text in sys.argv[1:] if text.isdigit()]
    size, rounds = (*given, *(MB, ROUNDS)[len(given) :])
    rows = size * 10**6 // (8 * (FEATURES + 1))
    # A data set of a few windows would stay in memory.
    window = min(WINDOW_BYTES, rows * (4 * FEATURES + 8) // 8)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = folder / "dataset"
        write_dataset(
            made,
            {"train": table(rows)},
            label="label",
            task="classification",
            rows_per_file=_FILE_ROWS,
            rows_per_group=_GROUP_ROWS,
        )
        files = [path for path in made.rglob("*") if path.is_file()]
        s3, hdfs = stack.enter_context(Versitygw()), stack.enter_context(Hdfs())
        for path in files:
            name = path.relative_to(made).as_posix()
            s3.put("data", f"dataset/{name}", path.read_bytes())
            hdfs.put(f"/dataset/{name}", path.read_bytes())
        places: dict[str, Callable[[], Used]] = {
            "a folder": lambda: epoch(folder / "run", window, f"file://{made}", {}),
            "S3": lambda: epoch(folder / "run", window, "s3://data/dataset", s3.variables),
            "HDFS": lambda: epoch(folder / "run", window, f"{hdfs.uri}/dataset", {}),
        }
        found: dict[str, list[Used]] = {place: [] for place in places}
        for _ in range(rounds):
            for place, run in places.items():
                found[place].append(run())
        told = sum(path.stat().st_size for path in files) / 10**6
        base = found["a folder"]
        for place, runs in found.items():
            seconds, processor = (
                statistics.median(field(run) for run in runs) for field in (_SECONDS, _PROCESSOR)
            )
            slower, dearer = (
                statistics.median(field(a) / field(b) for a, b in zip(runs, base, strict=True))
                for field in (_SECONDS, _PROCESSOR)
            )
            print(
                f"an epoch over {told:.0f} MB from {place}: {seconds:.2f} s, {slower:.2f} of a "
                f"folder; the job {processor:.1f} s of processors, {dearer:.2f} of a folder; "
                f"{max(run.memory for run in runs) / 2**20:.0f} MiB a rank, "
                f"{max(run.disk for run in runs)} bytes of rows on the disk"
            )


if __name__ == "__main__":
    main()
