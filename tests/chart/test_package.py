"""The chart of a release is the one that Helm itself would pack."""

from __future__ import annotations

import tarfile
from pathlib import Path

import yaml
from release import artefacts

from tests.cluster.build import ROOT
from trainingjob import __version__

from .helm import CHART, run, template


def packed(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}


def test_a_packaged_chart_is_what_helm_packs_and_renders(tmp_path: Path) -> None:
    package = artefacts.chart(ROOT, tmp_path, __version__, epoch=0)
    run("helm", "package", CHART, "--destination", tmp_path / "helm")
    ours, theirs = packed(package), packed(tmp_path / "helm" / package.name)
    about = "trainingjob-operator/Chart.yaml"
    # Helm writes it anew, without comments.
    assert yaml.safe_load(ours.pop(about)) == yaml.safe_load(theirs.pop(about))
    assert ours == theirs
    assert template(chart=package).stdout == template().stdout
