"""What it costs of the processor to make tokens of texts, beside Hugging Face's `tokenizers` alone.

Processor time, and not time: others who use the machine lie in it less. Of two sizes the difference
counts, which leaves out what starts.
"""

from __future__ import annotations

import os
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from tests.local.preprocess.both import payload
from trainingjob.runtime import preprocess
from trainingjob.runtime.preprocess.engines.java import ensure_java
from trainingjob.runtime.preprocess.engines.spark_session import start_spark
from trainingjob.runtime.preprocess.tokens import tokenizer

TASK = {"type": "languageModel", "text": "body"}
VOCABULARY, LENGTH = 8000, 512
# Bytes of texts.
SMALL, LARGE = 6 * 2**20, 24 * 2**20
# Of a text, so that there are many.
_CHARS = 4000


def texts(size: int) -> list[str]:
    """Python's own library, in pieces."""
    found: list[str] = []
    left = size
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        for start in range(0, len(text), _CHARS):
            # No two are the same.
            found.append(f"{len(found)} {text[start : start + _CHARS]}")
            left -= len(found[-1].encode())
            if left <= 0:
                return found
    return found


def processor_seconds() -> float:
    """Of this process and all below it, those that have ended included."""
    here = psutil.Process()
    times = [one.cpu_times() for one in (here, *here.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def rate(work: Callable[[list[str], Path], None], folder: Path) -> float:
    """Bytes a second of the processor."""
    taken = []
    for name, size in (("warm", SMALL), ("small", SMALL), ("large", LARGE)):
        its = texts(size)
        place = folder / name
        place.mkdir()
        pq.write_table(pa.table({"body": its}), place / "texts.parquet", row_group_size=2000)
        begin = processor_seconds()
        work(its, place)
        taken.append((processor_seconds() - begin, sum(len(text.encode()) for text in its)))
    (_, (small, few), (large, many)) = taken
    return (many - few) / (large - small)


def main() -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TRAININGJOB_SPARK_MASTER"] = "local[1]"
    ensure_java()
    chosen = tokenizer.learn(texts(SMALL), VOCABULARY, tokenizer.END)
    tool = Tokenizer.from_str(chosen.text)

    def alone(its: list[str], place: Path) -> None:
        for start in range(0, len(its), 1000):
            tool.encode_batch_fast(its[start : start + 1000], add_special_tokens=False)

    def stage(engine: str) -> Callable[[list[str], Path], None]:
        def work(its: list[str], place: Path) -> None:
            tokenize = {"from": f"file://{place}/tokenizer.json", "sequenceLength": LENGTH}
            (place / "tokenizer.json").write_text(chosen.text)
            preprocess.run(
                payload(
                    engine,
                    place / "texts.parquet",
                    place / "out",
                    format="parquet",
                    task=TASK,
                    tokenize=tokenize,
                )
            )

        return work

    # One for all: what a Java process has taken is not known once it has ended.
    session = start_spark({})
    with tempfile.TemporaryDirectory() as name:
        rates = {}
        for what, work in (
            ("alone", alone),
            ("pandas", stage("pandas")),
            ("spark", stage("spark")),
        ):
            (folder := Path(name) / what).mkdir()
            begin = time.perf_counter()
            rates[what] = rate(work, folder)
            print(
                f"tokenize, {what}: {rates[what] / 1e6:.2f} MB a second of the processor, "
                f"{rates[what] / rates['alone']:.2f} of tokenizers alone "
                f"({time.perf_counter() - begin:.0f} s)"
            )
    session.stop()


if __name__ == "__main__":
    main()
