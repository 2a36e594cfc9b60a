"""When a job of this machine is over."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.local.session import is_over


@pytest.mark.parametrize(
    ("status", "over"),
    [
        (None, False),
        ({"phase": "Training"}, False),
        ({"phase": "Failed"}, True),
        ({"phase": "Succeeded", "cleanup": {"phase": "Succeeded"}}, True),
        ({"phase": "Succeeded", "cleanup": {"phase": "Failed"}}, True),
        # The runner was killed meanwhile: the next one does the rest.
        ({"phase": "Succeeded", "cleanup": {"phase": "Running"}}, False),
    ],
)
def test_a_job_is_over_when_what_its_policy_does_not_keep_is_gone(
    status: dict[str, Any] | None, over: bool
) -> None:
    assert is_over({"status": status}) is over
