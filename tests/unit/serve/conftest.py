"""Accepted models that all tests of servers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .build import Made, made
from .infer import Client, opened


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Made:
    gate = {"metric": "accuracy", "min": 0.01}
    return made(tmp_path_factory.mktemp("classes"), gates=[gate])


@pytest.fixture(scope="session")
def values(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("values"), "regression")


@pytest.fixture
async def client(classes: Made) -> AsyncIterator[Client]:
    found, app = await opened(classes)
    yield found
    await found.close()
    await app.close()
