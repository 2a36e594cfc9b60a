"""`trainingjob explain`: how a job came to stand where it stands, from its status alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ..api import gates
from ..api.stored import Unreadable, read_stored
from ..api.v1alpha1 import TrainingJob
from ..api.v1alpha1.status import Attempt, LastFailure, StageStatus
from ..local.store import Workspace
from .errors import UsageError
from .exits import Exit
from .get import find
from .job import one_job
from .manifest import read
from .text import baseline_words, done_words, duration, score_words, time_taken, warning_lines

_LOG_LINES = 20


def explain(args: argparse.Namespace) -> int:
    """Of a job of the work folder, or of an object as ``kubectl get -o json`` prints it."""
    if (args.name is None) == (args.file is None):
        raise UsageError("give the NAME of a job, or -f FILE")
    if args.file is not None:
        found, _ = one_job(read(args.file), args.namespace)
        stored = found.value
        if not {"namespace", "uid"} <= stored["metadata"].keys():
            raise UsageError(
                f"{args.file}: metadata has no uid: give the job as `kubectl get -o json` has it"
            )
    else:
        stored = find(Workspace(Path(args.work_dir)), args.name, args.namespace).load()
    if stored is None:
        raise UsageError(f"job {args.name} has not begun")
    job = read_stored(json.dumps(stored).encode())
    if isinstance(job, Unreadable):
        raise UsageError(job.message)
    sys.stdout.write("".join(f"{line}\n" for line in chain(job)))
    return Exit.SUCCEEDED


def chain(job: TrainingJob) -> Iterator[str]:
    """From the manifest to the cause, line by line."""
    status = job.status
    reason = f": {status.reason}" if status.reason else ""
    yield f"{job.metadata.namespace}/{job.metadata.name} is {status.phase}{reason}"
    if status.message:
        yield f"  {status.message}"
    for stage in status.stages:
        yield ""
        yield from _stage(stage, [past for past in status.history if past.stage == stage.name])
    if status.evaluation is not None:
        yield ""
        alone = gates.uncompared(status.evaluation.metrics, gates.of(job))
        for metric in status.evaluation.metrics:
            verdict = {True: "passed", False: "failed", None: "no gate"}[metric.passed]
            words = filter(None, (verdict, baseline_words(metric, alone)))
            yield f"  {metric.name} {score_words(metric)}: {', '.join(words)}"
    failure = status.last_failure
    if failure is not None and failure.log_tail:
        yield ""
        yield from _log(failure)


def _stage(stage: StageStatus, history: list[Attempt]) -> Iterator[str]:
    took = time_taken(stage)
    words = [stage.phase, f"in attempt {stage.attempt}" if history else "", took and f"({took})"]
    yield f"{stage.name}: {' '.join(filter(None, words))}"
    if stage.image:
        yield f"  image {stage.image}"
    for past in history:
        yield f"  attempt {past.attempt}: {past.reason}{_where(past)}"
        if past.message:
            yield f"    {past.message}"
    if stage.phase == "Succeeded" and stage.outputs is not None:
        yield f"  {done_words(stage)} → {stage.outputs.uri}"
        yield from (f"  {line}" for line in stage.outputs.account or ())
        yield from (f"  warning: {message}" for message in warning_lines(stage))
    elif stage.phase != "Failed" and stage.reason not in ("", "Restarting"):
        counts = f"{stage.pods.ready} of {stage.pods.desired} pods run"
        yield f"  {stage.reason}, {counts}" + (f": {stage.message}" if stage.message else "")


def _where(past: Attempt) -> str:
    words = f" ({past.failure_class})" if past.failure_class else ""
    if past.pod:
        words += f" in {past.pod}" + (f" on {past.node}" if past.node else "")
    if past.start_time is not None:
        words += f" after {duration((past.completion_time - past.start_time).total_seconds())}"
    return words


def _log(failure: LastFailure) -> Iterator[str]:
    yield f"the end of the log of {failure.pod or failure.stage}:"
    for line in failure.log_tail.splitlines()[-_LOG_LINES:]:
        yield f"  | {line}"
