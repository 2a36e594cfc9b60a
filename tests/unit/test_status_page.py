"""docs/status.md tells every reason, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tables import STATES
from trainingjob.api.v1alpha1 import REASONS
from trainingjob.api.v1alpha1.reasons import WARNINGS

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\|.*?\| `(\w+)` \|", re.M)


def test_the_page_has_a_row_for_each_reason_and_no_other() -> None:
    told = ROW.findall((ROOT / "docs/status.md").read_text(encoding="utf-8"))
    assert {*told} == {*REASONS, *STATES}


def test_the_page_has_a_row_for_each_warning_and_no_other() -> None:
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.M)) == sorted(WARNINGS)


def test_the_states_are_those_that_the_core_sets() -> None:
    core = ROOT / "operator/trainingjob/core"
    text = "".join(path.read_text(encoding="utf-8") for path in core.rglob("*.py"))
    set_by_core = set(re.findall(r'"reason": "(\w+)"', text))
    assert set_by_core - set(REASONS) == STATES
