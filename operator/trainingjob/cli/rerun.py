"""`trainingjob rerun`: a job of this machine once more, from one of its stages."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..local.session import reopen_session
from ..local.store import Workspace
from .get import find
from .run import drive


def rerun(args: argparse.Namespace) -> int:
    """As ``run``, with a job that has been run; the exit code tells how it ended."""
    home = find(Workspace(Path(args.work_dir)), args.name, args.namespace)
    return drive(args, home, lambda: reopen_session(home, args.stage))
