"""The server. Tests look at its files through Java's own client."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from subprocess import Popen
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
SERVICE = "analytics"


class Hdfs:
    """Runs from start to end of a ``with`` block: two NameNodes, of which one is active, and a
    DataNode; they listen at ``address``."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address

    def __enter__(self) -> Self:
        if not any(JARS.glob("*.jar")):
            raise ComponentError(f"there is no jar in {JARS}: `make {JARS}/.built` fetches it")
        self._temporary = tempfile.TemporaryDirectory(prefix="hdfs-")
        self.folder = Path(self._temporary.name)
        self._gateway, self._process = start_java(
            self.folder, f"-Dhadoop.log.dir={self.folder}", *self._java_options()
        )
        self.java = self._gateway.jvm
        self._prepare()
        hdfs = self.java.org.apache.hadoop.hdfs
        builder = hdfs.MiniDFSCluster.Builder(
            self._configuration(), self.java.java.io.File(str(self.folder / "data"))
        )
        builder.checkDataNodeAddrConfig(True).checkDataNodeHostConfig(True)
        builder.nnTopology(hdfs.MiniDFSNNTopology.simpleHATopology())
        self.cluster = builder.numDataNodes(1).build()
        self.active = 0
        self.cluster.transitionToActive(self.active)
        self.cluster.waitActive()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.shutdown(True)
        stop_java(self._gateway, self._process)
        self._temporary.cleanup()

    def _prepare(self) -> None:
        """What must be there before the NameNodes are."""

    def _java_options(self) -> list[str]:
        return []

    def _configuration(self) -> Any:
        """The servers' settings."""
        conf = self.java.org.apache.hadoop.hdfs.HdfsConfiguration()
        # The servers' parts reach each other at 127.0.0.1, so that is how the NameNodes know their
        # DataNode. Clients elsewhere ask for the name.
        for key, value in {
            "dfs.namenode.rpc-bind-host": "0.0.0.0",
            "dfs.datanode.hostname": self._address,
            "dfs.datanode.address": "0.0.0.0:0",
            "dfs.datanode.http.address": "127.0.0.1:0",
            "dfs.datanode.ipc.address": "127.0.0.1:0",
        }.items():
            conf.set(key, value)
        return conf

    @property
    def files(self) -> Any:
        """Java's client of the active NameNode."""
        return self.cluster.getFileSystem(self.active)

    @property
    def uri(self) -> str:
        """By the NameNode that is active."""
        return f"hdfs://{self._address}:{self._port(self.active)}"

    @property
    def service(self) -> str:
        """By the name that ``settings`` know, whichever NameNode is active."""
        return f"hdfs://{SERVICE}"

    def settings(self, *others: str) -> dict[str, str]:
        """By which clients find the service. ``others``: further NameNodes, which are asked
        first."""
        addresses = [*others, *(f"{self._address}:{self._port(number)}" for number in range(2))]
        names = [f"nn{number}" for number in range(len(addresses))]
        return {
            "dfs.nameservices": SERVICE,
            "dfs.client.use.datanode.hostname": "true",
            f"dfs.ha.namenodes.{SERVICE}": ",".join(names),
            f"dfs.client.failover.proxy.provider.{SERVICE}": "org.apache.hadoop.hdfs.server."
            "namenode.ha.ConfiguredFailoverProxyProvider",
        } | {
            f"dfs.namenode.rpc-address.{SERVICE}.{name}": address
            for name, address in zip(names, addresses, strict=True)
        }

    def config_map(self, *others: str) -> dict[str, Any]:
        """``hadoop-conf``, as an administrator hands it out. See ``settings``."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "hadoop-conf"},
            "data": self.conf(*others),
        }

    def conf(self, *others: str) -> dict[str, str]:
        """The files of a client's ``HADOOP_CONF_DIR``, by name. See ``settings``."""
        return {"hdfs-site.xml": xml(self.settings(*others))}

    def fail_over(self) -> None:
        """The other NameNode becomes the active one."""
        self.rest()
        self.wake(1 - self.active)

    def rest(self) -> None:
        """No NameNode is active."""
        self.cluster.transitionToStandby(self.active)

    def wake(self, number: int | None = None) -> None:
        """A NameNode becomes active: the one that was last, or this one."""
        self.active = self.active if number is None else number
        self.cluster.transitionToActive(self.active)

    def _port(self, number: int) -> int:
        return int(self.cluster.getNameNodePort(number))

    def path(self, path: str) -> Any:
        """As Java's client takes it."""
        return self.java.org.apache.hadoop.fs.Path(path)

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
        action = self.java.org.apache.hadoop.fs.SafeModeAction
        self.files.setSafeMode(action.ENTER if on else action.LEAVE)

    def quota(self, folder: str, *, files: int = -1, space: int = -1) -> None:
        """How many files and folders it may have, itself included, and how many bytes; -1: any."""
        self.files.setQuota(self.path(folder), files, space)

    def permission(self, octal: str) -> Any:
        return self.java.org.apache.hadoop.fs.permission.FsPermission(octal)


def start_java(folder: Path, *options: str) -> tuple[JavaGateway, Popen[bytes]]:
    """A Java process with the classes of Spark, Hadoop and its servers, and its log in ``folder``;
    it ends with this process, however that ends."""
    (folder / "log4j2.properties").write_text(_LOG.format(folder=folder))
    ensure_java()
    spark = Path(pyspark.__file__).parent / "jars"
    (py4j,) = spark.glob("py4j-*.jar")
    home = os.environ.get("JAVA_HOME")
    port, process = launch_gateway(
        classpath=f"{folder}:{JARS}/*:{spark}/*",
        jarpath=str(py4j),
        javaopts=["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *options],
        java_path=f"{home}/bin/java" if home else "java",
        die_on_exit=True,
        return_proc=True,
    )
    return JavaGateway(gateway_parameters=GatewayParameters(port=port)), process


def stop_java(gateway: JavaGateway, process: Popen[bytes]) -> None:
    gateway.shutdown()
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def xml(settings: dict[str, str]) -> str:
    """A file of settings, as Hadoop has them."""
    properties = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>\n"
        for name, value in settings.items()
    )
    return f"<configuration>\n{properties}</configuration>\n"
