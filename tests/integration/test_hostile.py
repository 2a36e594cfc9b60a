"""A minute of `python -m tests.perf hostile`: what one tenant does keeps nobody from working."""

from __future__ import annotations

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.perf.hostile import ENDED, soak

# More than the largest jobs that are there may take, and less than the chart's limit.
BUDGET_MIB = 200.0


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_hostile_tenant_keeps_the_other_from_nothing() -> None:
    with ControlPlane(crd=True, fast=True) as plane:
        found = soak(plane, 10, 40, 0)
    told = f"{found.alone}\n{found.attacked}\n{dict(found.answers)}"
    print(told)
    assert "Traceback" not in found.log
    assert not found.answers[ENDED], told
    assert found.attacked.unhealthy == 0, told
    assert found.attacked.memory - found.alone.memory < BUDGET_MIB, told
    # It has been served, and so has the other one.
    assert sum(found.answers.values()) > 200, told
    assert len(found.attacked.first) >= 3, told
    assert found.attacked.reports, told
    # Nothing that it may do is a fault of the API server's or of ours.
    faults = [what for what in found.answers if what.rpartition(": ")[2].startswith("5")]
    assert not faults, told
