"""All that is tried."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.tenants import Tenants

from . import jobs, pods
from .probe import Probe


def probes(tenants: Tenants) -> Iterator[Probe]:
    """In one namespace with the policies, where there are drivers of the jobs one and two."""
    driver, owner = tenants.driver("one")
    tenants.driver("two")
    tenants.plane.service_account_kubeconfig(tenants.name, "trainingjob-spark")
    tenants.stranger()
    yield from jobs.authors(tenants)
    yield from jobs.wordless(tenants)
    yield from pods.marks(tenants)
    yield from pods.drivers(tenants, driver, owner)
    yield from pods.rights(driver, tenants)
