"""What the tests against a real API server share: one control plane, a namespace for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane


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
