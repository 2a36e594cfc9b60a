"""Write the generated files, or with ``--check`` only tell whether they are up to date.

    python -m trainingjob.api.generate [--check]

Exits with 1 when a file differs (``--check``) or when there is no repository to write to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .crd import crd
from .reference import reference
from .v1alpha1 import GROUP, PLURAL

ROOT = Path(__file__).resolve().parents[3]

_HEADER = """\
# Made by `python -m trainingjob.api.generate` from the models in operator/trainingjob/api.
"""


class _Dumper(yaml.SafeDumper):
    """No anchors: people read the file, and not every tool takes them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def generated() -> dict[str, str]:
    """Text by path, relative to the repository root."""
    definition = crd()
    return {
        f"crds/{GROUP}_{PLURAL}.yaml": _HEADER + _yaml(definition),
        # The chart adds its own labels and annotations above the spec.
        "charts/trainingjob-operator/files/crd-spec.yaml": _HEADER
        + _yaml({"spec": definition["spec"]}),
        "docs/reference.md": reference(),
    }


def _yaml(tree: dict[str, Any]) -> str:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The exit code; see the module."""
    parser = argparse.ArgumentParser(prog="python -m trainingjob.api.generate")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    if not (root / "pyproject.toml").is_file():
        sys.stderr.write(f"{root} is not the repository: run this from a checkout\n")
        return 1
    stale = []
    for name, text in generated().items():
        path = root / name
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for name in stale:
        sys.stdout.write(f"{name} {'differs: run `make generate`' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
