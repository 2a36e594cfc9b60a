"""The table of reasons, and the type by which mypy finds a wrong one."""

from __future__ import annotations

from typing import get_args

from trainingjob.api.v1alpha1.reasons import REASONS, ReasonName, reason_of


def test_the_type_has_all_reasons_of_the_table() -> None:
    assert get_args(ReasonName) == tuple(REASONS)


def test_what_somebody_else_wrote_is_a_reason_or_none() -> None:
    assert reason_of("OutOfMemory") == "OutOfMemory"
    assert reason_of("OutOfPatience") is None
