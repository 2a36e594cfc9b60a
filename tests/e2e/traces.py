"""What a node has made on this machine, found by the name of its folder and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.node import cgroups
from tests.cluster.node.command import run
from tests.cluster.node.packages import program

TMP = Path("/tmp")


def traces(name: str, mark: str) -> dict[str, list[str]]:
    """``name``: of the node's folder. ``mark``: in the environment of whoever started it."""
    return {
        "processes": processes(name, mark),
        "mounts": mounts(name),
        "cgroups": [str(path) for top in cgroups.hierarchies() for path in top.glob(name)],
    }


def processes(*marks: str) -> list[str]:
    """Those that have one of the marks in their command line, environment or cgroup."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            seen = command + (path / "environ").read_bytes() + (path / "cgroup").read_bytes()
        except OSError:
            continue  # it has just ended
        if any(mark.encode() in seen for mark in marks):
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def mounts(*marks: str) -> list[str]:
    """Those of this machine, not of the namespaces on it."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if any(mark in line for mark in marks)]


def machine() -> dict[str, Any]:
    """What everybody on this machine shares, and a node might change."""
    tables = run([program("iptables-save")])
    return {
        "iptables": [line for line in tables.splitlines() if line[0] in "*:-"],
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": run([program("ip"), "route", "show", "table", "all"]),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii"),
        "network namespaces": run([program("ip"), "netns", "list"]),
        "mounts": mounts("containerd", "kubelet", "/netns", "trainingjob-node"),
        "folders": sorted(str(path) for path in leftovers()),
    }


def leftovers() -> list[Path]:
    """Folders where a Debian's containerd, kubelet and CNI would write."""
    tops = ("containerd", "kubelet", "cni", "calico", "netns")
    return [
        path
        for top in ("/run", "/var/lib", "/var/run", "/etc", "/var/log")
        for name in tops
        if (path := Path(top, name)).exists()
    ]
