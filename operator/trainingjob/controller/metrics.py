"""Prometheus metrics of the operator. Few label values: no names of jobs, and of namespaces those
that it was told to serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ..api.v1alpha1 import Status
from ..api.v1alpha1.status import Usage

# From a pandas stage of seconds to a training of a week.
_STAGE_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
# A reconcile is some API calls: milliseconds when all is well.
_RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


# Fields of status.stages[].usage that are counters as they stand, of attempts that ended.
_USAGE = {
    "lost_gpu_seconds": "GPU-seconds after the last checkpoint of attempts that failed, by stage.",
    "cpu_seconds": "CPU-seconds that pods asked for, by stage.",
    "memory_gib_seconds": "GiB-seconds of memory that pods asked for, by stage.",
    "waiting_seconds": "From the making of pods until the last of them ran, by stage.",
}


class Queue(Protocol):
    """What is shown of the work queue."""

    @property
    def depth(self) -> int: ...
    @property
    def oldest_seconds(self) -> float: ...


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self) -> None:
        # A series more for each, of no use for counters that start with the process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Counter(
            "trainingjob_reconciles",
            "Reconciles by result: unchanged, changed, retried, failed (a bug: see the log).",
            ["result"],
            registry=self.registry,
        )
        self._reconcile_seconds = Histogram(
            "trainingjob_reconcile_seconds",
            "Duration of reconciles.",
            buckets=_RECONCILE_BUCKETS,
            registry=self.registry,
        )
        self._finished = Counter(
            "trainingjob_finished",
            "Jobs that ended, by phase and reason.",
            ["phase", "reason"],
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "trainingjob_stage_seconds",
            "Time from a stage's first pod to its end, all attempts together.",
            ["stage", "outcome"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._gpu_seconds = Counter(
            "trainingjob_gpu_seconds",
            "GPU-seconds of attempts that ended, by stage; failed: also those that were suspended.",
            ["stage", "outcome"],
            registry=self.registry,
        )
        self._usage = {
            field: Counter(f"trainingjob_{field}", words, ["stage"], registry=self.registry)
            for field, words in _USAGE.items()
        }
        self._stalls = Counter(
            "trainingjob_stalls",
            "Trainings that made no progress for as long as policy.stall says.",
            registry=self.registry,
        )
        self._reports = Counter(
            "trainingjob_reports",
            "Reports of progress by pods, by the HTTP status that they were answered with.",
            ["code"],
            registry=self.registry,
        )
        self._refused = Counter(
            "trainingjob_refused_connections",
            "Connections to the operator's ports that were one too many, or too slow for others.",
            registry=self.registry,
        )
        self._calls = Counter(
            "trainingjob_api_calls",
            "Calls to the Kubernetes API other than watches; code 0: no answer.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )

    def show(
        self,
        queue: Queue,
        phases: Callable[[], Iterable[tuple[str, int]]],
        resync_age: Callable[[], float],
        scopes: Callable[[], Iterable[tuple[str, bool]]],
    ) -> None:
        """Show values that are read when somebody asks."""
        depth = Gauge("trainingjob_queue_depth", "Jobs that wait.", registry=self.registry)
        depth.set_function(lambda: queue.depth)
        oldest = Gauge(
            "trainingjob_queue_oldest_seconds",
            "How long the job that waits longest has waited.",
            registry=self.registry,
        )
        oldest.set_function(lambda: queue.oldest_seconds)
        age = Gauge(
            "trainingjob_resync_age_seconds",
            "Time since the last complete list of what is watched and can be listed.",
            registry=self.registry,
        )
        age.set_function(resync_age)
        self.registry.register(_Shown("jobs", "Jobs by phase.", "phase", phases))
        self.registry.register(
            _Shown(
                "scope_up",
                "Whether the namespace is served; all namespaces are one without a name.",
                "namespace",
                scopes,
            )
        )

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconcile ended."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def called(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """An API call ended."""
        self._calls.labels(verb, resource, str(code)).inc()

    def reported(self, code: int) -> None:
        """A pod's report of progress was answered."""
        self._reports.labels(str(code)).inc()

    def refused(self) -> None:
        """A connection was closed before it was heard."""
        self._refused.inc()

    def progressed(self, before: Status, after: Status) -> None:
        """A status was written."""
        ended = {stage.name for stage in before.stages if stage.completion_time}
        for stage in after.stages:
            if stage.completion_time and stage.start_time and stage.name not in ended:
                seconds = (stage.completion_time - stage.start_time).total_seconds()
                self._stage_seconds.labels(stage.name, stage.phase).observe(seconds)
        spent = {stage.name: stage.usage or Usage() for stage in before.stages}
        for stage in after.stages:
            if stage.usage is not None:
                was = spent.get(stage.name, Usage())
                failed = stage.usage.failed_gpu_seconds - was.failed_gpu_seconds
                whole = stage.usage.gpu_seconds - was.gpu_seconds
                self._gpu_seconds.labels(stage.name, "failed").inc(max(0, failed))
                self._gpu_seconds.labels(stage.name, "succeeded").inc(max(0, whole - failed))
                for field, counter in self._usage.items():
                    more = getattr(stage.usage, field) - getattr(was, field)
                    counter.labels(stage.name).inc(max(0, more))
        if _stalled(after) not in (None, _stalled(before)):
            self._stalls.inc()
        if after.completion_time and not before.completion_time:
            self._finished.labels(after.phase, after.reason).inc()


def _stalled(status: Status) -> object:
    """Which stall it tells of, None when of none."""
    for stage in status.stages:
        if stage.reason == "NoProgress":
            return stage.attempt
    failure = status.last_failure
    return failure.attempt if failure is not None and failure.reason == "NoProgress" else None


class _Shown(Collector):
    """A gauge with one label, read when somebody asks."""

    def __init__(
        self, name: str, words: str, label: str, rows: Callable[[], Iterable[tuple[str, float]]]
    ) -> None:
        self._family = (f"trainingjob_{name}", words, label)
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        name, words, label = self._family
        family = GaugeMetricFamily(name, words, labels=[label])
        for value, number in self._rows():
            family.add_metric([value], number)
        yield family
