"""`trainingjob generate`: a look at what a language model of this machine has learned."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from ..api.payload import CLAIMS_DIR
from ..api.printable import escaped
from ..api.stored import Unreadable, read_stored
from ..api.v1alpha1 import TrainingJob
from ..core import names, stages
from ..local import claims, environment
from ..local.store import Home, Workspace
from .errors import UsageError, last_words
from .exits import Exit
from .get import find

# -P: nothing in the working folder may shadow a library.
_PROGRAM = [sys.executable, "-P", "-m", "trainingjob.runtime.model.generate"]
_MOST_BYTES = 1 << 20


def generate(args: argparse.Namespace) -> int:
    """Print what the model goes on with after the text; of a model of conversations, its answer."""
    text = args.text
    if text == "-":
        text = sys.stdin.buffer.read(_MOST_BYTES + 1).decode(errors="replace")
    if len(text.encode(errors="replace")) > _MOST_BYTES:
        raise UsageError(f"the text is longer than {_MOST_BYTES >> 20} MiB")
    home = find(Workspace(Path(args.work_dir)), args.name, args.namespace)
    job = _with_model(home)
    folders = {name: Path(path) for name, path in home.load_run().get("claims", {}).items()}
    claims.link(home.claims, folders)
    asked = {
        "uri": names.model_uri(job),
        "text": text,
        "chat": job.spec.task is not None and job.spec.task.messages is not None,
        "tokens": args.tokens,
        "temperature": args.temperature,
        "seed": args.seed,
    }
    env = environment.of_node(os.environ) | {CLAIMS_DIR: str(home.claims)}
    done = subprocess.run(
        _PROGRAM,
        input=json.dumps(asked),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"error: {escaped(last_words(done.stderr))}", file=sys.stderr)
        return Exit.FAILED
    # What a model makes is text of others. Whoever takes it from a pipe gets it as it is.
    told = escaped(done.stdout, keep="\n\t") if sys.stdout.isatty() else done.stdout
    sys.stdout.write(told)
    return Exit.SUCCEEDED


def _with_model(home: Home) -> TrainingJob:
    """Raises UsageError for a job that has no language model, or none yet."""
    stored = home.load()
    job = read_stored(json.dumps(stored).encode())
    if isinstance(job, Unreadable):
        raise UsageError(f"job {home.name} cannot be read: {job.message}")
    kind = job.spec.task.type if job.spec.task is not None else "unset"
    if kind != "languageModel":
        raise UsageError(
            f"job {home.name} is of task.type {kind}: only a languageModel generates text"
        )
    model = names.model_uri(job)
    (room,) = (room for room in stages.of(job) if room.output_uri(job) == model)
    made = next((stage for stage in job.status.stages if stage.name == room.name), None)
    if made is None or made.phase != "Succeeded":
        why = made.phase if made is not None else "Pending"
        raise UsageError(
            f"job {home.name} has no model yet: its {room.name} stage is {why} "
            f"(`trainingjob explain {home.name}` tells why)"
        )
    return job
