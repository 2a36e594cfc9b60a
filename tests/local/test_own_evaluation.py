"""A job whose model own code has trained and own code judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tables import tell

from .harness import base, rows, run, write_csv, write_job

TRAIN = """
import os
open(os.environ["TRAININGJOB_OUTPUT_DIR"] + "/model.txt", "w").write("0.75")
"""
JUDGE = """
import helper, json, os, sys
from pathlib import Path
model = Path(os.environ["TRAININGJOB_MODEL_DIR"])
assert (Path(os.environ["TRAININGJOB_INPUT_DIR"]) / "test").is_dir()
assert sys.argv[1:] == ["--model", str(model)]
dice = helper.read(model)
Path(os.environ["TRAININGJOB_OUTPUT_DIR"], "metrics.json").write_text(json.dumps({"dice": dice}))
"""
HELPER = "def read(model):\n    return float((model / 'model.txt').read_text())\n"


def job(low: float) -> dict[str, Any]:
    manifest = base()
    manifest["spec"]["train"] = {"script": {"inline": TRAIN}}
    manifest["spec"]["evaluate"] = {
        "code": {"inline": {"judge/evaluate.py": JUDGE, "judge/helper.py": HELPER}}
        | {"workingDir": "judge"},
        "args": ["--model", "$(TRAININGJOB_MODEL_DIR)"],
        "gates": [{"metric": "dice", "min": low}],
    }
    return manifest


def test_its_gate_decides(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    arguments = ("--claim", f"data={tmp_path / 'data'}")
    good = run(tmp_path, write_job(tmp_path / "good", job(0.7)), *arguments)
    assert good.code == 0, good.stderr
    assert good.metrics() == {"dice": 0.75}
    assert (tmp_path / ".trainingjob/claims/runs/default/small/accepted/metrics.json").is_file()
    poor = run(tmp_path, write_job(tmp_path / "poor", job(0.8)), *arguments)
    assert poor.code == 3, poor.stderr
    tell("a metric of own code is too low", poor.seconds, poor.status)
    assert poor.status["reason"] == "GateFailed"
    assert "dice 0.75 is below 0.8" in poor.status["message"]
