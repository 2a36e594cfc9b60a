"""When a job of this machine is over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.corpus import good
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.local.errors import Refused
from trainingjob.local.session import Request, is_over
from trainingjob.local.store import Workspace


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


def test_a_path_that_is_no_text_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """As old systems have left them: in Latin-1."""
    old = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    old.mkdir()
    job = TrainingJob.from_dict(good("minimal"))
    words = "the path is not UTF-8: rename the folder or the file"
    for make in (
        lambda: Workspace(old / "work"),
        lambda: Request(job, beside=old),
        lambda: Request(job, file=old / "job.yaml"),
        lambda: Request(job, given_claims={"data": old}),
    ):
        with pytest.raises(Refused, match=words) as error:
            make()
        str(error.value).encode()
    Workspace(tmp_path / "ordner mit umläuten")
