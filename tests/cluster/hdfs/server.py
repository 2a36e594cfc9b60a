"""The server. Tests look at its files through Java's own client."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Self

import pyspark
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from trainingjob.runtime.preprocess.engines.java import ensure_java

from ..process import ComponentError
from .jars import JARS

# It says much, and nothing that a test reads.
_LOG = """\
rootLogger.level = error
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {folder}/log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %p %c: %m%n
"""


class Hdfs:
    """Runs from start to end of a ``with`` block, with one DataNode; listens at ``address``."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address

    def __enter__(self) -> Self:
        if not any(JARS.glob("*.jar")):
            raise ComponentError(f"there is no jar in {JARS}: `make {JARS}/.built` fetches it")
        self._folder = tempfile.TemporaryDirectory(prefix="hdfs-")
        folder = Path(self._folder.name)
        (folder / "log4j2.properties").write_text(_LOG.format(folder=folder))
        ensure_java()
        spark = Path(pyspark.__file__).parent / "jars"
        (py4j,) = spark.glob("py4j-*.jar")
        home = os.environ.get("JAVA_HOME")
        # It ends with this process, however that ends.
        port, self._process = launch_gateway(
            classpath=f"{folder}:{JARS}/*:{spark}/*",
            jarpath=str(py4j),
            javaopts=["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dhadoop.log.dir={folder}"],
            java_path=f"{home}/bin/java" if home else "java",
            die_on_exit=True,
            return_proc=True,
        )
        self._gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port))
        self._java = self._gateway.jvm
        hdfs = self._java.org.apache.hadoop.hdfs
        conf = hdfs.HdfsConfiguration()
        # Its own parts reach each other at 127.0.0.1, so that is how the NameNode knows its
        # DataNode. Clients elsewhere ask for the name (dfs.client.use.datanode.hostname).
        for key, value in {
            "dfs.namenode.rpc-bind-host": "0.0.0.0",
            "dfs.datanode.hostname": self._address,
            "dfs.datanode.address": "0.0.0.0:0",
            "dfs.datanode.http.address": "127.0.0.1:0",
            "dfs.datanode.ipc.address": "127.0.0.1:0",
        }.items():
            conf.set(key, value)
        builder = hdfs.MiniDFSCluster.Builder(conf, self._java.java.io.File(str(folder / "data")))
        builder.checkDataNodeAddrConfig(True).checkDataNodeHostConfig(True)
        self.cluster = builder.numDataNodes(1).build()
        self.cluster.waitActive()
        self.files: Any = self.cluster.getFileSystem()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.shutdown(True)
        self._gateway.shutdown()
        self._process.stdin.close()
        self._process.wait(30)
        self._folder.cleanup()

    @property
    def uri(self) -> str:
        return f"hdfs://{self._address}:{self.cluster.getNameNodePort()}"

    def path(self, path: str) -> Any:
        """As Java's client takes it."""
        return self._java.org.apache.hadoop.fs.Path(path)

    def put(self, path: str, data: bytes) -> None:
        file = self.files.create(self.path(path), True)
        file.write(data)
        file.close()

    def get(self, path: str) -> bytes:
        file = self.files.open(self.path(path))
        try:
            return bytes(file.readAllBytes())
        finally:
            file.close()

    def keys(self, folder: str) -> list[str]:
        """The files below a folder."""
        found, entries = [], self.files.listFiles(self.path(folder), True)
        while entries.hasNext():
            found.append(entries.next().getPath().toUri().getPath())
        return sorted(found)

    def safe_mode(self, on: bool) -> None:
        action = self._java.org.apache.hadoop.fs.SafeModeAction
        self.files.setSafeMode(action.ENTER if on else action.LEAVE)

    def quota(self, folder: str, files: int) -> None:
        """How many files and folders it may have, itself included."""
        self.files.setQuota(self.path(folder), files, 2**63 - 1)

    def permission(self, octal: str) -> Any:
        return self._java.org.apache.hadoop.fs.permission.FsPermission(octal)
