"""``python -m tests.probes``: all of them, and what became of each; half a minute."""

from __future__ import annotations

import sys
from collections import Counter

from tests.cluster.controlplane import ControlPlane
from tests.integration.tenants import Tenants

from .probe import tried
from .table import probes


def main() -> int:
    """The exit code: 1 where somebody got what is not his, or not what is."""
    counts: Counter[tuple[str, str, str]] = Counter()
    wrong = 0
    with ControlPlane(crd=True) as plane:
        tenants = Tenants(plane, plane.namespace(), plane.namespace())
        tenants.guarded()
        for probe in probes(tenants):
            outcome = tried(tenants, probe)
            wrong += not outcome.right
            counts[probe.kind, probe.who, outcome.words] += 1
            mark = "  " if outcome.right else "! "
            print(f"{mark}{probe.kind:20} {probe.who:8} {probe.what:52} {outcome.words}")
            if not outcome.right:
                print(f"  {outcome.status}: {outcome.message}")
    print()
    for (kind, who, words), count in sorted(counts.items()):
        print(f"{count:4}  {kind:20} {who:8} {words}")
    print(f"{counts.total():4}  in all, {wrong} not as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
