"""A repository of git and its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git_server import (
    Server,
    repository,
    serving,
)
from trainingjob.runtime.checkout import repository as fetching

from .checkouts import CODE


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TRY_SECONDS", 0.2)
    monkeypatch.setattr(fetching, "_PAUSE_SECONDS", 0.05)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git")
    repository(folder / "repo", CODE)
    return folder


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with serving(root) as found:
        yield found
