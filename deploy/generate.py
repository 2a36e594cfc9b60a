"""Write what is made from the chart, or with ``--check`` only tell whether it is up to date.

    python deploy/generate.py [--check] [--helm PATH]

``install.yaml`` and ``spark/account.yaml`` for those without Helm, and the table of values in
docs/install.md. Exits with 1 when a file differs (``--check``).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/trainingjob-operator"
HELM = ROOT / ".cache/cluster/bin/helm"
NAMESPACE = "trainingjob-system"
# kustomize puts another one in its place.
SPARK_NAMESPACE = "default"
TABLE = ("<!-- values: made by `make install-yaml` -->\n", "<!-- end of values -->\n")

_HEADER = "# Made by `make install-yaml` from charts/trainingjob-operator.\n"
_NAMESPACE = f"""\
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
# Helm's own bookkeeping, untrue where Helm is not used.
_BOOKKEEPING = re.compile(
    r"^(# Source: .*| *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*)\n", re.MULTILINE
)


def generated(helm: Path = HELM) -> dict[str, str]:
    """Text by path, relative to the repository root."""
    page = (ROOT / "docs/install.md").read_text("utf-8")
    before, rest = page.split(TABLE[0])
    after = rest.split(TABLE[1])[1]
    # Nobody uninstalls it with Helm: there is nothing to keep the CRD from.
    install = _render(helm, "--set=crds.keep=false")
    spark = [f"--show-only=templates/spark-{kind}.yaml" for kind in _SPARK_KINDS]
    account = _render(helm, f"--set=spark.namespaces={{{SPARK_NAMESPACE}}}", *spark)
    return {
        "deploy/install.yaml": _HEADER + _NAMESPACE + install,
        "deploy/spark/account.yaml": _HEADER + account,
        "docs/install.md": "".join((before, TABLE[0], values_table(), TABLE[1], after)),
    }


_SPARK_KINDS = ("serviceaccount", "role", "rolebinding")


def _render(helm: Path, *arguments: str) -> str:
    command = [str(helm), "template", "trainingjob-operator", str(CHART), "-n", NAMESPACE]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return re.sub(r"\n+(---\n|$)", r"\n\1", _BOOKKEEPING.sub("", done.stdout))


# --- the table of values -----------------------------------------------------------------------
def values_table() -> str:
    """Markdown: each value that can be set, its default, and the comment above it."""
    rows = ["| Value | Default | What, and why this default |", "|---|---|---|"]
    told = comments((CHART / "values.yaml").read_text("utf-8"))
    for path, default in leaves():
        text = told.get(path, "").replace("|", "\\|")
        rows.append(f"| `{path}` | `{json.dumps(default)}` | {text} |")
    return "\n".join(rows) + "\n"


def leaves() -> list[tuple[str, Any]]:
    """Values with their defaults, in the file's order; maps whose keys are free are one value."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return [*_leaves(values, schema, "")]


def _leaves(
    values: Mapping[str, Any], schema: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        inner = schema["properties"][key]
        if "properties" in inner:
            yield from _leaves(value, inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def comments(text: str) -> dict[str, str]:
    """The comment right above each key, by the key's path."""
    found: dict[str, str] = {}
    keys: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if match := re.match(r" *# ?(.*)", line):
            comment.append(match[1])
            continue
        if match := re.match(r"( *)([^ :]+):", line):
            indent = len(match[1])
            keys = [(depth, key) for depth, key in keys if depth < indent]
            keys.append((indent, match[2]))
            if comment:
                found[".".join(key for _, key in keys)] = " ".join(comment)
        comment = []
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; see the module."""
    parser = argparse.ArgumentParser(prog="python deploy/generate.py")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--helm", type=Path, default=HELM, help="the binary")
    options = parser.parse_args(arguments)
    stale = {
        ROOT / name: text
        for name, text in generated(options.helm).items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text("utf-8") != text
    }
    for path, text in stale.items():
        if not options.check:
            path.write_text(text, "utf-8")
        what = "differs: run `make install-yaml`" if options.check else "written"
        sys.stdout.write(f"{path.relative_to(ROOT)} {what}\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
