"""CPUs of a container, by its cgroup's files as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainingjob.runtime.base import cpus

# What the files hold, and how many CPUs of 64 that is.
LIMITS: dict[str, tuple[dict[str, str], int]] = {
    "two": ({"cpu.max": "200000 100000\n"}, 2),
    "two and a half": ({"cpu.max": "250000 100000\n"}, 3),
    "a tenth": ({"cpu.max": "10000 100000\n"}, 1),
    "more than there are": ({"cpu.max": "9999999 100000\n"}, 64),
    "none": ({"cpu.max": "max 100000\n"}, 64),
    "version 1": ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4),
    "version 1, none": ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 64),
    "no files": ({}, 64),
    "nonsense": ({"cpu.max": "x"}, 64),
}


@pytest.mark.parametrize(("files", "expected"), LIMITS.values(), ids=LIMITS)
def test_the_limit_of_the_container_counts(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    monkeypatch.setattr(cpus, "_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "_V1", tuple(tmp_path / name for name in names))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))

    assert cpus.available() == expected
