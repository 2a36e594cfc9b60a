"""Stage 1: from raw files to a cleaned, split dataset. ``stage.py`` has its flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainingjob.api.payload import PreprocessPayload, StageResult

from .. import storage
from ..base.progress import Reporter
from ..dataset.manifest import MANIFEST

if TYPE_CHECKING:
    from .engines.frame import Engine
    from .input.files import Source


def run(payload: PreprocessPayload) -> StageResult:
    """Run the stage, or restore what it has made before; raises StageFailure."""
    if payload.cache is None:
        return _make(payload)
    from .. import cache
    from .input.splits import DATA, find_inputs

    found = find_inputs(payload)
    return cache.through(
        payload,
        lambda: cache.inputs_of_preprocess(
            payload,
            found[DATA].files,
            {name: found[name].files for name in payload.inputs},
        ),
        lambda: _make(payload, found),
    )


def _make(payload: PreprocessPayload, found: Mapping[str, Source] | None = None) -> StageResult:
    # A storage that is not there is told before anything is computed.
    storage.reach(storage.resolve(f"{payload.output}/{MANIFEST}"))
    reporter = Reporter()
    try:
        with open_engine(payload) as engine:
            # Its libraries load while Spark's Java process starts.
            from .input.scratch import Scratch
            from .stage import run_stage

            # Where Spark's executors are not, what is sealed is not unpacked where others read it.
            apart = payload.sealed and payload.engine == "pandas"
            if apart:
                Scratch(storage.resolve(payload.output)).remove()  # what another try has left
            with Scratch(None if apart else storage.resolve(payload.output)) as scratch:
                return run_stage(engine, payload, reporter, scratch, found)
    finally:
        reporter.close()


def open_engine(payload: PreprocessPayload) -> Engine:
    """The engine of the manifest; only the one in use is imported."""
    if payload.engine == "pandas":
        from .engines.duckdb import DuckdbEngine

        return DuckdbEngine()
    from .engines import connectors, on_kubernetes
    from .engines.spark import SparkEngine

    return SparkEngine({**on_kubernetes.settings(payload), **connectors.settings(payload)})
