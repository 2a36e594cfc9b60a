"""What the tests on a real node share: one node, our images, a namespace for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.node.images import NAMES
from tests.cluster.node.node import Node

from .beside import RESTRICTED, is_beside, own_space, pytest_pyfunc_call, run_beside
from .jobs import Installation, Space

__all__ = ["pytest_pyfunc_call"]

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """One for the session. Without root, or when something is missing, tests fail and tell why."""
    # The chart brings the CRD.
    with Node(crd=False) as node:
        yield node


@pytest.fixture(scope="session")
def images(node: Node) -> dict[str, str]:
    """The references, for pods, of our images: built from the sources as they are now."""
    return {name: node.images.ours(name) for name in NAMES}


@pytest.fixture(scope="session")
def kubectl(node: Node) -> Kubectl:
    return node.control_plane.kubectl


@pytest.fixture
def namespace(node: Node) -> Iterator[str]:
    """The test's own, for pods that keep to the restricted standard."""
    name = node.control_plane.namespace(RESTRICTED)
    yield name
    node.control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def installed(node: Node, images: dict[str, str]) -> Iterator[Installation]:
    made = Installation(node, images)
    made.install()
    yield made
    assert "Traceback" not in made.log(), made.log()


@pytest.fixture
def space(
    request: pytest.FixtureRequest, node: Node, installed: Installation, begun: None
) -> Iterator[Space | None]:
    """The test's own. One that runs beside others has got one already."""
    if is_beside(request.node):
        yield None
        return
    with own_space(node) as space:
        yield space


@pytest.fixture(scope="session")
def begun(
    request: pytest.FixtureRequest, node: Node, images: dict[str, str], installed: Installation
) -> Iterator[None]:
    """What the tests that run beside others do begins before the first test. It is over when all of
    them were looked at: the files of jobs run by their names, and those that disturb the operator
    come after `test_jobs_lanes.py`."""
    with run_beside(request.session.items, node, images=images, installed=installed):
        yield
