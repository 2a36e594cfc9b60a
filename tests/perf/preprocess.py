"""The preprocess stage ÷ scripts that people would write by hand for the same work."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 1_000_000
ROUNDS = 3
STEPS = [
    {"dropDuplicates": {}},
    {"dropna": {"subset": ["y"]}},
    {"fillna": {"strategy": "median", "columns": ["a", "b"]}},
    {"filter": {"where": "c > -3"}},
    {"withColumn": {"name": "ratio", "expr": "a / (abs(b) + 1)"}},
    {"scale": {"columns": ["a", "b", "c", "d", "e", "ratio"]}},
]

# The scripts split at random, as people do; ours by the content of rows, exactly and repeatably.
PANDAS = """
import sys, pathlib
import numpy as np, pandas as pd
df = pd.read_csv(sys.argv[1]).drop_duplicates().dropna(subset=["y"])
part = np.random.default_rng(1).choice(3, len(df), p=[0.7, 0.1, 0.2])
for c in ("a", "b"):
    df[c] = df[c].fillna(df.loc[part == 0, c].median())
keep = df["c"] > -3
df, part = df[keep].copy(), part[keep]
df["ratio"] = df["a"] / (df["b"].abs() + 1)
for c in ("a", "b", "c", "d", "e", "ratio"):
    train = df.loc[part == 0, c]
    df[c] = (df[c] - train.mean()) / train.std(ddof=0)
for number, name in enumerate(("train", "validation", "test")):
    out = pathlib.Path(sys.argv[2], name); out.mkdir(parents=True)
    df[part == number].to_parquet(out / "part-0.parquet")
"""
POLARS = """
import sys, pathlib
import numpy as np, polars as pl
df = pl.read_csv(sys.argv[1]).unique().drop_nulls("y")
df = df.with_columns(part=pl.Series(np.random.default_rng(1).choice(3, df.height, p=[0.7, 0.1, 0.2])))
train = df.filter(pl.col("part") == 0)
df = df.with_columns(pl.col(c).fill_null(train[c].median()) for c in ("a", "b"))
df = df.filter(pl.col("c") > -3).with_columns(ratio=pl.col("a") / (pl.col("b").abs() + 1))
train = df.filter(pl.col("part") == 0)
df = df.with_columns((pl.col(c) - train[c].mean()) / train[c].std(ddof=0) for c in ("a", "b", "c", "d", "e", "ratio"))
for number, name in enumerate(("train", "validation", "test")):
    out = pathlib.Path(sys.argv[2], name); out.mkdir(parents=True)
    df.filter(pl.col("part") == number).drop("part").write_parquet(out / "part-0.parquet")
"""
PYSPARK = """
import sys
from pyspark.sql import SparkSession, functions as F
spark = (SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
         .config("spark.sql.shuffle.partitions", "2").config("spark.driver.host", "127.0.0.1").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
df = spark.read.csv(sys.argv[1], header=True, inferSchema=True).dropDuplicates().dropna(subset=["y"])
df = df.withColumn("u", F.rand(1)).cache()
part = F.when(F.col("u") < 0.7, "train").when(F.col("u") < 0.8, "validation").otherwise("test")
df = df.withColumn("part", part).drop("u")
train = df.filter("part = 'train'")
medians = train.agg(*(F.percentile(c, 0.5).alias(c) for c in ("a", "b"))).first().asDict()
df = df.fillna(medians).filter("c > -3").withColumn("ratio", F.expr("a / (abs(b) + 1)"))
names = ("a", "b", "c", "d", "e", "ratio")
train = df.filter("part = 'train'")
found = train.agg(*(f(c).alias(f"{f.__name__}_{c}") for c in names for f in (F.mean, F.stddev_pop))).first()
for c in names:
    df = df.withColumn(c, (F.col(c) - found[f"mean_{c}"]) / found[f"stddev_pop_{c}"])
df.write.partitionBy("part").parquet(sys.argv[2])
spark.stop()
"""


def generate(path: Path) -> None:
    """1 M rows, 12 columns: numbers with nulls, whole numbers, text, some duplicates."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=ROWS).round(6) for name in "abcde"})
    for name in "ab":
        frame.loc[rng.random(ROWS) < 0.05, name] = np.nan
    for number in range(4):
        frame[f"i{number}"] = rng.integers(0, 1000, ROWS)
    frame["s"] = rng.choice(["red", "green", "blue"], ROWS)
    frame["t"] = rng.choice([f"name {i}" for i in range(500)], ROWS)
    frame["y"] = rng.choice([0, 1], ROWS)
    frame.iloc[-10_000:] = frame.iloc[:10_000].to_numpy()
    frame.to_csv(path, index=False)


def ours(engine: str, work: Path, out: Path) -> float:
    """Seconds of the stage, as its pod runs it."""
    payload = {
        "stage": "preprocess",
        "job": {"namespace": "bench", "name": "bench", "uid": "bench"},
        "attempt": 1,
        "task": {"type": "classification", "label": "y"},
        "engine": engine,
        "input": {"uri": f"file://{work}/in.csv", "format": "csv"},
        "steps": STEPS,
        "split": {"test": 0.2, "validation": 0.1, "seed": 1},
        "numericFeatures": False,
        "output": f"file://{out}",
    }
    env = {
        **os.environ,
        "TRAININGJOB_STAGE": json.dumps(payload),
        "TRAININGJOB_RESULT_FILE": str(work / "result"),
    }
    return timed([sys.executable, "-m", "trainingjob.runtime"], env)


def script(source: str, work: Path, out: Path) -> float:
    """Seconds of a script."""
    return timed([sys.executable, "-c", source, str(work / "in.csv"), str(out)], dict(os.environ))


def timed(command: list[str], env: dict[str, str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - begun


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="trainingjob-bench-"))
    generate(work / "in.csv")
    contenders = {
        "ours, pandas": lambda out: ours("pandas", work, out),
        "pandas": lambda out: script(PANDAS, work, out),
        "polars": lambda out: script(POLARS, work, out),
        "ours, spark": lambda out: ours("spark", work, out),
        "pyspark": lambda out: script(PYSPARK, work, out),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            out = work / "out" / "dataset"
            shutil.rmtree(work / "out", ignore_errors=True)
            times[name].append(contender(out))
            print(f"  {name}: {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
    shutil.rmtree(work)
    for one, other, goal in (
        ("ours, pandas", "pandas", "goal ≤ 1.3"),
        ("ours, pandas", "polars", "for information"),
        ("ours, spark", "pyspark", "goal ≤ 1.1"),
    ):
        ratio = statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))
        a, b = statistics.median(times[one]), statistics.median(times[other])
        print(f"{one}: {a:.2f} s, {other} by hand: {b:.2f} s, ratio {ratio:.2f} ({goal})")


if __name__ == "__main__":
    main()
