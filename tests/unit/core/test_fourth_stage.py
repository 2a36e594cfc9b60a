"""What a further stage costs: a room, a file of the API, a rule of RBAC, a name in the lists."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

import trainingjob

ROOT = Path(__file__).parents[3]
PACKAGE = Path(trainingjob.__file__).parent
FOURTH = Path(__file__).parent / "fourth"

WATCHED = ("trainingjobs", "pods", "networkpolicies", "services")
# Beside its own files: what it adds to the three lists that name every stage.
LISTS = {
    "api/stages.py": {
        '"deploy", "predict"]': '"deploy", "predict", "publish"]',
        '"Predicting"]': '"Predicting", "Publishing"]',
    },
    "api/v1alpha1/job.py": {
        "from .rules import": "from .publish import Publish\nfrom .rules import",
        "    policy: Policy = Field(\n": "    publish: Publish | None = None\n"
        "    policy: Policy = Field(\n",
    },
    "core/stages/__init__.py": {
        "from .stage import": "from .publish import PublishStage\nfrom .stage import",
        "    PredictStage(),\n": "    PredictStage(),\n    PublishStage(),\n",
    },
}


def test_a_fourth_stage_is_a_room_an_api_file_and_a_rule(tmp_path: Path) -> None:
    """Its child is no pod, it is judged in its own way, and all else knows it by the lists."""
    package = tmp_path / "trainingjob"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "runtime"))
    for part in ("api", "core"):
        shutil.copytree(FOURTH / part, package / part, dirs_exist_ok=True)
    for name, edits in LISTS.items():
        text = (package / name).read_text(encoding="utf-8")
        for before, after in edits.items():
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (package / name).write_text(text, encoding="utf-8")

    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    story = [sys.executable, "-m", "tests.unit.core.fourth.story"]
    done = subprocess.run(story, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rule = yaml.safe_load((FOURTH / "rule.yaml").read_text(encoding="utf-8"))
    assert {"create", "get", "list", "watch"} == {*rule["verbs"]}
    assert json.loads(done.stdout) == {
        "while it works": ["Publishing", "RollingOut"],
        "made": 1,
        "ready": ["Succeeded", "pvc://training/runs/team/digits/model"],
        "rerun": "publish",
        "failed": [
            "Failed",
            "StartFailed",
            "no node has room; check the runtime, devices and mounts of its node",
        ],
        "events": ["StartFailed"],
        "watched": [*WATCHED, *rule["resources"]],
        "seen": ["digits-publish"],
        "in the CRD": True,
        "phases": True,
    }
