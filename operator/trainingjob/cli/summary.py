"""How a run ended, in one block: the verdict, the metrics, where everything lies."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from ..api import gates
from ..api.uris import CLAIM, FILE, Uri
from ..api.v1alpha1 import Evaluation, LastFailure, TrainingJob
from ..api.v1alpha1.status import JudgedMetric
from ..core import names
from ..local.session import Session
from .exits import Exit
from .text import (
    baseline_words,
    duration,
    score_words,
    short,
    split_words,
    variant_words,
    warning_lines,
)

_LOG_LINES = 12
# Of a table: names of metrics, and gates with all their digits.
_WIDEST = 400


def print_summary(console: Console, session: Session, job: TrainingJob, outcome: Exit) -> None:
    """Print the block."""
    status = job.status
    name = job.metadata.name
    if status.evaluation is not None and outcome != Exit.INTERRUPTED:
        console.print()
        _whole(console, _metrics(job, status.evaluation))
        for variant in status.evaluation.variants or ():
            _line(console, Text.assemble("  variant ", variant_words(variant)))
    console.print()
    _warnings(console, job)
    if outcome == Exit.SUCCEEDED:
        took = ""
        began = status.rerun_time or status.start_time
        if began and status.completion_time:
            took = f" in {duration((status.completion_time - began).total_seconds())}"
        _line(console, Text.assemble(("✔ ", "green"), (name, "bold"), f" succeeded{took}"))
        if status.deployment is not None:
            _line(console, Text.assemble("  proof  ", status.message.rpartition("; ")[2]))
        model = _model(session, job)
        if model is not None:
            _line(console, Text.assemble("  model  ", model))
        for done in status.stages:
            if done.outputs is not None and done.outputs.splits is not None:
                _line(console, Text.assemble("  splits ", split_words(done.outputs.splits)))
        _line(console, Text.assemble("  logs   ", _logs_command(session)))
        _cleanup(console, job)
    elif outcome == Exit.INTERRUPTED:
        where = shlex.quote(session.run.get("source") or "FILE")
        _line(
            console,
            Text.assemble(
                ("■ ", "yellow"),
                (name, "bold"),
                f" was interrupted; to go on where it was: trainingjob run {where}",
            ),
        )
    else:
        stage = next((stage.name for stage in status.stages if stage.phase == "Failed"), "")
        _line(
            console,
            Text.assemble(
                ("✘ ", "red"),
                (name, "bold"),
                f" failed in {stage}: " if stage else " failed: ",
                (status.reason, "red"),
            ),
        )
        _line(console, Text(f"  {status.message}"))
        _cleanup(console, job)
        if status.last_failure is not None and status.reason == status.last_failure.reason:
            _failure(console, session, status.last_failure)


def _warnings(console: Console, job: TrainingJob) -> None:
    for stage in job.status.stages:
        for message in warning_lines(stage):
            _line(console, Text.assemble(("! ", "yellow"), f"{stage.name}: {message}"))


def _cleanup(console: Console, job: TrainingJob) -> None:
    """What policy.retain has let go."""
    cleanup = job.status.cleanup
    if cleanup is None or not cleanup.kinds:
        return
    done = {"Succeeded": "removed", "Failed": "not removed", "Running": "not removed yet"}
    words = f"{' and '.join(cleanup.kinds)}: {done[cleanup.phase]}"
    if cleanup.message:
        words += f"; {cleanup.message}"
    mark = ("  clean  ", "") if cleanup.phase == "Succeeded" else ("! ", "yellow")
    _line(console, Text.assemble(mark, words))


def _failure(console: Console, session: Session, failure: LastFailure) -> None:
    """Where the log is, and its end."""
    if not failure.pod:
        return
    log = session.home.log_of(failure.pod)
    if log.exists():
        _line(console, Text.assemble("  log  ", short(log)))
    for line in failure.log_tail.splitlines()[-_LOG_LINES:]:
        _line(console, Text(f"    {line}", style="dim"))


def _metrics(job: TrainingJob, evaluation: Evaluation) -> Table:
    alone = gates.uncompared(evaluation.metrics, gates.of(job))
    table = Table(box=None, padding=(0, 2), pad_edge=True, header_style="dim")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("gate")
    table.add_column("")
    for metric in evaluation.metrics:
        verdict = Text()
        if metric.passed is not None:
            verdict = Text("passed", "green") if metric.passed else Text("failed", "red")
        table.add_row(Text(metric.name), score_words(metric), _gate(metric, alone), verdict)
    return table


def _gate(metric: JudgedMetric, alone: Sequence[str]) -> str:
    bounds = []
    if metric.min is not None:
        bounds.append(f">= {metric.min:g}")
    if metric.max is not None:
        bounds.append(f"<= {metric.max:g}")
    past = baseline_words(metric, alone)
    return " ".join(filter(None, (", ".join(bounds), past and f"({past})")))


def _model(session: Session, job: TrainingJob) -> str | None:
    """The model's folder on this machine."""
    place = names.model_uri(job)
    left = (stage.outputs for stage in job.status.stages if stage.outputs)
    outputs = next((outputs for outputs in left if outputs.uri == place), None)
    if outputs is None:
        return None
    uri = Uri.parse(outputs.uri)
    if uri.scheme is FILE:
        return uri.place
    folder = session.run.get("claims", {}).get(uri.authority) if uri.scheme is CLAIM else None
    if folder is None:
        return outputs.uri
    path = Path(folder) / uri.path
    return short(path) if path.exists() else None


def _logs_command(session: Session) -> str:
    return f"trainingjob logs {session.home.name}   ({short(session.home.path)})"


def _whole(console: Console, table: Table) -> None:
    """Also where it is wider than the terminal: half a number is none."""
    wide = console.options.update(width=_WIDEST)
    wide = wide.update(width=Measurement.get(console, wide, table).maximum)
    for line in console.render_lines(table, wide, pad=False):
        console.print(Segments([*line, Segment.line()]), crop=False, end="")


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
