"""`trainingjob plan`: the objects that each stage would begin with."""

from __future__ import annotations

import argparse
import sys

from .. import __version__
from ..core import Settings, claim, stages
from .exits import Exit
from .job import one_job
from .manifest import read
from .text import dump

# As an operator of this version has them, unless it is told others.
_SETTINGS = Settings(
    images={
        "spark": f"trainingjob-spark:{__version__}",
        "torch": f"trainingjob-torch:{__version__}",
    }
)


def print_plan(args: argparse.Namespace) -> int:
    """YAML documents, in order, with a comment above each stage."""
    _, job = one_job(read(args.file), args.namespace)
    there: set[tuple[str, str]] = set()
    for stage in stages.of(job):
        wanted = claim.wanted(job, stage.name) + stage.others(job, _SETTINGS)
        # What stages share is made by the first one.
        others = [one for one in wanted if (one["kind"], one["metadata"]["name"]) not in there]
        there |= {(one["kind"], one["metadata"]["name"]) for one in others}
        pods = stage.pods(job, 1, _SETTINGS)
        counts = [f"{len(pods)} pod{'s' * (len(pods) > 1)}"] if pods else []
        counts += [f"1 {child['kind']}" for child in others]
        sys.stdout.write(f"# stage {stage.name}: {', '.join(counts)}\n")
        for child in (*others, *pods):
            sys.stdout.write("---\n" + dump(child, "yaml"))
    return Exit.SUCCEEDED
