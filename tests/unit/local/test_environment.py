"""What a pod on one machine gets of the caller's variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainingjob.local.environment import of_node, own_path


@pytest.mark.parametrize("name", ["HADOOP_CONF_DIR", "KRB5_CONFIG", "KRB5_CLIENT_KTNAME"])
@pytest.mark.parametrize(
    ("given", "expected"), [("conf", "{here}/conf"), ("FILE:x", "{here}/x"), ("/etc/x", "/etc/x")]
)
def test_paths_hold_in_the_folder_of_the_pod_too(name: str, given: str, expected: str) -> None:
    wanted = expected.format(here=Path.cwd())
    assert of_node({name: given})[name] == wanted
    assert own_path({name: given}, name) == wanted
    assert own_path({}, name, "/default") == "/default"
    assert name not in of_node({})
