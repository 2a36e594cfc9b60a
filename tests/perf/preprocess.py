"""The preprocess stage ÷ scripts that people would write by hand for the same work, in turns.

``python -m tests.perf.preprocess [CASE]...``, see CASES. On a machine that others use as well, compare
processor seconds, which it prints besides: those of a process and of all that it started."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROWS = 1_000_000
ROUNDS = 3
_PR_SET_CHILD_SUBREAPER = 36
WIDE_STEPS = [{"fillna": {"strategy": "mean"}}, {"scale": {}}]
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


WIDE_PANDAS = """
import sys, pathlib
import numpy as np, pandas as pd
df = pd.read_csv(sys.argv[1])
part = np.random.default_rng(1).choice(3, len(df), p=[0.7, 0.1, 0.2])
names = df.columns.drop("y")
df[names] = df[names].fillna(df.loc[part == 0, names].mean())
train = df.loc[part == 0, names]
df[names] = (df[names] - train.mean()) / train.std(ddof=0)
for number, name in enumerate(("train", "validation", "test")):
    out = pathlib.Path(sys.argv[2], name); out.mkdir(parents=True)
    df[part == number].to_parquet(out / "part-0.parquet")
"""
WIDE_PYSPARK = """
import sys
from pyspark.sql import SparkSession, functions as F
spark = (SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
         .config("spark.sql.shuffle.partitions", "2").config("spark.driver.host", "127.0.0.1").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
df = spark.read.csv(sys.argv[1], header=True, inferSchema=True)
names = [c for c in df.columns if c != "y"]
df = df.withColumn("u", F.rand(1)).cache()
part = F.when(F.col("u") < 0.7, "train").when(F.col("u") < 0.8, "validation").otherwise("test")
df = df.withColumn("part", part).drop("u")
means = df.filter("part = 'train'").agg(*(F.mean(c).alias(c) for c in names)).first().asDict()
df = df.fillna(means)
train = df.filter("part = 'train'")
found = train.agg(*(f(c).alias(f"{f.__name__}_{c}") for c in names for f in (F.mean, F.stddev_pop))).first()
df = df.select(*(((F.col(c) - found[f"mean_{c}"]) / found[f"stddev_pop_{c}"]).alias(c) for c in names), "y", "part")
df.write.partitionBy("part").parquet(sys.argv[2])
spark.stop()
"""


def long_table(path: Path, seed: int = 0) -> None:
    """1 M rows, 12 columns: numbers with nulls, whole numbers, text, some duplicates."""
    rng = np.random.default_rng(seed)
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


def large_table(path: Path) -> None:
    """Fourteen such tables, one below the other: 1.1 GB."""
    part = path.with_suffix(".part")
    with path.open("wb") as file:
        for seed in range(14):
            long_table(part, seed)
            with part.open("rb") as rows:
                header = next(rows)
                file.write(b"" if seed else header)
                shutil.copyfileobj(rows, file)
    part.unlink()


def wide_table(rows: int, columns: int) -> Callable[[Path], None]:
    """Numbers, one in twenty of them null, and a label."""

    def generate(path: Path) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(rows, columns)).round(6)
        values[rng.random(values.shape) < 0.05] = np.nan
        frame = pd.DataFrame(values, columns=[f"f{number}" for number in range(columns)])
        frame["y"] = rng.choice([0, 1], rows)
        frame.to_csv(path, index=False)

    return generate


@dataclass(frozen=True)
class Case:
    """A table, what is done to it, the scripts that do the same, and the ratios that we look at:
    of whom to whom, and the most that time and memory may be; to nobody, MiB at most."""

    generate: Callable[[Path], None]
    steps: list[dict[str, Any]]
    scripts: dict[str, str]
    ratios: tuple[tuple[str, str, float | None, float | None], ...]
    rounds: int = ROUNDS


_PANDAS, _SPARK = "ours, pandas", "ours, spark"
CASES = {
    "1 M rows": Case(
        long_table,
        STEPS,
        {"pandas": PANDAS, "polars": POLARS, "pyspark": PYSPARK},
        ((_PANDAS, "pandas", 1.1, None), (_PANDAS, "polars", 2.0, None), (_SPARK, "pyspark", 1.1, None)),
    ),
    "400 x 5000": Case(
        wide_table(400, 5000), WIDE_STEPS, {"pandas": WIDE_PANDAS}, ((_PANDAS, "pandas", 2.0, 3.0),)
    ),
    "100 000 x 500": Case(
        wide_table(100_000, 500),
        WIDE_STEPS,
        {"pandas": WIDE_PANDAS, "pyspark": WIDE_PYSPARK},
        ((_PANDAS, "pandas", 2.0, 3.0), (_SPARK, "pyspark", 1.1, None)),
    ),
    "1 GB": Case(large_table, STEPS, {}, ((_PANDAS, "", None, 2048.0),), rounds=1),
}  # fmt: skip


def ours(engine: str, steps: list[dict[str, Any]], work: Path, out: Path) -> Used:
    """The stage, as its pod runs it."""
    payload = {
        "stage": "preprocess",
        "job": {"namespace": "bench", "name": "bench", "uid": "bench"},
        "attempt": 1,
        "task": {"type": "classification", "label": "y"},
        "engine": engine,
        "input": {"uri": f"file://{work}/in.csv", "format": "csv"},
        "steps": steps,
        "split": {"test": 0.2, "validation": 0.1, "seed": 1},
        "numericFeatures": False,
        "output": f"file://{out}",
    }
    env = {
        **os.environ,
        "TRAININGJOB_STAGE": json.dumps(payload),
        "TRAININGJOB_RESULT_FILE": str(work / "result"),
    }
    return run([sys.executable, "-m", "trainingjob.runtime"], env)


@dataclass(frozen=True)
class Used:
    """Seconds on the clock and of processors, of a command and all that it started, and MiB of
    memory at most, of one of these processes: with Spark, of Java."""

    seconds: float
    processor: float
    memory: float


def run(command: list[str], env: dict[str, str]) -> Used:
    """What a command used; it must succeed."""
    # Java outlives the command that has started it by a moment, and comes to us then.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begun = time.perf_counter()
    seconds = processor = memory = 0.0
    with tempfile.TemporaryFile("w+") as said:
        actions = [(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)]
        pid = os.posix_spawn(command[0], command, env, file_actions=actions)
        with suppress(ChildProcessError):
            while True:
                ended, status, usage = os.wait4(-1, 0)
                processor += usage.ru_utime + usage.ru_stime
                memory = max(memory, usage.ru_maxrss / 1024)
                if ended == pid:
                    seconds = time.perf_counter() - begun
                    if status:
                        said.seek(0)
                        raise SystemExit(said.read())
    return Used(seconds, processor, memory)


def measure(name: str, case: Case) -> None:
    work = Path(tempfile.mkdtemp(prefix="trainingjob-bench-"))
    case.generate(work / "in.csv")
    names = dict.fromkeys(one for pair in case.ratios for one in pair[:2] if one)
    found: dict[str, list[Used]] = {one: [] for one in names}
    for _ in range(case.rounds):
        for one in names:
            out = work / "out" / "dataset"
            shutil.rmtree(work / "out", ignore_errors=True)
            if one in case.scripts:
                command = [sys.executable, "-c", case.scripts[one], str(work / "in.csv"), str(out)]
                used = run(command, dict(os.environ))
            else:
                used = ours(one.removeprefix("ours, "), case.steps, work, out)
            found[one].append(used)
            print(
                f"  {name}, {one}: {used.seconds:.2f} s, {used.processor:.2f} s of processors, "
                f"{used.memory:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )
    shutil.rmtree(work)
    for one, other, most, most_memory in case.ratios:
        if not other:
            memory = statistics.median(round_.memory for round_ in found[one])
            print(f"{name}, {one}: {memory:.0f} MiB (goal ≤ {most_memory:.0f} MiB)", flush=True)
            continue
        for field, unit, goal in (
            ("seconds", "s", most),
            ("processor", "s of processors", None),
            ("memory", "MiB", most_memory),
        ):
            a, b = ([getattr(round_, field) for round_ in found[who]] for who in (one, other))
            ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
            print(
                f"{name}, {one}: {statistics.median(a):.2f} {unit}, {other} by hand: "
                f"{statistics.median(b):.2f} {unit}, ratio {ratio:.2f}"
                + (f" (goal ≤ {goal})" if goal else ""),
                flush=True,
            )


def main() -> None:
    for name, case in CASES.items():
        if len(sys.argv) < 2 or name in sys.argv[1:] or __name__ != "__main__":
            measure(name, case)


if __name__ == "__main__":
    main()
