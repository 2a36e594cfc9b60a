"""A headless Chromium, from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ..build import ROOT
from ..process import ComponentError

FOLDER = ROOT / ".cache/browser"


def form(url: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    """What a page shows at first, and after its form was filled in with each of the rows; also what
    it has asked for, and what the browser found wrong. Raises ComponentError."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").exists():
        raise ComponentError(f"there is no {FOLDER}: `make {FOLDER}/.built` installs it")
    asked = json.dumps({"url": url, "rows": rows, "modules": str(FOLDER)})
    script = Path(__file__).with_name("form.mjs")
    done = subprocess.run(
        [node, str(script), asked], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise ComponentError(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told
