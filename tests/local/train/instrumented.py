"""``python -m trainingjob.runtime`` whose ranks do something more at a given optimizer step.

    python instrumented.py node   the pod's main process, as tests start it
    python instrumented.py rank   one rank, as that process starts it

$AT_STEP is JSON: {"step": 7, "rank": 1, "do": "kill" | "terminate" | "mark", "mark": PATH}.
$EPOCH_TIMES is a file to which rank 0 writes the time at the end of each epoch.
$PEAK_MEMORY is a file to which it writes its peak memory in bytes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path


def node() -> int:
    from trainingjob.runtime import __main__
    from trainingjob.runtime.train import launcher

    launcher.WORKER[:] = [sys.executable, __file__, "rank"]
    return __main__.main()


def rank() -> int:
    from trainingjob.runtime.train import worker
    from trainingjob.runtime.train.loop import Trainer

    plan = json.loads(os.environ.get("AT_STEP", "{}"))
    step = Trainer._step

    def step_and_do(self, *batch):
        step(self, *batch)
        if self.position.step == plan.get("step") and self.gang.rank == plan["rank"]:
            do(plan)

    if plan:
        Trainer._step = step_and_do  # type: ignore[method-assign]
    if times := os.environ.get("EPOCH_TIMES"):
        end_epoch = Trainer._end_epoch

        def timed(self):
            result = end_epoch(self)
            if self.gang.rank == 0:
                with Path(times).open("a") as file:
                    file.write(f"{time.perf_counter()}\n")
            return result

        Trainer._end_epoch = timed  # type: ignore[method-assign]
    code = worker.main()
    if memory := os.environ.get("PEAK_MEMORY"):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        Path(memory).write_text(str(peak))
    return code


def do(plan: dict) -> None:
    if "mark" in plan:  # once only
        if Path(plan["mark"]).exists():
            return
        Path(plan["mark"]).touch()
    if plan["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif plan["do"] == "terminate":
        os.kill(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    code = {"node": node, "rank": rank}[sys.argv[1]]()
    sys.stdout.flush()
    os._exit(code)
