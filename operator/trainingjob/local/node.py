"""What only a machine knows about a pod: paths, ports, and the command line that follows."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..api import payload as contract
from ..core import frameworks
from ..core.names import CODE_VOLUME, LABEL_ATTEMPT, LABEL_STAGE
from . import claims, environment
from .files import write_text
from .records import Record

# Below the range from which Linux takes the ports of outgoing connections.
_PORTS = range(20000, 32000)


class ConfigError(Exception):
    """A pod that cannot be configured, in a kubelet's words."""


@dataclass(frozen=True)
class Launch:
    """How a pod's process is started."""

    command: list[str]
    env: dict[str, str]


@dataclass
class Node:
    """The machine. ``ports`` by gang; ``on_port`` is told of a new one, to be stored."""

    claims_dir: Path
    claims: Mapping[str, Path]
    config_maps: Mapping[str, Mapping[str, str]]
    ports: dict[str, int]
    on_port: Callable[[], None]
    token: Path

    def launch(self, record: Record) -> Launch:
        """The pod's command and environment. Raises ConfigError."""
        container = record.container
        declared = container.get("env") or []
        asked = {item["name"]: item.get("value", "") for item in declared}
        variables = environment.declared(declared, self._answers(record, asked))
        command = [*(container.get("command") or ()), *(container.get("args") or ())]
        if not command:
            raise ConfigError("no command specified")
        env = environment.of_node(os.environ)
        env |= environment.of_gang(variables, len(os.sched_getaffinity(0)))
        env |= variables
        env[environment.MARKER] = record.uid
        return Launch(environment.resolve(command, variables), env)

    def _answers(self, record: Record, asked: Mapping[str, str]) -> dict[str, str]:
        """The one table of what replaces the values that hold in a cluster."""
        table: dict[str, Callable[[], str]] = {
            contract.CLAIMS_DIR: lambda: self._claims(record),
            contract.RESULT_FILE: lambda: str(record.termination),
            contract.COPIES_DIR: lambda: str(record.folder / "copies"),
            contract.HADOOP_CONF_DIR: lambda: self._hadoop(record, asked[contract.HADOOP_CONF_DIR]),
            contract.KRB5_CONFIG: lambda: self._krb5(record, asked[contract.KRB5_CONFIG]),
            contract.KEYTAB: lambda: environment.own_path(os.environ, environment.CLIENT_KEYTAB),
            contract.STATUS_TOKEN: lambda: str(self.token),
            contract.SPARK_MASTER: lambda: "local[*]",
            contract.CODE_FILES: lambda: self._code(record, asked[contract.CODE_FILES]),
            # As with the credentials of storage, those of the caller.
            contract.GIT_USERNAME: lambda: os.environ.get(contract.GIT_USERNAME, ""),
            contract.GIT_PASSWORD: lambda: os.environ.get(contract.GIT_PASSWORD, ""),
            contract.GIT_CA: lambda: os.environ.get(contract.GIT_CA, ""),
            contract.SCRIPT_FILE: lambda: self._mounted(record, asked[contract.SCRIPT_FILE]),
        }
        found = {name: answer() for name, answer in table.items() if name in asked}
        return found | frameworks.here(asked, lambda port: self._port(record, port))

    def _claims(self, record: Record) -> str:
        for name in claims.mounted_by(record.pod):
            if name not in self.claims:
                raise ConfigError(f'persistentvolumeclaim "{name}" not found')
        claims.link(self.claims_dir, self.claims)
        return str(self.claims_dir)

    def _port(self, record: Record, port: int) -> int:
        """What stands for a port of the gang's: the same for all pods of an attempt, and another
        for the next."""
        labels = record.pod["metadata"]["labels"]
        gang = f"{labels[LABEL_STAGE]}-{labels[LABEL_ATTEMPT]}-{port}"
        if gang not in self.ports:
            self.ports[gang] = free_port()
            self.on_port()
        return self.ports[gang]

    def _hadoop(self, record: Record, path: str) -> str:
        """The folder of Hadoop's settings: of the ConfigMap in the manifest's file, else the
        caller's own; one that the user names is where they say."""
        mount = _mount_of(record, path)
        own = environment.own_path(os.environ, contract.HADOOP_CONF_DIR)
        if mount is None:
            return path
        if own and mount[1]["name"] not in self.config_maps:
            return own
        return self._mounted(record, path)

    def _krb5(self, record: Record, path: str) -> str:
        """The file of the ConfigMap in the manifest's file, else the caller's or the machine's."""
        folder = Path(self._hadoop(record, str(PurePosixPath(path).parent)))
        found = folder / PurePosixPath(path).name
        own = environment.own_path(os.environ, contract.KRB5_CONFIG, "/etc/krb5.conf")
        return str(found) if found.is_file() else own

    def _code(self, record: Record, path: str) -> str:
        """Where code is fetched to, or the ConfigMap that it is."""
        volumes = record.pod["spec"].get("volumes") or ()
        if all(volume["name"] != CODE_VOLUME for volume in volumes):
            return self._mounted(record, path)
        folder = record.folder / "volumes" / CODE_VOLUME
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _mounted(self, record: Record, path: str) -> str:
        """What a pod would see at ``path``: a ConfigMap that is mounted there, or a file of it."""
        mount = _mount_of(record, path)
        if mount is None:
            raise ConfigError(f"nothing is mounted at {path}")
        name, source, inside = mount
        folder = record.folder / "volumes" / name
        self._write_config_map(source, folder)
        return str(folder / inside)

    def _write_config_map(self, source: Mapping[str, Any], folder: Path) -> None:
        data = self.config_maps.get(source["name"])
        if data is None:
            raise ConfigError(f'configmap "{source["name"]}" not found')
        folder.mkdir(parents=True, exist_ok=True)
        for item in source.get("items") or [{"key": key, "path": key} for key in data]:
            if item["key"] not in data:
                raise ConfigError(
                    f'configmap "{source["name"]}" references non-existent config key: '
                    f"{item['key']}"
                )
            write_text(folder / item["path"], data[item["key"]], durable=False)


def _mount_of(record: Record, path: str) -> tuple[str, Mapping[str, Any], PurePosixPath] | None:
    """The volume's name and the ConfigMap that ``path`` is or lies in, and where in it."""
    volumes = {volume["name"]: volume for volume in record.pod["spec"].get("volumes") or ()}
    for mount in record.container.get("volumeMounts") or ():
        source = volumes.get(mount["name"], {}).get("configMap")
        if source is not None and PurePosixPath(path).is_relative_to(mount["mountPath"]):
            return mount["name"], source, PurePosixPath(path).relative_to(mount["mountPath"])
    return None


def free_port() -> int:
    """A port on which nobody listens. Should somebody take it before it is used, the attempt
    fails and the next one gets another."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - not a secret
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
