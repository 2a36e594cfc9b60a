"""Tests that run beside others: most of a job's time goes by in waiting for its pods.

A test with the mark ``beside`` begins in a thread before the first test that has jobs; in its own
place it is looked at. It keeps to its namespace, and leaves the operator and the node as they are.
Those of one ``lane`` run one after the other, the others all at once.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.cluster.node.node import Node

from .jobs import Space

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_RESULT = pytest.StashKey[Future[None]]()


def is_beside(item: pytest.Item) -> bool:
    return item.get_closest_marker("beside") is not None


@contextmanager
def own_space(node: Node) -> Iterator[Space]:
    """A namespace that goes with its pods."""
    name = node.control_plane.namespace(RESTRICTED)
    try:
        yield Space(node, name)
    finally:
        node.control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@contextmanager
def run_beside(items: Sequence[pytest.Item], node: Node, **fixtures: Any) -> Iterator[None]:
    """Begin those of the tests that run beside others."""
    lanes: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and (mark := item.get_closest_marker("beside")):
            lanes[mark.kwargs.get("lane", item.nodeid)].append(item)
    with ExitStack() as stack:
        for lane in lanes.values():
            pool = stack.enter_context(ThreadPoolExecutor(1))
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            for item in lane:
                item.stash[_RESULT] = pool.submit(_run, item, node, fixtures)
        yield


def _run(item: pytest.Function, node: Node, fixtures: dict[str, Any]) -> None:
    test: Callable[..., None] = item.function
    cases = item.callspec.params if hasattr(item, "callspec") else {}
    with own_space(node) as space:
        given = {"node": node, "space": space, **fixtures, **cases}
        test(**{name: given[name] for name in inspect.signature(test).parameters})


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """In place of the test that ran beside others: its result."""
    if not is_beside(pyfuncitem):
        return None
    pyfuncitem.stash[_RESULT].result()
    return True
