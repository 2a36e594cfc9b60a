"""The wheel, the chart and install.yaml: the same to the byte, wherever they are made."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from .envelope import ReleaseError

CHART = Path("charts/trainingjob-operator")
INSTALL = Path("deploy/install.yaml")


def version_of(source: Path) -> str:
    """Of the code; Chart.yaml's must be the same. Raises ReleaseError."""
    init = (source / "operator/trainingjob/__init__.py").read_text("utf-8")
    (version,) = re.findall(r'^__version__ = "(.*)"', init, re.MULTILINE)
    chart = (source / CHART / "Chart.yaml").read_text("utf-8")
    told = dict(re.findall(r'^(version|appVersion): "?([^"\s]+)"?', chart, re.MULTILINE))
    for name, other in told.items():
        if other != version:
            raise ReleaseError(f"Chart.yaml's {name} is {other}, and the code's version {version}")
    return str(version)


def wheel(source: Path, target: Path, epoch: int) -> Path:
    """Raises ReleaseError."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(target.resolve())],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"the wheel cannot be built: {done.stderr.strip()[-500:]}")
    return target / done.stdout.split()[-1]


def chart(source: Path, target: Path, version: str, epoch: int) -> Path:
    """As `helm package` makes it, which writes the time of day into it."""
    root = source / CHART
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        files = [file for file in root.rglob("*") if file.is_file()]
        # Chart.yaml first, as Helm's own do.
        for file in sorted(files, key=lambda file: (file.name != "Chart.yaml", str(file))):
            content = file.read_bytes()
            about = tarfile.TarInfo(f"{root.name}/{file.relative_to(root)}")
            about.size, about.mtime, about.mode = len(content), epoch, 0o644
            archive.addfile(about, io.BytesIO(content))
    path = target / f"{root.name}-{version}.tgz"
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))
    return path


def install_yaml(source: Path, target: Path) -> Path:
    """`make install-yaml` has written it, and a test compares it with the chart."""
    path = target / INSTALL.name
    path.write_bytes((source / INSTALL).read_bytes())
    return path
