"""``python -m tests.fuzz [--seconds 600] [TARGET ...]``: until time is up or something
is found.

What breaks a reader is written, as short as it could be made, to ``.cache/fuzz/TARGET``; put into
``tests/fuzz/found`` it is tried ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from .inputs import inputs
from .targets import Target, targets
from .test_fuzz import NAMES
from .trial import tried

OUT = Path(".cache/fuzz")


class _Over(BaseException):
    pass


def _one(name: str, target: Target, seconds: float) -> bool:
    """Whether nothing was found."""
    end, count = time.monotonic() + seconds, 0
    last, found = OUT / name / "last", [b""]
    last.parent.mkdir(parents=True, exist_ok=True)

    @settings(
        max_examples=10**9,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[*HealthCheck],
    )
    @given(inputs(target.good))
    def attempt(data: bytes) -> None:
        nonlocal count
        if time.monotonic() > end:
            raise _Over
        count += 1
        last.write_bytes(data)  # what ends the process is there to be looked at
        try:
            tried(target, data)
        except Exception:
            found[0] = data
            raise

    try:
        attempt()
    except _Over:
        if not found[0]:
            print(f"{name}: {count} inputs, nothing found", flush=True)
            return True
    except BaseException:
        traceback.print_exc()
    digest = hashlib.sha256(found[0]).hexdigest()[:12]
    (OUT / name / digest).write_bytes(found[0])
    print(f"{name}: FOUND after {count} inputs: {OUT / name / digest}", flush=True)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    args = parser.parse_args()
    if len(args.targets) == 1:
        with tempfile.TemporaryDirectory() as folder:
            name = args.targets[0]
            return 0 if _one(name, targets(Path(folder))[name], args.seconds) else 1
    # A process each: one that ends takes none of the others with it.
    ended = [
        subprocess.run(
            [sys.executable, "-m", "tests.fuzz", f"--seconds={args.seconds}", name], check=False
        ).returncode
        for name in args.targets or NAMES
    ]
    return 1 if any(ended) else 0


if __name__ == "__main__":
    sys.exit(main())
