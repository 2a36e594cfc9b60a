"""A commit fetched, in this process and as the container does it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.git_server import (
    Server,
    git,
)
from trainingjob.api.payload import GitRef
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.checkout import repository as fetching
from trainingjob.runtime.checkout import tree as checkout
from trainingjob.runtime.checkout.repository import Source

CODE = {"train.py": "print(1)\n", "lib/data.py": "x = 1\n", "lib/run.sh": "#!/bin/sh\n"}


def head(root: Path) -> str:
    return git(root / "repo", "rev-parse", "main")


def fetched(
    server: Server, hash_: str, folder: Path, path: str | None = None, **given: str
) -> checkout.Written:
    """As the container does, in this process."""
    url = f"{server.url}/repo"
    for name in ("pack", "code"):
        (folder / name).mkdir()
    objects = fetching.fetch(Source(url, hash_, **given), folder / "pack")
    with ExitStack() as stack:
        stack.callback(objects.close)
        return checkout.write(objects, GitRef(url=url, commit=hash_, path=path), folder / "code")


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in (folder / "code").rglob("*") if not path.is_dir())
    return {path.relative_to(folder / "code").as_posix(): path.read_text() for path in found}


def refused(server: Server, hash_: str, folder: Path, **given: str) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        fetched(server, hash_, folder, **given)
    return caught.value


# As the container: bounded, with the variables of the pod.
ALONE = """
import sys
from trainingjob.runtime import __main__, checkout
checkout._MEMORY, checkout._FETCH_SECONDS = int(sys.argv[1]), float(sys.argv[2])
sys.exit(__main__.main())
"""


def in_a_container(
    folder: Path, url: str, hash_: str, memory: int = 2**30, seconds: float = 300, **env: str
) -> tuple[int, str, str]:
    """Its exit code, its message, its log."""
    payload = f'{{"stage": "checkout", "git": {{"url": "{url}", "commit": "{hash_}"}}}}'
    (folder / "volume").mkdir(exist_ok=True)
    variables = (
        os.environ
        | env
        | {
            "TRAININGJOB_STAGE": payload,
            "TRAININGJOB_RESULT_FILE": str(folder / "message"),
            "TRAININGJOB_CODE_FILES": str(folder / "volume"),
            "TMPDIR": str(folder),
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(memory), str(seconds)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    message = folder / "message"
    return (
        done.returncode,
        message.read_text() if message.exists() else "",
        done.stderr + done.stdout,
    )
