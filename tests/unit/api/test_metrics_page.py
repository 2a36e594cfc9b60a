"""What docs/preprocessing.md says of metrics and weights is accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.api.corpus import good
from trainingjob.api.errors import check_manifest

PAGE = (Path(__file__).parents[3] / "docs" / "preprocessing.md").read_text("utf-8")
SECTION = PAGE.partition("## Metrics and weights")[2].partition("\n## ")[0]
ROWS: dict[str, Any] = {
    have: yaml.safe_load(code)
    for have, code in re.findall(r"^\| ([^|]+) \| `([^`]+)` \|", SECTION, re.M)
}


def test_the_table_is_found() -> None:
    assert len(ROWS) == 7


@pytest.mark.parametrize("have", ROWS)
def test_an_example_is_a_part_of_a_manifest(have: str) -> None:
    manifest = good("minimal-regression" if "targetTransform" in str(ROWS[have]) else "minimal")
    for part, fields in ROWS[have].items():
        manifest["spec"][part] = manifest["spec"].get(part, {}) | fields
    assert check_manifest(manifest)[1] == []
