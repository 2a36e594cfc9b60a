"""Print the table of docs/performance.md: ``python -m tests.perf [PART]...``, see PARTS.

``node``, which needs root and our images, ``storage``, which needs what `make test` fetches, and
``hostile`` and ``many``, which take half an hour each, are printed only when they are named, and so
is ``cost``, for machines that others use as well.
"""

from __future__ import annotations

import importlib
import sys

PARTS = ("job", "preprocess", "train", "language", "tokens", "serve", "operator")


def main() -> None:
    for part in sys.argv[1:] or PARTS:
        importlib.import_module(f"tests.perf.{part}").main()


if __name__ == "__main__":
    main()
