"""Print a table of a language model's training on this machine's first GPU, and write it as JSON.

``python -m tests.gpu [--json FILE]``; with ``--cpu-tiny`` the same of a few thousand weights on the
CPU, which shows that this works before there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from .language import Size, measure

GPU = Size(layers=12, hidden=768, heads=12, tokens=32_000, length=1024, batch=16, steps=40)
TINY = Size(layers=2, hidden=32, heads=4, tokens=300, length=16, batch=4, steps=8)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu")
    parser.add_argument("--cpu-tiny", action="store_true", help="a few thousand weights, CPU")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), TINY if asked.cpu_tiny else GPU, cpu=asked.cpu_tiny)
    width = max(map(len, figures))
    for name, value in figures.items():
        shown = f"{value:.6g}" if isinstance(value, float) else value
        print(f"{name:{width}}  {shown}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
