"""Writing a dataset to S3 and HDFS ÷ to a folder, in turns, and the bytes that it takes.

``python -m tests.perf.storage [ROWS]``. Servers run on this machine, and take processor time of it.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.cluster.hdfs.server import Hdfs
from tests.cluster.s3 import S3Server
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import HASH, SPLIT, Engine, Frame, Layout
from trainingjob.runtime.preprocess.engines.java import ensure_java
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.storage.publish import Place

ROWS = 1_000_000
ROUNDS = 3
COLUMNS = 18


class Relay:
    """Passes connections on to a server, and counts what is sent to it."""

    def __init__(self, target: str) -> None:
        self.sent = 0
        at = urlsplit(target)
        self._to = (at.hostname or "", at.port or 0)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            one = self._server.accept()[0]
            other = socket.create_connection(self._to)
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        towards = sink.getpeername() == self._to
        while data := source.recv(2**18):
            sink.sendall(data)
            self.sent += len(data) if towards else 0
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def frame_of(engine: Engine, rows: int) -> Iterator[Frame]:
    """Random numbers, divided and kept, so that only writing is measured."""
    spark = engine.dialect.name == "spark"
    source = f"range({rows})"
    value, number = ("rand({})", "id") if spark else ("random() + 0 * {}", "range")
    columns: dict[str, ColumnType] = {f"c{index}": "double" for index in range(COLUMNS)}
    values = ", ".join(f"{value.format(i)} AS {name}" for i, name in enumerate(columns))
    place = (
        f"xxhash64({number})" if spark else f"(CAST(hash({number}) >> 1 AS BIGINT) - {2**62}) * 2"
    )
    view = engine.view(
        f"SELECT {values}, {place} AS {HASH}, CAST(2 AS TINYINT) AS {SPLIT} FROM {source}"
    )
    frame = engine.keep(Frame(view, columns, (HASH, SPLIT), Layout(rows)))
    engine.rows(f"SELECT count(*) FROM {frame.view}")
    yield frame


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else ROWS
    ensure_java()
    with ExitStack() as stack:
        s3, hdfs = stack.enter_context(S3Server()), stack.enter_context(Hdfs())
        relay = Relay(s3.endpoint)
        os.environ |= {**s3.variables, "AWS_ENDPOINT_URL": relay.endpoint}
        s3.put("bucket")
        local = stack.enter_context(tempfile.TemporaryDirectory())
        places = {"a folder": local, "S3": "s3://bucket/data", "HDFS": f"{hdfs.uri}/data"}
        for name, make in (("pandas", DuckdbEngine), ("spark", lambda: SparkEngine({}))):
            with make() as engine, frame_of(engine, rows) as frame:  # type: ignore[attr-defined]
                took: dict[str, list[float]] = {place: [] for place in places}
                kept = sent = 0
                for turn in range(ROUNDS + 1):
                    for place, where in places.items():
                        before, began = relay.sent, time.perf_counter()
                        written = engine.write(frame, Place(where, f"{name}{turn}"))
                        seconds = time.perf_counter() - began
                        if turn:  # the first one loads code
                            took[place].append(seconds)
                        if place == "S3":
                            sent += relay.sent - before
                            kept += sum(part.file.bytes for its in written.values() for part in its)
                medians = {place: statistics.median(each) for place, each in took.items()}
                base = medians["a folder"]
                for place, seconds in medians.items():
                    print(f"{name} to {place}: {seconds:.2f} s, {seconds / base:.2f} of a folder")
                print(f"{name}: {sent} bytes sent to S3 for {kept} kept: {sent / kept:.4f}")


if __name__ == "__main__":
    main()
