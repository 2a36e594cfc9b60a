"""Only what a ControlPlane of this machine has started may be touched by the tests.

Somebody's real cluster is one wrong KUBECONFIG away, and tests delete things.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import yaml

MARKER = ".trainingjob-cluster.json"


class UnknownClusterError(RuntimeError):
    """A kubeconfig that does not belong to a ControlPlane of this machine."""


def mark(folder: Path, server: str) -> None:
    """Say that the kubeconfigs of this folder lead to a server that this process started."""
    pid = os.getpid()
    marker = {"server": server, "pid": pid, "started": started(pid)}
    (folder / MARKER).write_text(json.dumps(marker), encoding="utf-8")


def alive(folder: Path) -> bool:
    """Whether the process that marked the folder still runs. KeyError, OSError, ValueError."""
    marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    return bool(started(marker["pid"]) == marker["started"])


def refuse_unknown(kubeconfig: Path | str) -> Path:
    """The path of the kubeconfig; raises unless all of its servers are one that we started."""
    path = Path(kubeconfig)
    try:
        servers = _servers(path)
        marker = json.loads((path.parent / MARKER).read_text(encoding="utf-8"))
        known = servers == {marker["server"]} and alive(path.parent)
    except FileNotFoundError as error:
        raise UnknownClusterError(f"{path}: there is no {error.filename}") from None
    except (KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UnknownClusterError(f"{path}: {error!r}") from None
    if not known or {urlsplit(server).hostname for server in servers} != {"127.0.0.1"}:
        raise UnknownClusterError(f"{path}: no ControlPlane of these tests is at {sorted(servers)}")
    return path


def started(pid: int) -> str | None:
    """When a process began, in ticks: its number may since be another's. None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may itself contain anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _servers(path: Path) -> set[str]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {str(entry["cluster"]["server"]) for entry in loaded["clusters"]}
