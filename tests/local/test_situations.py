"""One table of reasons: what can happen on one machine has the same reason as on a cluster."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tables import tell
from trainingjob.api.v1alpha1 import REASONS
from trainingjob.core import remedies

from .harness import run, start, write_job
from .test_bad_input import CASES, TOO_LONG
from .test_cli import python, wait_for

# Who reaches it, with more than a row of test_bad_input.
ELSEWHERE = {
    "BaselineInvalid": "test_gates.py",
    "CheckpointMismatch": "train/test_resume.py",
    "DiskFull": "test_bad_input.py",
    "Disrupted": "test_sigterm.py",
    "KeyUnavailable": "../unit/runtime/test_seal.py",
    "MetricsInvalid": "evaluate/test_own_code.py",
    "PackagesInvalid": "train/test_packages.py",
    "PackagesUnreachable": "../unit/runtime/test_packages.py",
    "RepositoryInvalid": "test_git.py",
    "RepositoryUnreachable": "../unit/runtime/test_checkout_servers.py",
    "ScriptMissing": "train/test_code.py",
    "SelfTestFailed": "../unit/serve/test_served.py",
    "StorageFailed": "test_s3.py",
    "TextInvalid": "../unit/preprocess/test_tokens.py",
    "VariantUnavailable": "test_deploy_variant.py",
}
# Why it cannot happen here.
NOT_HERE = {
    "SchedulingGated": "there is no queue",
    "InvalidSpec": "a manifest is checked before it is run: exit code 2",
    "SpecTooLarge": "and so is its size",
    "NameConflict": "nobody else makes pods",
    "RolloutFailed": "there are no Deployments",
    "ImagePullFailed": "there are no images",
    "RegistryUnavailable": "and no registry",
    "ClaimMissing": "a claim is a folder, which is made where there is none",
    "Unschedulable": "there is no scheduler: every pod starts at once",
    "PodAltered": "there are no admission policies",
    "PodRefused": "there is no API server that refuses",
    "QuotaExceeded": "there are no quotas",
    "ServiceAccountMissing": "there are no service accounts",
    "OperatorForbidden": "there is no RBAC",
    "KServeMissing": "KServe serves nothing here",
    "ApiUnavailable": "there is no API server that could be away",
    "PodLost": "nobody else deletes pods",
    "PodStuck": "a pod is a process, which goes when it is killed",
    "InitContainerFailed": "a pod has no containers of others",
    "NodeRefused": "there is no kubelet that refuses",
    "StartFailed": "there is no container runtime",
    "StorageLimitExceeded": "nobody measures the disk that a process uses",
    "NodeLost": "its node is this machine, and with it goes who would tell",
    "InternalError": "a mistake that we know of is mended",
}
LONG = "import time; time.sleep(60)"

# sentence, job, phase, reason
SITUATIONS: list[tuple[str, dict[str, Any], str, str]] = [
    ("it runs", python(LONG), "Training", "Running"),
    ("exit code 3", python("raise SystemExit(3)"), "Training", "Restarting"),
    ("no process can be started", python("pass", **TOO_LONG), "Training", "ContainerConfigError"),
]


@pytest.mark.parametrize(
    ("what", "manifest", "phase", "reason"), SITUATIONS, ids=[case[0] for case in SITUATIONS]
)
def test_a_job_that_is_not_over_says_how_it_stands(
    tmp_path: Path, what: str, manifest: dict[str, Any], phase: str, reason: str
) -> None:
    manifest["spec"]["policy"] = {"retries": {"application": 5}}
    stored = tmp_path / ".trainingjob/default/small/job.json"

    def told() -> bool:
        nonlocal status
        if stored.exists():
            status = json.loads(stored.read_text()).get("status", {})
        return (status.get("phase"), status.get("reason")) == (phase, reason)

    status: dict[str, Any] = {}
    begun = time.monotonic()
    runner = start(tmp_path, "run", str(write_job(tmp_path, manifest)))
    wait_for(told)
    tell(what, time.monotonic() - begun, status)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=30)
    assert runner.returncode == 130
    if reason in REASONS:
        assert remedies.of(reason, status["message"]) in status["message"]


def test_a_job_that_goes_well_says_so(tmp_path: Path) -> None:
    outcome = run(tmp_path, write_job(tmp_path, python("pass")))
    tell("it goes well", outcome.seconds, outcome.status)
    assert (outcome.status["phase"], outcome.status["reason"]) == ("Succeeded", "Completed")


def test_every_reason_that_can_happen_on_one_machine_does() -> None:
    seen = {case[2] for case in CASES} | {case[3] for case in SITUATIONS}
    assert not seen & NOT_HERE.keys()
    assert set(REASONS) - seen - ELSEWHERE.keys() == NOT_HERE.keys()
    for reason, file in ELSEWHERE.items():
        assert f'"{reason}"' in (Path(__file__).parent / file).read_text(encoding="utf-8")
