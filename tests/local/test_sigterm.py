"""A stage that is asked to stop does so at once, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .harness import rows, write_csv

# A kubelet gives 30 s; a machine that is busy needs some.
SECONDS = 10


@pytest.mark.parametrize("engine", ["pandas", "spark"])
def test_preprocess_stops(tmp_path: Path, engine: str) -> None:
    write_csv(tmp_path / "in.csv", rows())
    begun = tmp_path / "begun"
    script = f"def preprocess(frame, context):\n    open({str(begun)!r}, 'w')\n"
    script += "    import time\n    time.sleep(60)\n    return frame\n"
    payload = {
        "stage": "preprocess",
        "job": {"namespace": "default", "name": "job", "uid": "uid"},
        "attempt": 1,
        "task": {"type": "classification", "label": "label"},
        "engine": engine,
        "input": {"uri": f"file://{tmp_path}/in.csv", "format": "csv"},
        "script": {"inline": script},
        "steps": [],
        "split": {"seed": 1},
        "numericFeatures": False,
        "output": f"file://{tmp_path}/out",
    }
    result = tmp_path / "result"
    process = subprocess.Popen(
        [sys.executable, "-m", "trainingjob.runtime"],
        env={
            **os.environ,
            "TRAININGJOB_STAGE": json.dumps(payload),
            "TRAININGJOB_RESULT_FILE": str(result),
        },
    )
    try:
        deadline = time.monotonic() + 60
        while not begun.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert json.loads(result.read_text())["error"]["reason"] == "Disrupted"
