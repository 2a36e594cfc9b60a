"""A frame with the columns that features are made of, and what the stage makes of it."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.local.preprocess.both import payload, reproduced
from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest

Step = dict[str, Any]
Parts = dict[str, pd.DataFrame]
TYPES = {
    "boolean": "bool",
    "bigint": "int64",
    "double": "double",
    "string": "string",
    "date": "date32[day]",
    "timestamp": "timestamp[us, tz=UTC]",
}
CLASSES = {"type": "classification", "label": "kind"}
_WORDS = [
    "good",
    "bad",
    "the",
    "film",
    "was",
    "not",
    "very",
    "Überraschung",
    "日本語",
    "a",
    "I_am",
    "x2",
    "x2x",
]
_CITIES = ["Rome", "Oslo", "Bern", "Bonn", "Wien", "Kyiv", "東京", "Nîmes"]


def frame(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Columns of every kind; ``id`` names the rows."""
    chance = random.Random(seed)
    start = datetime.datetime(1999, 12, 27, 23, 59)

    def some(make: Any, share: float = 0.1) -> list[Any]:
        return [None if chance.random() < share else make() for _ in range(rows)]

    return pd.DataFrame(
        {
            "id": [f"r{row:05}" for row in range(rows)],
            "x": some(lambda: chance.lognormvariate(0, 2)),
            "n": pd.array(some(lambda: chance.randint(-3, 12)), dtype="Int64"),
            "full": [chance.gauss(0, 1e6) for _ in range(rows)],
            "constant": [4.5] * rows,
            "city": some(lambda: _CITIES[min(int(chance.expovariate(0.6)), len(_CITIES) - 1)]),
            "code": pd.array(some(lambda: chance.randint(1, 6)), dtype="Int64"),
            "review": some(
                lambda: " ".join(
                    chance.choices(_WORDS, range(1, len(_WORDS) + 1), k=chance.randint(0, 9))
                )
            ),
            "when": [
                start + datetime.timedelta(hours=chance.randint(0, 90000)) for _ in range(rows)
            ],
            "day": some(lambda: (start + datetime.timedelta(days=chance.randint(0, 9000))).date()),
            "kind": [chance.choice("abc") for _ in range(rows)],
            "yes": [chance.random() < 0.3 for _ in range(rows)],
            "y": [chance.gauss(5, 2) for _ in range(rows)],
        }
    )


def prepared(
    data: pd.DataFrame | pa.Table,
    steps: Sequence[Step],
    folder: Path,
    engine: str = "pandas",
    **more: Any,
) -> tuple[DatasetManifest, Parts]:
    """The manifest and the rows of each split in the order of ``id``; may raise StageFailure."""
    source, output = folder / "data.parquet", folder / engine
    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    pq.write_table(table, source)
    preprocess.run(payload(engine, source, output, steps, format="parquet", **more))
    manifest = DatasetManifest.read(output)
    reproduced(manifest)
    parts = {
        split: pq.read_table(output / split).to_pandas()
        for split, info in manifest.splits.items()
        if info.files
    }
    for split in parts:
        types = {
            field.name: str(field.type)
            for field in pq.read_schema(next((output / split).glob("*.parquet")))
        }
        assert types == {name: TYPES[kind] for name, kind in manifest.columns.items()}
    if "id" in manifest.columns:
        parts = {name: part.sort_values("id", ignore_index=True) for name, part in parts.items()}
    return manifest, parts


def failure(data: pd.DataFrame, steps: Sequence[Step], folder: Path, **more: Any) -> str:
    """``Reason: message`` of the failure, or ""."""
    try:
        prepared(data, steps, folder, **more)
    except StageFailure as found:
        return f"{found.reason}: {found.message}"
    return ""
