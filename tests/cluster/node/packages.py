"""The programs that a node is made of and that Go does not build: installed from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import NodeError

# What is looked for, and Debian's package that has it.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "openssl": "openssl",
    "tar": "tar",
    "env": "coreutils",
}
BUSYBOX = Path("/bin/busybox")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
# Ours only: programs that somebody put first on PATH are not what was tested.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_root() -> None:
    if os.geteuid() != 0:
        raise NodeError(
            "a node needs root, for containers, mounts and network devices: run it as root"
        )


def install() -> None:
    """Install what is missing, with apt-get; raises NodeError when that cannot be done."""
    require_root()
    wanted = missing()
    if not wanted:
        return
    if shutil.which("apt-get", path=PATH) is None:
        raise NodeError(f"install {', '.join(wanted)} first: there is no apt-get to do it")
    print(f"installing Debian packages: {', '.join(wanted)}", flush=True)
    # Another apt-get may be at work.
    _apt("-o", "DPkg::Lock::Timeout=300", "update")
    _apt("-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", *wanted)
    if still := missing():
        raise NodeError(f"still missing after apt-get install: {', '.join(still)}")


def missing() -> list[str]:
    """Debian's packages that are needed and not there."""
    found = {package for name, package in PROGRAMS.items() if not shutil.which(name, path=PATH)}
    if not _is_static(BUSYBOX):
        found.add("busybox-static")
    if not any(_has_plugins(folder) for folder in CNI_FOLDERS):
        found.add("containernetworking-plugins")
    return sorted(found)


def program(name: str) -> str:
    """Where it is, in full."""
    path = shutil.which(name, path=PATH)
    if path is None:
        raise NodeError(f"{name} is missing: install Debian's package {PROGRAMS[name]}")
    return path


def cni_folder() -> Path:
    return next(folder for folder in CNI_FOLDERS if _has_plugins(folder))


def _has_plugins(folder: Path) -> bool:
    return all((folder / name).exists() for name in CNI_PLUGINS)


def _is_static(path: Path) -> bool:
    """It alone is put into images: a loader or libraries are not there."""
    try:
        return b"/ld-linux" not in path.read_bytes()
    except FileNotFoundError:
        return False


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        # "E: Unable to locate package ..."; addresses of mirrors are in other lines.
        told = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise NodeError(f"apt-get {arguments[2]} failed: {told[0] if told else done.returncode}")
