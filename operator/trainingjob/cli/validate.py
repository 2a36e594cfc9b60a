"""`trainingjob validate`: what the API server would say, without one."""

from __future__ import annotations

import argparse
import sys

from ..api.printable import escaped
from .errors import ManifestError
from .exits import Exit
from .job import check, jobs, none_in
from .manifest import read


def validate(args: argparse.Namespace) -> int:
    """A line for each fault of each file, on stderr; 0 when there is none."""
    faults = 0
    for source in args.files:
        try:
            documents = read(source)
        except ManifestError as error:
            faults += _tell(str(error))
            continue
        found = list(jobs(documents))
        if not found:
            faults += _tell(none_in(documents))
        for document in found:
            job, lines = check(document)
            for line in lines:
                faults += _tell(line)
            if job is not None:
                name = escaped(document.source)  # of a file of others
                sys.stdout.write(f"{name}: {job.metadata.name} is valid\n")
    return Exit.INVALID if faults else Exit.SUCCEEDED


def _tell(line: str) -> int:
    sys.stderr.write(f"{escaped(line)}\n")
    return 1
