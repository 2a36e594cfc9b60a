"""``make faults``: every fault on every write and event, and the scoreboard of the docs.

    python -m tests.faults [--sample] [--only TEXT] [--beside N] [--keep]

``--sample``: what CI runs. ``--only``: the cases whose name has that text; with it, or ``--keep``,
the docs stay as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from tests.cluster.controlplane import ControlPlane

from . import cases, manifests, scoreboard
from .runs import Result, Runs

MANIFESTS = 100_000


async def main(given: argparse.Namespace) -> int:
    begun = time.monotonic()
    with ControlPlane(crd=True, fast=True) as plane:
        results = await run(given, plane)
    took = time.monotonic() - begun
    told = scoreboard.lines(results, took, "The sample" if given.sample else "All")
    stuck: list[str] = []
    if not given.only:
        verdicts: Counter[str] = Counter()
        for found, wrong in manifests.many(1000 if given.sample else MANIFESTS):
            verdicts += found
            stuck += wrong
        told += scoreboard.manifests(verdicts, stuck)
        if not given.keep:
            scoreboard.write(told)
    print(*told, *stuck, sep="\n")
    return int(any(result.wrong for result in results) or bool(stuck))


async def run(given: argparse.Namespace, plane: ControlPlane) -> list[Result]:
    """All that is asked for, told as it comes."""
    async with Runs(plane, given.beside) as runs:
        plain = await runs.undisturbed()
        for result in plain.values():
            _tell(result)
        chosen = [*(cases.sample if given.sample else cases.every)(plain)]
        chosen = [case for case in chosen if given.only in case.name]
        print(f"{len(chosen)} cases", flush=True)
        return [*plain.values(), *await runs.all(chosen, _tell)]


def _tell(result: Result) -> None:
    state = "WRONG" if result.wrong else "ok" if result.reached else "not reached"
    print(f"{state:11} {result.seconds:5.1f} s +{result.longer:4.1f}  {result.case.name}")
    for words in result.wrong:
        print(f"            {words}")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--beside", type=int, default=8)
    parser.add_argument("--keep", action="store_true")
    sys.exit(asyncio.run(main(parser.parse_args())))
