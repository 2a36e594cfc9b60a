"""The real helm, away from the settings of the person who runs the tests."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.build import BIN, ROOT

CHART = ROOT / "charts/trainingjob-operator"
RELEASE, NAMESPACE = "trainingjob-operator", "trainingjob-system"

Objects = list[dict[str, Any]]


def run(
    command: str, *arguments: str | Path, input: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """helm or kubectl, without a cluster."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [BIN / command, *arguments],
            input=input,
            env={"HOME": home, "PATH": str(BIN), "KUBECONFIG": "/dev/null"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def template(
    values: Mapping[str, Any] | None = None,
    *arguments: str,
    chart: Path = CHART,
    release: str = RELEASE,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """`helm template` with these values."""
    command = ["template", release, str(chart), "--namespace", NAMESPACE, "--values", "-"]
    return _template((*command, *arguments), json.dumps(values or {}), check)


@functools.cache
def _template(
    command: tuple[str, ...], values: str, check: bool
) -> subprocess.CompletedProcess[str]:
    return run("helm", *command, input=values, check=check)


def objects(text: str) -> Objects:
    """The objects of a YAML stream."""
    # The CRD is large: the loader in C is ten times as fast.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def render(values: Mapping[str, Any] | None = None, *arguments: str, **more: Any) -> Objects:
    """The objects of `helm template` with these values."""
    return objects(template(values, *arguments, **more).stdout)


def one(found: Objects, kind: str, name: str = "") -> dict[str, Any]:
    """The one object of this kind (and name)."""
    (match,) = [
        o for o in found if o["kind"] == kind and (not name or o["metadata"]["name"] == name)
    ]
    return match


def names(found: Objects, kind: str) -> list[str]:
    """NAMESPACE/NAME of the objects of a kind; cluster-wide ones without the first."""
    return [
        "/".join(filter(None, (o["metadata"].get("namespace"), o["metadata"]["name"])))
        for o in found
        if o["kind"] == kind
    ]
