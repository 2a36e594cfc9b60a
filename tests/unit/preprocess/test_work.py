"""How much engine pandas does for a table: counted, never timed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.local.preprocess.both import payload

_CLASSES = {"type": "classification", "label": "y"}
# What has a pass over the data of its own, or loads a library.
_STEPS = [
    {"dropDuplicates": {}},
    {"dropna": {"subset": ["y"]}},
    {"fillna": {"strategy": "median", "columns": ["a"]}},
    {"filter": {"where": "b > -3"}},
    {"withColumn": {"name": "ratio", "expr": "a / (abs(b) + 1)"}},
    {"oneHot": {"columns": ["s"]}},
    {"scale": {"columns": ["a", "b", "ratio"]}},
]


def table(rows: int) -> str:
    """Numbers, some of them null, a text, a label; a row in a hundred is a copy."""
    lines = (
        f"{'' if i % 20 == 3 else i * 37 % 1009 / 8},{i * 61 % 997 / 16},"
        f"{('red', 'green', 'blue')[i % 3]},{i * 7 % 11 % 2}"
        for i in (n - n // 100 for n in range(rows))
    )
    return "\n".join(["a,b,s,y", *lines, ""])


def test_pandas_is_not_loaded_where_no_script_needs_it(tmp_path: Path) -> None:
    """It takes half a second and 50 MiB."""
    source = tmp_path / "data.csv"
    source.write_text(table(400))
    given = payload("pandas", source, tmp_path / "out", _STEPS, task=_CLASSES)
    code = (
        "import sys\n"
        "from trainingjob.runtime.__main__ import main\n"
        "assert main() == 0\n"
        "assert 'numpy' in sys.modules and 'pandas' not in sys.modules"
    )
    environment = {
        **os.environ,
        "TRAININGJOB_STAGE": given.model_dump_json(by_alias=True, exclude_none=True),
        "TRAININGJOB_RESULT_FILE": str(tmp_path / "result"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
