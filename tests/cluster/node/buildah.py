"""buildah in namespaces of its own: what it mounts and starts ends with it, and it with us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..process import GUARD
from .errors import NodeError
from .packages import PATH, program

SECONDS = 3600
TAIL_LINES = 25
# Measured: PyTorch with CUDA, once as a layer, once in the registry, once unpacked on the node, and
# once more on its way.
DISK_GIB = 25
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


class Buildah:
    """Its images and layers are below ``folder``. One at a time: see ``Storage.building``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run_root = folder / "run"
        self._temporary = folder / "tmp"
        # What a killed one knew of its mounts is no longer true.
        for path in (self._run_root, self._temporary):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        (folder / "policy.json").write_text(json.dumps(POLICY), encoding="utf-8")
        (folder / "registries.conf").touch()

    def __call__(self, *arguments: str | Path) -> str:
        """Its output; raises NodeError with the end of what it said."""
        storage: list[str | Path] = ["--root", self._folder / "root", "--runroot", self._run_root]
        try:
            return isolated(
                [program("buildah"), *storage, "--storage-driver", "overlay", *arguments],
                self._folder / "log",
                {
                    "TMPDIR": str(self._temporary),  # layers pass through it
                    "CONTAINERS_REGISTRIES_CONF": str(self._folder / "registries.conf"),
                },
            )
        except NodeError as error:
            if "no space left on device" in str(error):
                raise NodeError(
                    f"the disk of {self._folder} is full: our images take {DISK_GIB} GiB while "
                    "they are built and used; `make clean` frees what earlier ones take"
                ) from error
            raise

    @property
    def policy(self) -> list[str]:
        return ["--signature-policy", str(self._folder / "policy.json")]

    def has(self, image: str) -> bool:
        listed = self("images", "--format", "{{.Name}}:{{.Tag}}")
        return f"localhost/{image}" in listed.splitlines()

    def end(self) -> None:
        """Remove what builds that failed or were killed have left half done."""
        self("rm", "--all")


def isolated(
    command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None
) -> str:
    """Run in new namespaces for processes and mounts; standard error goes to a log."""
    guard: list[str | Path] = [sys.executable, "-I", "-S", GUARD, str(os.getpid())]
    space = [program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with log.open("w") as file:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [*guard, *space, "--", *command],
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    if done.returncode:
        text = done.stdout + log.read_text(errors="replace")
        tail = "\n".join(text.splitlines()[-TAIL_LINES:])
        words = " ".join(map(str, command))
        raise NodeError(f"{words}: exit code {done.returncode}\n{tail}")
    return done.stdout
