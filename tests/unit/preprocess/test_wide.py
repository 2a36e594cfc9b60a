"""Tables of many columns: the same values as pandas and scikit-learn give, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.local.preprocess.both import run, whole
from trainingjob.runtime.preprocess.engines import duckdb_write
from trainingjob.runtime.preprocess.expressions import many
from trainingjob.runtime.preprocess.expressions.duckdb_dialect import DUCKDB
from trainingjob.runtime.preprocess.expressions.many import Same, select
from trainingjob.runtime.preprocess.expressions.spark_dialect import SPARK

CLASSES = {"type": "classification", "label": "y"}
TYPES = {"i": "bigint", "d": "double", "b": "boolean", "t": "date", "s": "string"}


def table(rows: int, width: int) -> pd.DataFrame:
    """Of columns of every type that text may have, in turns."""
    chance = np.random.default_rng(3)
    columns: dict[str, Any] = {}
    for n in range(width):
        columns[f"d{n}"] = chance.normal(n, 10.0 ** (n % 7 - 3), rows)
        columns[f"i{n}"] = chance.integers(-9, 9, rows).astype(object)
        columns[f"b{n}"] = chance.choice(["true", "false"], rows)
        columns[f"t{n}"] = chance.choice(["2020-01-02", "1999-12-31"], rows)
        columns[f"s{n}"] = chance.choice(["a", "1 2", "é", "true"], rows)
    frame = pd.DataFrame(columns)
    frame = frame.mask(chance.random(frame.shape) < 0.1)
    frame["d1"], frame["d2"] = 1.5, [8e307, -2e307] * (rows // 2)
    frame.insert(3, "y", np.arange(rows) % 2)
    frame.insert(0, "n", np.arange(rows))
    return frame


def made(folder: Path, frame: pd.DataFrame, format: str, steps: list[dict[str, Any]]) -> Any:
    source = folder / f"data.{format}"
    frame.to_csv(source, index=False) if format == "csv" else frame.to_parquet(source)
    return run("pandas", source, folder / "out", steps, task=CLASSES, format=format)


@pytest.mark.parametrize("width", [3, many.FEW + 1])
@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize(
    "strategy, method", [("mean", "standard"), ("median", "minmax"), ("mode", "standard")]
)
def test_wide_and_narrow_tables_have_the_values_of_pandas(
    strategy: str, method: str, width: int, format: str, tmp_path: Path
) -> None:
    frame = table(60, width)
    numbers = [name for name in frame if name[0] in "di"]
    if format == "parquet":
        frame[numbers] = frame[numbers].astype(float)
    steps = [{"fillna": {"strategy": strategy, "columns": numbers}}, {"scale": {"method": method, "columns": numbers}}]  # fmt: skip
    manifest, files = made(tmp_path, frame, format, steps)
    if format == "csv":
        texts = {name: TYPES[name[0]] for name in frame if name[0] in "bts"}
        assert {name: manifest.columns[name] for name in texts} == texts
    found = whole((manifest, files)).to_pandas().sort_values("n", ignore_index=True)
    assert list(found) == list(frame)
    others = [name for name in frame if name[0] in "bts"]
    wanted = frame[others].replace({"true": True, "false": False}) if format == "csv" else frame[others]  # fmt: skip
    for name in others:
        one, other = found[name].astype(object), wanted[name].astype(object)
        if name[0] == "s" and format == "csv":
            other = frame[name].astype(object)
        assert one.isna().tolist() == other.isna().tolist()
        assert one.dropna().astype(str).tolist() == other.dropna().astype(str).tolist()
    trained = np.isin(frame["n"], [n for (s, _), t in files.items() if s == "train" for n in t["n"].to_pylist()])  # fmt: skip
    values = frame[numbers].astype(float)
    # Sums of 8e307 are no doubles, and a scaled column has no unit.
    values *= np.where(values.abs().max() > 1e300, 1e-300, 1.0)
    train = values[trained]
    filled = values.fillna(train.agg(strategy) if strategy != "mode" else train.mode().iloc[0])
    scaler = StandardScaler() if method == "standard" else MinMaxScaler()
    wanted = scaler.fit(filled[trained]).transform(filled)
    np.testing.assert_allclose(found[numbers], wanted, rtol=1e-9, atol=1e-9)


def test_thousands_of_columns_take_seconds(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 2000)).round(3))
    frame.columns = [f"f{n}" for n in range(2000)]
    frame["y"] = np.arange(40) % 2
    manifest, _ = made(tmp_path, frame, "csv", [{"fillna": {"strategy": "mean"}}, {"scale": {}}])
    assert len(manifest.features) == 2000


@pytest.mark.parametrize("dialect", [DUCKDB, SPARK], ids=lambda dialect: dialect.name)
def test_many_columns_have_one_expression(dialect: Any) -> None:
    def text(width: int) -> str:
        columns: dict[str, str | Same] = {
            f"c{n}": Same(f"c{n}", lambda v, own: f"tangent({v}, {own})", (n / 2,))
            for n in range(width)
        }
        return select(dialect, columns, ["hidden"], "frame", "x > 1")

    assert text(many.FEW).count("tangent") == many.FEW
    assert text(many.FEW + 1).count("tangent") == 1
    assert len(text(4000)) < 2.1 * len(text(2000))


@pytest.mark.parametrize("strip", [[], ["b", "t"]], ids=["every short type", "numbers"])
def test_files_written_at_once_are_those_of_one_after_the_other(
    strip: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, types and their order in a file, and no column that must not be null."""
    frame = table(400, 50)
    frame = frame[[name for name in frame if name[0] not in ("s", *strip)]]
    written = []
    for few in (duckdb_write._FEW_VALUES, 0):
        monkeypatch.setattr(duckdb_write, "_FEW_VALUES", few)
        folder = tmp_path / str(few)
        folder.mkdir()
        written.append(made(folder, frame, "csv", []))
    (manifest, files), (other_manifest, others) = written
    assert manifest.columns == other_manifest.columns and len(manifest.columns) > many.FEW
    assert len(files) == len(others) == 3
    for (split, _), rows in files.items():
        (other,) = (table for (of, _), table in others.items() if of == split)
        assert rows.schema.equals(other.schema)
        assert rows.equals(other)
    found = whole(written[0]).to_pandas().sort_values("n", ignore_index=True)
    for name in frame:
        values = frame[name].astype(float) if name[0] in "id" else frame[name]
        assert found[name].isna().tolist() == values.isna().tolist()
        if name[0] in "id":
            np.testing.assert_array_equal(found[name].astype(float), values)
