"""What the tests against a real API server share: one control plane, a namespace for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet

from .crd import Jobs

Fates = dict[str, Behaviour]


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """One for the session, with the CRD. Tests that stop or audit it start their own."""
    with ControlPlane(crd=True) as control_plane:
        yield control_plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The test's own; what is left in it goes away in the background."""
    name = control_plane.namespace()
    yield name
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def fates() -> Fates:
    """Pod name -> what happens to it; others succeed at once."""
    return {}


@pytest.fixture
def kubelet(control_plane: ControlPlane, namespace: str, fates: Fates) -> Iterator[FakeKubelet]:
    def script(pod: dict[str, Any]) -> Behaviour:
        return fates.get(pod["metadata"]["name"], behaviour.succeed())

    with FakeKubelet(control_plane, [namespace], 0.05, script) as running:
        yield running


@pytest.fixture
def jobs(control_plane: ControlPlane, namespace: str) -> Jobs:
    return Jobs(control_plane, namespace)
