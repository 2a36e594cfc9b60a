"""Stage 1: from raw files to a cleaned, split dataset. ``stage.py`` has its flow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainingjob.api.payload import PreprocessPayload, StageResult

from .. import storage
from ..base.progress import Reporter
from ..dataset.manifest import MANIFEST
from ..model import pretrained

if TYPE_CHECKING:
    from .engines.frame import Engine
    from .input.files import Source


def run(payload: PreprocessPayload) -> StageResult:
    """Run the stage, or restore what it has made before; raises StageFailure."""
    if payload.cache is None:
        return _made(payload)
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
        lambda: _made(payload, found),
    )


def _made(payload: PreprocessPayload, found: Mapping[str, Source] | None = None) -> StageResult:
    if payload.requirements is None:
        return make(payload, found)
    from . import worker

    return worker.run(payload)


def make(
    payload: PreprocessPayload,
    found: Mapping[str, Source] | None = None,
    packages: Path | None = None,
) -> StageResult:
    """Make the dataset, whatever was made before, of the files that were ``found`` if they were.
    ``packages``: those of own code that the image lacks. Raises StageFailure."""
    # Told before anything is computed: a storage that is not there, what is no model to train.
    storage.reach(storage.resolve(f"{payload.output}/{MANIFEST}"))
    if payload.pretrained is not None and payload.tokenize is not None:
        pretrained.look_ahead(payload.pretrained, payload.tokenize.sequence_length)
    reporter = Reporter()
    try:
        # Longer than the engine, whose executors have what is in it.
        with (
            tempfile.TemporaryDirectory(prefix="trainingjob-") as own,
            open_engine(payload) as engine,
        ):
            # Its libraries load while Spark's Java process starts.
            from .input.scratch import Scratch
            from .script import Own
            from .stage import run_stage

            code = Path(own) / "code"
            code.mkdir()
            # Where Spark's executors are not, what is sealed is not unpacked where others read it.
            apart = payload.sealed and payload.engine == "pandas"
            if apart:
                Scratch(storage.resolve(payload.output)).remove()  # what another try has left
            with Scratch(None if apart else storage.resolve(payload.output)) as scratch:
                return run_stage(engine, payload, reporter, scratch, Own(code, packages), found)
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
