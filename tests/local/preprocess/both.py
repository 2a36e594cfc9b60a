"""The stage run by both engines over the same input, and what they wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.payload import PreprocessPayload
from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.preprocess.fitted import Pipeline
from trainingjob.runtime.preprocess.fitted.columns import ARROW, value_of

ENGINES = ("pandas", "spark")


def payload(
    engine: str,
    source: Path,
    output: Path,
    steps: Sequence[dict[str, Any]] = (),
    *,
    format: str = "csv",
    options: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
    split: dict[str, Any] | None = None,
    **more: Any,
) -> PreprocessPayload:
    """A payload as the operator would build it."""
    return PreprocessPayload.model_validate(
        {
            "job": {"namespace": "default", "name": "test", "uid": "1"},
            "attempt": 1,
            "engine": engine,
            "input": {"uri": f"file://{source}", "format": format, "options": options},
            "steps": list(steps),
            "task": task or {"type": "regression", "label": "y"},
            "split": split or {"test": 0.25, "validation": 0.25},
            "numericFeatures": False,
            "output": f"file://{output}",
            **more,
        }
    )


def run(engine: str, source: Path, output: Path, *args: Any, **kwargs: Any) -> Any:
    """The manifest and the files' tables, or the failure."""
    try:
        preprocess.run(payload(engine, source, output, *args, **kwargs))
    except StageFailure as failure:
        return failure.reason, failure.message
    manifest = DatasetManifest.read(output)
    reproduced(manifest)
    return manifest, files_of(manifest, output) | {
        (f"fold-{fold}/{split}", name): table
        for fold, part in enumerate(manifest.parts, 1)
        for (split, name), table in files_of(
            DatasetManifest.read(output / part), output / part
        ).items()
    }


def reproduced(manifest: DatasetManifest) -> None:
    """Assert that the rows which the manifest shows become by its steps what it says, without the
    engine: so a server prepares rows."""
    raw = manifest.raw
    if raw is None or not raw.rows:
        return
    pipeline = Pipeline(
        raw.columns, manifest.pipeline, manifest.features, manifest.label, raw.begin
    )
    assert [*pipeline.needed] == raw.needed
    made = pipeline.run(
        {
            name: pa.array([value_of(row[at], kind) for row in raw.rows], type=ARROW[kind])
            for at, (name, kind) in enumerate(pipeline.needed.items())
        }
    )
    pipeline.close()
    for at, name in enumerate(manifest.features):
        kind = manifest.columns[name]
        assert made[name].type == ARROW[kind], name
        for found, row in zip(made[name].to_pylist(), raw.features, strict=True):
            assert equal(found, value_of(row[at], kind)), (name, found, row[at])


def files_of(manifest: DatasetManifest, folder: Path) -> dict[tuple[str, str], pa.Table]:
    """Every file's rows, by split and what its name begins with, before the writer's stamp."""
    return {
        (split, file.name[: len("part-00000")]): pq.ParquetFile(folder / split / file.name).read()
        for split, info in manifest.splits.items()
        for file in info.files
    }


def same(source: Path, folder: Path, *args: Any, **kwargs: Any) -> Any:
    """Run both engines, assert that they did the same, and return what."""
    one, other = (run(engine, source, folder / engine, *args, **kwargs) for engine in ENGINES)
    if isinstance(one[0], str) or isinstance(other[0], str):
        assert one == other, [x for x in (one, other) if isinstance(x[0], str)]
        return one
    (manifest, files), (other_manifest, other_files) = one, other
    for parts in zip(("", *manifest.parts), ("", *other_manifest.parts), strict=True):
        one_text, other_text = (
            described(DatasetManifest.read(folder / engine / part))
            for engine, part in zip(ENGINES, parts, strict=True)
        )
        assert equal(one_text, other_text), (parts, one_text, other_text)
    assert list(files) == list(other_files)
    for name, table in files.items():
        assert_same_table(table, other_files[name], str(name))
    return one


def described(manifest: DatasetManifest) -> dict[str, Any]:
    """The manifest without the sizes, digests and names of files, which are the writer's, and
    without the rows that it shows, of which any will do."""
    its = ("folds", "stamp", "writer", "raw")
    found = {name: value for name, value in manifest.to_dict().items() if name not in its}
    found["splits"] = {
        split: (info.rows, [file.rows for file in info.files])
        for split, info in manifest.splits.items()
    }
    return found


def assert_same_table(one: pa.Table, other: pa.Table, what: str) -> None:
    """The same columns, types, values (doubles to nine digits), and order."""
    # Not whether a column may hold nulls: of that Spark writes what it knows of the expression.
    assert one.column_names == other.column_names, what
    assert one.schema.types == other.schema.types, what
    for name in one.column_names:
        left, right = one[name].to_pylist(), other[name].to_pylist()
        different = [
            (row, a, b)
            for row, (a, b) in enumerate(zip(left, right, strict=True))
            if not equal(a, b)
        ]
        assert not different, f"{what}, column {name}: {different[:5]}"


def equal(one: Any, other: Any, least: float = 1e-12) -> bool:
    """The same value, or values: doubles to nine digits, or so near each other."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=least)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and equal(list(one.values()), list(other.values()))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return repr(one) == repr(other)


def whole(result: Any) -> pa.Table:
    """All rows that were written."""
    _, files = result
    return pa.concat_tables(files.values())
