"""An HDFS to try things on, until Ctrl-C: ``python -m tests.cluster.hdfs.serve [--kerberos]``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import threading
from pathlib import Path

from trainingjob.runtime.base.errors import StageFailure

from ..build import ROOT
from ..process import ComponentError
from .jars import JARS
from .kerberos import SecureHdfs
from .server import Hdfs

EXAMPLE = ROOT / "examples/hadoop"
CONF = JARS / "conf"
KEYTAB = JARS / "trainer.keytab"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.hdfs.serve", description=__doc__)
    parser.add_argument("--kerberos", action="store_true", help="with Kerberos, and encrypted")
    kerberos = parser.parse_args().kerberos
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with SecureHdfs() if kerberos else Hdfs() as server:
            prepare(server)
            for line in said(server):
                print(line, flush=True)
            stop.wait()
    except (ComponentError, StageFailure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(server: Hdfs) -> None:
    """The example's data, folders that anybody may write to, and what a client needs."""
    for path in (EXAMPLE / "datasets").glob("*.csv"):
        server.put(f"/datasets/{path.name}", path.read_bytes())
    for folder in ("/datasets", "/runs"):
        server.files.mkdirs(server.path(folder))
        server.files.setPermission(server.path(folder), server.permission("777"))
    shutil.rmtree(CONF, ignore_errors=True)
    CONF.mkdir()
    for name, content in server.conf().items():
        (CONF / name).write_text(content, encoding="utf-8")
    if isinstance(server, SecureHdfs):
        shutil.copy(server.trainer, KEYTAB)
        KEYTAB.chmod(0o600)


def said(server: Hdfs) -> list[str]:
    """The commands by which a job runs on it."""
    export, name = f"export HADOOP_CONF_DIR={_short(CONF)}", "job"
    if isinstance(server, SecureHdfs):
        export, name = f"{export} KRB5_CLIENT_KTNAME={_short(KEYTAB)}", "kerberos"
    return [
        export,
        f"trainingjob run {_short(EXAMPLE)}/{name}.yaml",
        f"# {server.service} has two NameNodes and a DataNode on this machine; Ctrl-C ends it",
    ]


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
