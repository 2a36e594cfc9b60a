"""The operator as a process: its health, logs and metrics, and what it does to the API."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for

from .harness import Namespace, Operator, manifest, operator

# What every scrape must have; label values are few by construction.
METRICS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "trainingjob_api_calls_total",
    "trainingjob_finished_total",
    "trainingjob_gpu_seconds_total",
    "trainingjob_jobs",
    "trainingjob_queue_depth",
    "trainingjob_queue_oldest_seconds",
    "trainingjob_reconcile_seconds_bucket",
    "trainingjob_reconciles_total",
    "trainingjob_resync_age_seconds",
    "trainingjob_scope_up",
    "trainingjob_stage_seconds_bucket",
}


@pytest.fixture(scope="module")
def finished(control_plane: ControlPlane) -> Iterator[tuple[Operator, Namespace]]:
    """An operator that has brought one job to its end."""
    space = Namespace(control_plane, control_plane.namespace())
    with (
        FakeKubelet(control_plane, [space.name], 0.05),
        operator(control_plane, space.name, arguments=["--log-format=json"]) as running,
    ):
        space.run(manifest())
        space.wait("digits", phase="Succeeded")
        yield running, space
    control_plane.request("DELETE", f"/api/v1/namespaces/{space.name}")


def test_it_is_alive_and_ready(finished: tuple[Operator, Namespace]) -> None:
    running, _ = finished

    assert running.http("/healthz") == (200, "ok\n")
    assert running.http("/readyz") == (200, "ok\n")
    assert running.http("/nothing")[0] == 404


def test_metrics_tell_what_it_did(finished: tuple[Operator, Namespace]) -> None:
    running, _ = finished
    names = set(re.findall(r"^(\w+)[{ ]", running.http("/metrics")[1], re.MULTILINE))

    assert names >= METRICS
    wait_for("the count", lambda: running.metric("trainingjob_jobs", phase="Succeeded") == 1)
    assert running.metric("trainingjob_finished_total", phase="Succeeded", reason="Completed") == 1
    assert running.metric("trainingjob_stage_seconds_count", stage="train") == 1
    assert running.metric("trainingjob_api_calls_total", verb="POST", resource="pods") == 4
    assert running.metric("trainingjob_reconciles_total", result="failed") == 0


def test_no_metric_names_a_job_or_a_pod_and_one_alone_the_namespaces_to_be_served(
    finished: tuple[Operator, Namespace],
) -> None:
    running, space = finished
    text = running.http("/metrics")[1]

    assert "digits" not in text
    named = [line for line in text.splitlines() if space.name in line]
    assert named == [f'trainingjob_scope_up{{namespace="{space.name}"}} 1.0']


def test_logs_are_one_json_object_a_line(finished: tuple[Operator, Namespace]) -> None:
    running, _ = finished
    lines = [json.loads(line) for line in running.log().splitlines()]

    assert lines
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)


def test_readiness_ends_with_the_api_server_and_comes_back(control_plane: ControlPlane) -> None:
    with ControlPlane(crd=True) as alone:
        watched = Operator(alone.kubeconfig(), arguments=["--resync-seconds=0.5"])
        try:
            watched.start()
            alone.stop_apiserver()
            code, why = wait_for("it to be unready", lambda: _unready(watched))
            assert (code, "s old" in why) == (503, True)
            assert watched.http("/healthz")[0] == 200
            alone.start_apiserver()
            watched.wait_until_ready()
        finally:
            watched.kill()


def _unready(watched: Operator) -> tuple[int, str] | None:
    answer = watched.http("/readyz")
    return answer if answer[0] == 503 else None


@pytest.mark.parametrize(
    ("what", "arguments", "code", "words"),
    [
        ("an unknown option", ["--colour"], 2, "unrecognized arguments: --colour"),
        ("a port that is no number", ["--http-port=web"], 2, "invalid int value: 'web'"),
        ("a resync that is no time", ["--resync-seconds=0"], 2, "--resync-seconds"),
        ("a kubeconfig that is not there", ["--kubeconfig=/nothing"], 1, "cannot use /nothing"),
        ("no cluster around it", [], 1, "cannot use the service account of this pod"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    tmp_path: Path, what: str, arguments: list[str], code: int, words: str
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("trainingjob-operator"), *arguments],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(
    control_plane: ControlPlane, finished: tuple[Operator, Namespace]
) -> None:
    running, _ = finished
    done = subprocess.run(
        [
            Path(sys.executable).with_name("trainingjob-operator"),
            f"--kubeconfig={control_plane.kubeconfig()}",
            f"--http-port={running.port}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "cannot serve" in done.stderr
    assert str(running.port) in done.stderr
    assert "Traceback" not in done.stderr
