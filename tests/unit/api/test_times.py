"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from trainingjob.api.v1alpha1.status import format_time


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 11, 28, 12, tzinfo=east)) == "2026-11-28T10:00:00Z"
