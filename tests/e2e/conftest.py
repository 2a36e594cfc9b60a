"""What the tests on a real node share: one node, our images, a namespace for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.node.images import NAMES
from tests.cluster.node.node import Node

from .beside import RESTRICTED, pytest_pyfunc_call

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
