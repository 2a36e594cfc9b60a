"""A control plane for the chart: nothing of ours is in it before a test, nor after."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

# Each has one namespace of the same name, in which it is bound to the role of the same name.
USERS = ("view", "edit", "admin", "nobody")
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.trainingjob.dev"


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """One for the session, without the CRD: that comes from the chart."""
    with ControlPlane(users={f"user-{name}": () for name in USERS}) as control_plane:
        yield control_plane


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster in which nothing is installed."""
    yield control_plane
    listed = control_plane.helm("list", "--all-namespaces", "--output", "json").stdout
    for release in json.loads(listed):
        control_plane.helm("uninstall", release["name"], "--namespace", release["namespace"])
    control_plane.request("DELETE", CRD)
    wait_for("the end of the CRD", lambda: control_plane.request("GET", CRD)[0] == 404)


@pytest.fixture
def home(cluster: ControlPlane) -> str:
    """The namespace of the operator, which takes none but restricted pods."""
    return cluster.namespace({"pod-security.kubernetes.io/enforce": "restricted"})


@pytest.fixture
def team(cluster: ControlPlane) -> str:
    """A namespace of jobs."""
    return cluster.namespace()
