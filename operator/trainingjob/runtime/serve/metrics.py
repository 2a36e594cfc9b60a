"""Prometheus metrics of a server."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)


class Metrics:
    """In a registry of their own; ``queued``: how many rows wait."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, queued: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "trainingjob_serve_request_seconds",
            "Requests about the model, from their first byte to the answer, by status.",
            ["code"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "trainingjob_serve_batch_rows",
            "Rows that were answered together.",
            buckets=_ROWS,
            registry=self._registry,
        )
        self._rows = Counter(
            "trainingjob_serve_rows", "Rows that the model was run on.", registry=self._registry
        )
        self._model = Gauge(
            "trainingjob_serve_model_info",
            "1, of the model that is served.",
            ["name", "digest"],
            registry=self._registry,
        )
        Gauge(
            "trainingjob_serve_queued_rows", "Rows that wait.", registry=self._registry
        ).set_function(queued)

    def of_model(self, name: str, digest: str) -> None:
        """It is served from now on."""
        self._model.labels(name, digest).set(1)

    def request(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).observe(seconds)

    def batch(self, rows: int) -> None:
        """So many rows are answered together."""
        self._batches.observe(rows)
        self._rows.inc(rows)

    def text(self) -> bytes:
        """As Prometheus reads them."""
        return generate_latest(self._registry)
